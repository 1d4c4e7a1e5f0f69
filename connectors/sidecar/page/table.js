// Tables: a column says what its cells show, and whether that is a number.

import { element, named } from "./dom.js";

/**
 * `columns` are [title, cell of a row, is it a number]; a cell is text or an element. The table scrolls in its box,
 * which can be reached with the keyboard.
 */
export function table(label, columns, rows) {
  const heads = columns.map(([title, , number]) => element("th", { scope: "col", class: number && "number" }, title));
  const lines = rows.map((row) => element("tr", {}, ...columns.map((column) => cell(column, row))));
  return element(
    "div",
    { class: "box", role: "region", "aria-label": label, tabindex: "0" },
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...lines)),
  );
}

function cell([, shown, number], row) {
  const content = shown(row);
  return element("td", { class: number && "number" }, content ?? "–");
}

/** Names and what they name, one below the other. */
export function fields(pairs) {
  const parts = pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  return element("dl", { class: "fields" }, ...parts);
}

/** A tenant's name, or that it has none. */
export function tenantName(name) {
  return name === "" || name === null || name === undefined
    ? element("span", { class: "quiet" }, "none named")
    : named(name, "tenant");
}

/** A model's name, or that nothing is known. */
export function modelName(name) {
  return name ? named(name) : element("span", { class: "quiet" }, "unknown");
}
