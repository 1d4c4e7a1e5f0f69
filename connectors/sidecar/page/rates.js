// From counters, read again and again, to what happened in a second.

const PAUSE = 3; // so many intervals without a sample are a gap
const MOST_POINTS = 150;

/** When each rate holds: the end of its interval. */
export function timesOf(history) {
  return history.at_s.slice(1);
}

/** One rate for each interval between two samples; null after a gap, and where the counter began anew. */
export function ratesOf(history, name) {
  const samples = history.counters[name] ?? history.at_s.map(() => 0); // what was never counted is not told
  return timesOf(history).map((at_s, index) => {
    const seconds = at_s - history.at_s[index];
    const [before, after] = [samples[index], samples[index + 1]];
    if (before === null || after === null || after < before) return null;
    return seconds > 0 && seconds <= PAUSE * history.every_s ? (after - before) / seconds : null;
  });
}

/** Times and series [name, values], each point the mean of some where there are more than can be told apart. */
export function thinned(times, series, every_s) {
  const width_s = every_s * Math.ceil(times.length / MOST_POINTS);
  const spans = [...Map.groupBy(times.keys(), (index) => Math.floor(times[index] / width_s)).values()];
  return {
    times: spans.map((span) => times[span.at(-1)]),
    series: series.map(([name, values]) => [name, spans.map((span) => mean(span.map((index) => values[index])))]),
  };
}

function mean(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value) / known.length : null;
}

/** The last that is known. */
export function lastOf(values) {
  return values.findLast((value) => value !== null) ?? null;
}
