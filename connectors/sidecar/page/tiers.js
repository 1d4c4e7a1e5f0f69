// Tiers: how full each is.

import { drawn, element, empty } from "./dom.js";
import { bytes, percent } from "./units.js";

/** One bar for each tier, fastest first. */
export function tierBars(tiers) {
  if (!tiers.length) return [empty("This service has no tier: give one a capacity in the settings.")];
  return tiers.map(bar);
}

function bar({ name, size_bytes, capacity_bytes, durable, available }) {
  const title = element("h3", {}, element("span", { class: "name" }, name), kind(durable, available));
  if (!available) return element("div", { class: "tier" }, title, empty("It failed when it was asked; the log says how."));
  const used = capacity_bytes ? percent(size_bytes, capacity_bytes) : "";
  const room = capacity_bytes ? `${bytes(size_bytes)} of ${bytes(capacity_bytes)}` : `${bytes(size_bytes)}, no limit`;
  const share = capacity_bytes ? Math.min(100, (100 * size_bytes) / capacity_bytes) : 0;
  return element(
    "div",
    { class: "tier" },
    title,
    capacity_bytes ? filled(`${name}: ${room}, ${used}`, share) : null,
    element("p", { class: "line" }, element("span", {}, room), element("b", {}, used)),
  );
}

function kind(durable, available) {
  if (!available) return element("span", { class: "warn" }, "not available");
  return element("span", { class: "quiet" }, durable ? "durable" : "not durable");
}

function filled(label, share) {
  return drawn(
    "svg",
    { class: "bar", role: "img", "aria-label": label },
    drawn("rect", { class: "whole", width: "100%", height: "100%" }),
    drawn("rect", { class: "part kind-0", width: `${share.toFixed(2)}%`, height: "100%" }),
  );
}
