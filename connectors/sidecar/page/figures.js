// The figures at a glance.

import { element } from "./dom.js";
import { age, bytes, count, percent } from "./units.js";

export function figures(status) {
  const counters = { frames_given: 0, frames_missed: 0, chunks_corrupt: 0, chunks_evicted: 0, ...status.counters };
  const asked = counters.frames_given + counters.frames_missed;
  const durable = status.tiers.filter((tier) => tier.durable).reduce((sum, tier) => sum + tier.size_bytes, 0);
  return [
    figure("frames given", count(counters.frames_given), "of those asked for", percent(counters.frames_given, asked)),
    figure("frames missed", count(counters.frames_missed), "of those asked for", percent(counters.frames_missed, asked)),
    figure("held durably", bytes(durable), "waiting to be written", bytes(status.waiting_bytes)),
    figure("leases", count(status.leases), "chunks evicted", count(counters.chunks_evicted)),
    figure("corrupt chunks", count(counters.chunks_corrupt), "since", `${age(status.uptime_s)} ago`, counters.chunks_corrupt > 0),
  ];
}

function figure(name, value, beside, detail, warns = false) {
  return element(
    "div",
    { class: warns ? "figure warned" : "figure" },
    element("dt", {}, name),
    element("dd", {}, element("b", {}, value), element("small", {}, `${beside} ${detail}`)),
  );
}
