// Shares: the parts of a whole, as a bar and the names of its colours.

import { drawn, element } from "./dom.js";
import { count, percent } from "./units.js";

/** `parts` are up to three [name, amount]; `of` says what they are parts of, `noun` what is counted. */
export function shares(of, noun, parts) {
  const total = parts.reduce((sum, [, amount]) => sum + amount, 0);
  return [bar(of, parts, total), legend(noun, parts, total)];
}

function bar(of, parts, total) {
  let before = 0;
  const drawnParts = parts.map(([, amount], index) => {
    const share = total ? (100 * amount) / total : 0;
    const part = { class: `part kind-${index}`, x: `${before.toFixed(2)}%`, width: `${share.toFixed(2)}%`, height: "100%" };
    before += share;
    return drawn("rect", part);
  });
  const said = parts.map(([name, amount]) => `${name} ${percent(amount, total)}`).join(", ");
  const whole = drawn("rect", { class: "whole", width: "100%", height: "100%" });
  return drawn("svg", { class: "bar", role: "img", "aria-label": `${of}: ${said}` }, whole, ...drawnParts);
}

function legend(noun, parts, total) {
  const names = parts.map(([name, amount], index) => {
    const square = drawn("rect", { class: `part kind-${index}`, width: 10, height: 10 });
    const swatch = drawn("svg", { width: 10, height: 10, "aria-hidden": "true" }, square);
    const share = element("b", {}, percent(amount, total));
    return element("li", {}, swatch, element("span", {}, name), share, `${count(amount)} ${noun}`);
  });
  return element("ul", { class: "legend" }, ...names);
}
