// Traffic: what went in and out over time, from the history of the counters.

import { Chart } from "./chart.js";
import { element, empty, fill } from "./dom.js";
import { ratesOf, timesOf } from "./rates.js";
import { bytes, perSecond } from "./units.js";

const CHARTS = [
  ["Frames asked for, per second", perSecond, 10, { given: "frames_given", missed: "frames_missed" }],
  ["Chunks, per second", perSecond, 10, { saved: "chunks_saved", loaded: "chunks_loaded", evicted: "chunks_evicted" }],
  ["Bytes, per second", bytes, 2, { "given away": "bytes_given", received: "bytes_received" }],
];
const HELD = "Held, by tier";

export class Traffic {
  #container;
  #charts = new Map();

  constructor(container) {
    this.#container = container;
  }

  /** `history` as the service tells it; null where it keeps none. */
  show(history) {
    if (!history || history.at_s.length < 2) {
      this.#charts.clear();
      const wait = history ? ` A sample is taken every ${history.every_s} s.` : "";
      fill(this.#container, empty(`The charts begin with the second sample.${wait}`));
      return;
    }
    if (!this.#charts.size) this.#container.replaceChildren();
    const times = timesOf(history);
    for (const [title, format, steps, names] of CHARTS) {
      const known = Object.entries(names).filter(([, counter]) => counter in history.counters);
      const series = known.map(([name, counter]) => [name, ratesOf(history, counter)]);
      if (series.length) this.#chart(title, format, steps).show(times, series);
    }
    const held = Object.entries(history.tiers).map(([name, sizes]) => [name, sizes.slice(1)]);
    this.#chart(HELD, bytes, 2).show(times, held);
  }

  #chart(title, format, steps) {
    if (!this.#charts.has(title)) {
      const place = element("div", {});
      this.#container.append(place);
      this.#charts.set(title, new Chart(place, title, format, steps));
    }
    return this.#charts.get(title);
  }
}
