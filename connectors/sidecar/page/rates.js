// From counters, read again and again, to what happened in a second.

const PAUSE = 3; // so many intervals without a sample are a gap

/** When each rate holds: the end of its interval. */
export function timesOf(history) {
  return history.at_s.slice(1);
}

/**
 * One rate for each interval between two samples; null where nothing can be said: the counter began anew,
 * was not there yet, or was not read for long.
 */
export function ratesOf(history, name) {
  const samples = history.counters[name] ?? [];
  return timesOf(history).map((at_s, index) => {
    const seconds = at_s - history.at_s[index];
    const [before, after] = [samples[index], samples[index + 1]];
    if (before == null || after == null || after < before) return null;
    return seconds > 0 && seconds <= PAUSE * history.every_s ? (after - before) / seconds : null;
  });
}

/** The sum of rates, interval by interval; null where all are. */
export function sumOf(...rates) {
  return rates[0].map((_, index) => {
    const known = rates.map((each) => each[index]).filter((rate) => rate !== null);
    return known.length ? known.reduce((sum, rate) => sum + rate) : null;
  });
}

/** The last that is known. */
export function lastOf(values) {
  return values.findLast((value) => value !== null) ?? null;
}
