// A line chart: series over time, drawn at the size it has, read at any moment with the pointer or the arrow keys.

import { drawn, element, fill } from "./dom.js";
import { lastOf } from "./rates.js";
import { clock } from "./units.js";

const HEIGHT = 132;
const PAD = { top: 8, right: 8, bottom: 20, left: 58 };
const KINDS = 4; // of lines, in style.css

export class Chart {
  #title;
  #format;
  #steps;
  #legend = element("ul", { class: "legend" });
  #when = element("span", { class: "quiet" });
  #drawing = drawn("svg", { height: HEIGHT, tabindex: 0, role: "img" });
  #times = [];
  #series = [];
  #read = null;

  /** `format` writes a value; `steps` is the base of round numbers: 10, or 2 for bytes. */
  constructor(container, title, format, steps = 10) {
    this.#title = title;
    this.#format = format;
    this.#steps = steps;
    const caption = element("figcaption", {}, element("h3", {}, title), this.#when);
    container.append(element("figure", { class: "chart" }, caption, this.#drawing, this.#legend));
    new ResizeObserver(() => this.#draw()).observe(this.#drawing);
    this.#drawing.addEventListener("pointermove", (event) => this.#readAt(this.#indexAt(event.offsetX)));
    this.#drawing.addEventListener("pointerleave", () => this.#readAt(null));
    this.#drawing.addEventListener("blur", () => this.#readAt(null));
    this.#drawing.addEventListener("keydown", (event) => this.#step(event));
  }

  /** `series` are [name, values], a value for each time, or null. */
  show(times, series) {
    this.#times = times;
    this.#series = series;
    if (this.#read !== null && this.#read >= times.length) this.#read = null;
    this.#draw();
  }

  #step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.#readAt(null);
    if (by === undefined || !this.#times.length) return;
    event.preventDefault();
    const last = this.#times.length - 1;
    this.#readAt(Math.min(last, Math.max(0, (this.#read ?? last + (by < 0 ? 1 : 0)) + by)));
  }

  #readAt(index) {
    if (index === this.#read) return;
    this.#read = index;
    this.#draw();
  }

  #indexAt(offset) {
    const [first, last] = [this.#times[0], this.#times.at(-1)];
    const at_s = first + ((offset - PAD.left) / (this.#width - PAD.left - PAD.right)) * (last - first);
    const distance = (index) => Math.abs(this.#times[index] - at_s);
    return this.#times.reduce((best, _, index) => (best === null || distance(index) < distance(best) ? index : best), null);
  }

  get #width() {
    return Math.max(120, this.#drawing.clientWidth);
  }

  #draw() {
    const known = this.#series.flatMap(([, values]) => values.filter((value) => value !== null));
    const most = roundUp(Math.max(0, ...known), this.#steps);
    const lines = this.#series.map(([, values], index) => this.#line(values, most, index));
    fill(this.#drawing, ...this.#grid(most), ...lines, this.#mark());
    this.#drawing.setAttribute("aria-label", `${this.#title}. ${this.#said()}. The arrow keys go back in time.`);
    fill(this.#legend, ...this.#series.map(([name, values], index) => this.#named(name, values, index)));
    fill(this.#when, this.#read === null ? "latest" : clock(this.#times[this.#read]));
  }

  #x(at_s) {
    const [first, last] = [this.#times[0], this.#times.at(-1)];
    const inner = this.#width - PAD.left - PAD.right;
    return PAD.left + (last > first ? ((at_s - first) / (last - first)) * inner : inner);
  }

  #y(value, most) {
    return HEIGHT - PAD.bottom - (value / most) * (HEIGHT - PAD.top - PAD.bottom);
  }

  #grid(most) {
    const rows = [0, most / 2, most].map((value) => {
      const y = Math.round(this.#y(value, most)) + 0.5;
      const label = drawn("text", { x: PAD.left - 6, y: y + 4, class: "number" }, this.#format(value));
      return drawn("g", {}, drawn("path", { class: "grid", d: `M${PAD.left} ${y}H${this.#width - PAD.right}` }), label);
    });
    if (this.#times.length < 2) return rows;
    const y = HEIGHT - 5;
    const start = drawn("text", { x: PAD.left, y }, clock(this.#times[0]));
    const end = drawn("text", { x: this.#width - PAD.right, y, class: "number" }, clock(this.#times.at(-1)));
    return [...rows, start, end];
  }

  #line(values, most, index) {
    let path = "";
    values.forEach((value, at) => {
      if (value === null) return;
      const point = `${this.#x(this.#times[at]).toFixed(1)} ${this.#y(value, most).toFixed(1)}`;
      path += at > 0 && values[at - 1] !== null ? `L${point}` : `M${point}h0`;
    });
    return drawn("path", { class: `curve kind-${index % KINDS}`, d: path || null });
  }

  #mark() {
    if (this.#read === null) return null;
    const x = Math.round(this.#x(this.#times[this.#read])) + 0.5;
    return drawn("path", { class: "mark", d: `M${x} ${PAD.top}V${HEIGHT - PAD.bottom}` });
  }

  #value(values) {
    const value = this.#read === null ? lastOf(values) : values[this.#read];
    return value === null || value === undefined ? "–" : this.#format(value);
  }

  #named(name, values, index) {
    const line = drawn("path", { class: `curve kind-${index % KINDS}`, d: "M1 5H21" });
    const swatch = drawn("svg", { width: 22, height: 10, "aria-hidden": "true" }, line);
    return element("li", {}, swatch, element("span", {}, name), element("b", {}, this.#value(values)));
  }

  #said() {
    const moment = this.#read === null ? "Latest" : `At ${clock(this.#times[this.#read])}`;
    return `${moment}: ${this.#series.map(([name, values]) => `${name} ${this.#value(values)}`).join(", ")}`;
  }
}

/** The next number that is round, and so is its half: some times a power of ten, or a power of two. */
function roundUp(value, steps) {
  if (value <= 0) return 1;
  if (steps === 2) return 2 ** Math.ceil(Math.log2(value));
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 3, 4, 5, 6, 8].find((step) => step * power >= value) ?? 10);
}
