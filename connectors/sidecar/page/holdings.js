// What is held and what was dropped: the hottest and biggest prefixes, and the damaged chunks.

import { code, element, empty, keyButton } from "./dom.js";
import { modelName, table, tenantName } from "./table.js";
import { bytes, count, moment } from "./units.js";

const PREFIX_COLUMNS = [
  ["prefix", (prefix) => keyButton(prefix.key)],
  ["model", (prefix) => modelName(prefix.model)],
  ["tenant", (prefix) => tenantName(prefix.tenant)],
  ["hits", (prefix) => count(prefix.hits), true],
  ["chunks", (prefix) => count(prefix.chunks), true],
  ["size", (prefix) => bytes(prefix.size_bytes), true],
];

/** `none` are the parts of what to read where there is none. */
export function prefixes(label, found, none) {
  return [found.length ? table(label, PREFIX_COLUMNS, found) : empty(...none)];
}

export const NONE_HELD = [
  "Nothing is held yet. An engine with ", code("sidecar.url"), " set saves its prompts here; ", code("kvstore warm"),
  " saves one by hand.",
];
export const NONE_LOADED = ["No prefix was loaded yet: those that are asked for again show here."];

const DAMAGE_COLUMNS = [
  ["chunk", (chunk) => keyButton(chunk.key)],
  ["when", (chunk) => (chunk.at_s ? moment(chunk.at_s) : null)],
  ["what was wrong", (chunk) => element("span", { class: "reason" }, chunk.reason)],
];

/** Chunks taken out of service; `corrupt` is how many failed a check since the service began. */
export function damage(quarantined, corrupt) {
  const since = element("p", { class: corrupt ? "warn" : "quiet" },
    corrupt ? `${count(corrupt)} failed a check since the service began.` : "None failed a check since the service began.");
  if (!quarantined.length) return [since, empty("No chunk is in quarantine. ", code("kvstore verify"), " reads them all.")];
  const newest = quarantined.toSorted((a, b) => (b.at_s ?? 0) - (a.at_s ?? 0));
  return [since, table("Quarantined chunks", DAMAGE_COLUMNS, newest)];
}
