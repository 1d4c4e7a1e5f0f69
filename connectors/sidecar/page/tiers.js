// Tiers: how full each is, and how it does.

import { drawn, element, empty } from "./dom.js";
import { bytes, count, counted, milliseconds, percent } from "./units.js";

/** One bar for each tier, fastest first; behind a remote one, its replica. */
export function tierBars(tiers) {
  if (!tiers.length) return [empty("This service has no tier: give one a capacity in the settings.")];
  return tiers.map(bar);
}

function bar(tier) {
  const { name, place, size_bytes: size, capacity_bytes: capacity, available, problem } = tier;
  const title = element("h3", {}, element("span", { class: "name", title: place }, name), state(tier));
  const parts = available ? [] : [empty(`It does not answer, and prompts are served without it: ${problem}`)];
  if (size !== null) {
    const used = capacity ? percent(size, capacity) : "";
    const room = capacity ? `${bytes(size)} of ${bytes(capacity)}` : `${bytes(size)}, no limit`;
    if (capacity) parts.push(filled(`${name}: ${room}, ${used}`, Math.min(100, (100 * size) / capacity)));
    parts.push(element("p", { class: "line" }, element("span", {}, room), element("b", {}, used)));
  }
  const said = facts(tier);
  if (said) parts.push(element("p", { class: "quiet" }, said));
  return element("div", { class: "tier" }, title, ...parts);
}

function state({ available, reads_held_off, writes_held_off, durable }) {
  if (!available) return element("span", { class: "warn" }, "not available");
  if (reads_held_off) return element("span", { class: "warn" }, "breaker open");
  if (writes_held_off) return element("span", { class: "warn" }, "breaker open for writes");
  return element("span", { class: "quiet" }, durable ? "durable" : "not durable");
}

/** What is known of it besides. */
function facts({ chunks, chunks_asked: asked, chunks_held: held, median_s, p99_s }) {
  return [
    chunks === null ? "" : counted(chunks, "chunk"),
    asked ? `hits ${percent(held, asked)} of ${count(asked)} asked for` : "",
    median_s === null ? "" : `p50 ${milliseconds(median_s)}, p99 ${milliseconds(p99_s)}`,
  ]
    .filter(Boolean)
    .join(" · ");
}

function filled(label, share) {
  return drawn(
    "svg",
    { class: "bar", role: "img", "aria-label": label },
    drawn("rect", { class: "whole", width: "100%", height: "100%" }),
    drawn("rect", { class: "part kind-0", width: `${share.toFixed(2)}%`, height: "100%" }),
  );
}
