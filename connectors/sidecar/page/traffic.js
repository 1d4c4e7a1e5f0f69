// Traffic: what went in and out over time, from the history of the counters.

import { Chart } from "./chart.js";
import { element, empty, fill } from "./dom.js";
import { ratesOf, thinned, timesOf } from "./rates.js";
import { bytes, perSecond } from "./units.js";

const RATES = [
  ["Chunks of prompts, per second", { "asked for": "chunks_asked", held: "chunks_matched" }],
  [
    "Frames, per second",
    { given: "frames_given", "read in place": "frames_described", kept: "frames_kept", missed: "frames_missed" },
  ],
];
const HELD = "Held, by tier";

export class Traffic {
  #container;
  #charts = new Map();

  constructor(container) {
    this.#container = container;
  }

  /** `history` as the service tells it. */
  show(history) {
    if (history.at_s.length < 2) {
      this.#charts.clear();
      fill(this.#container, empty(`The charts begin with the second sample; one is taken every ${history.every_s} s.`));
      return;
    }
    if (!this.#charts.size) this.#container.replaceChildren();
    for (const [title, counters] of RATES) {
      const series = Object.entries(counters).map(([name, counter]) => [name, ratesOf(history, counter)]);
      this.#draw(title, perSecond, 10, history, series);
    }
    const held = Object.entries(history.tiers).map(([name, sizes]) => [name, sizes.slice(1)]);
    this.#draw(HELD, bytes, 2, history, held);
  }

  #draw(title, format, steps, history, all) {
    const { times, series } = thinned(timesOf(history), all, history.every_s);
    if (!this.#charts.has(title)) {
      const place = element("div");
      this.#container.append(place);
      this.#charts.set(title, new Chart(place, title, format, steps));
    }
    this.#charts.get(title).show(times, series);
  }
}
