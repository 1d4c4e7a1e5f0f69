// Elements made of data: text stays text, whatever it says.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes that are null, undefined or false are left out; children are elements or text. */
export function element(name, attributes = {}, ...children) {
  return built(document.createElement(name), attributes, children);
}

/** The same, for drawings. */
export function drawn(name, attributes = {}, ...children) {
  return built(document.createElementNS(SVG, name), attributes, children);
}

function built(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...present(children));
  return made;
}

function present(children) {
  return children.filter((child) => child !== null && child !== undefined);
}

/** Has a container hold these children. What stays as it was is not touched: focus, selection, scrolling stay. */
export function fill(container, ...children) {
  const fresh = container.cloneNode(false);
  fresh.append(...present(children));
  become(container, fresh);
}

function become(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || old.nodeType !== Node.ELEMENT_NODE) {
    old.replaceWith(fresh);
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((child, index) => (index < before.length ? become(before[index], child) : old.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

/** What to read where there is nothing to show. */
export function empty(...parts) {
  return element("p", { class: "empty" }, ...parts);
}

/** A name that others gave. In a table it takes one line, cut where it is too long: `title` has all of it. */
export function named(text, of = "") {
  return element("span", { class: `name ${of}`.trim(), title: text }, text);
}

export function code(text) {
  return element("code", {}, text);
}

/** A chunk's key as a button: pressed, it shows the chunk. */
export function keyButton(key) {
  return element("button", { type: "button", class: "key", "data-key": key, title: key }, key.slice(0, 12));
}
