// Numbers as people read them.

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const AGES = [[86400 * 365, "y"], [86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** One decimal and a binary unit: "1.5 KiB", "20 GiB". */
export function bytes(amount) {
  let unit = 0;
  for (; amount >= 1023.95 && unit < BYTE_UNITS.length - 1; unit += 1) amount /= 1024;
  return `${amount.toFixed(1).replace(/\.0$/, "")} ${BYTE_UNITS[unit]}`;
}

/** "12,345", and from a million on "1.2M". */
export function count(amount) {
  return amount < 1e6 ? WHOLE.format(amount) : SHORT.format(amount);
}

/** A noun behind its number: "1 chunk", "2 chunks". */
export function counted(amount, noun) {
  return `${count(amount)} ${noun}${amount === 1 ? "" : "s"}`;
}

/** A number a second: "0", "0.25", "3.4", "1,200". */
export function perSecond(amount) {
  const digits = amount >= 100 || amount === 0 ? 0 : amount >= 1 ? 1 : 2;
  return amount >= 1e6 ? SHORT.format(amount) : WHOLE.format(Number(amount.toFixed(digits)));
}

/** A part of a whole: "0%", "0.4%", "37%"; a dash where there is no whole. */
export function percent(part, whole) {
  if (!whole) return "–";
  const share = (100 * part) / whole;
  if (share > 99 && share < 100) return `${Math.floor(10 * share) / 10}%`; // all is said of all alone
  return `${share > 0 && share < 10 ? share.toFixed(1) : Math.round(share)}%`;
}

/** Seconds as milliseconds, two digits of them: "0.042 ms", "3.4 ms", "120 ms". */
export function milliseconds(seconds) {
  return `${Number((1000 * seconds).toPrecision(2))} ms`;
}

/** The largest unit that fits: "12 s", "3 min", "5 h", "2 d". */
export function age(seconds) {
  const [unit_s, unit] = AGES.find(([length]) => seconds >= length) ?? [1, "s"];
  return `${Math.max(0, Math.floor(seconds / unit_s))} ${unit}`;
}

/** A moment, in Unix seconds, as this browser's clock shows it. */
export function clock(at_s) {
  return new Date(1000 * at_s).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function moment(at_s) {
  return new Date(1000 * at_s).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
}
