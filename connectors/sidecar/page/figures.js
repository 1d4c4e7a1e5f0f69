// The figures at a glance.

import { element } from "./dom.js";
import { age, bytes, count, counted, percent } from "./units.js";

export function figures(status) {
  const { counters } = status;
  const { chunks_asked: asked, chunks_matched: matched } = counters;
  const given = counters.frames_given + counters.frames_described;
  const durable = status.tiers.filter((tier) => tier.durable).reduce((sum, tier) => sum + tier.size_bytes, 0);
  return [
    figure("chunks found", percent(matched, asked), `${count(matched)} of ${count(asked)} that prompts asked for`),
    figure("frames given", count(given), `${count(counters.frames_described)} read in place, ${count(counters.frames_missed)} missed`),
    figure("held durably", bytes(durable), `${bytes(status.waiting_bytes)} waiting to be written`),
    figure("leases", count(status.leases), `${counted(counters.chunks_evicted, "chunk")} evicted`),
    figure("corrupt chunks", count(counters.chunks_corrupt), `in ${age(status.uptime_s)} of service`, counters.chunks_corrupt > 0),
  ];
}

function figure(name, value, detail, warns = false) {
  return element(
    "div",
    { class: warns ? "figure warned" : "figure" },
    element("dt", {}, name),
    element("dd", {}, element("b", {}, value), element("small", {}, detail)),
  );
}
