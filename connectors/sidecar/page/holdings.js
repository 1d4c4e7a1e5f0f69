// What is held and what was dropped: the hottest and biggest prefixes, and the damaged chunks.

import { code, element, empty, keyButton } from "./dom.js";
import { model, table, tenant } from "./table.js";
import { bytes, count, moment } from "./units.js";

const PREFIX_COLUMNS = [
  ["prefix", (prefix) => keyButton(prefix.key)],
  ["model", (prefix) => model(prefix.model)],
  ["tenant", (prefix) => tenant(prefix.tenant)],
  ["hits", (prefix) => count(prefix.hits), true],
  ["chunks", (prefix) => count(prefix.chunks), true],
  ["size", (prefix) => bytes(prefix.size_bytes), true],
];

export function prefixes(label, found) {
  if (found.length) return [table(label, PREFIX_COLUMNS, found)];
  return [empty("Nothing is held yet. An engine with ", code("sidecar.url"), " set saves its prompts here; ",
    code("kvstore warm"), " saves one by hand.")];
}

const DAMAGE_COLUMNS = [
  ["chunk", (chunk) => keyButton(chunk.key)],
  ["when", (chunk) => (chunk.at_s ? moment(chunk.at_s) : null)],
  ["what was wrong", (chunk) => element("span", { class: "name" }, chunk.reason)],
];

/** Chunks taken out of service; `corrupt` is how many failed a check since the service began. */
export function damage(quarantined, corrupt) {
  const since = element("p", { class: corrupt ? "warn" : "quiet" },
    corrupt ? `${count(corrupt)} failed a check since the service began.` : "None failed a check since the service began.");
  if (!quarantined.length) return [since, empty("No chunk is in quarantine. ", code("kvstore verify"), " reads them all.")];
  const newest = quarantined.toSorted((a, b) => (b.at_s ?? 0) - (a.at_s ?? 0));
  return [since, table("Quarantined chunks", DAMAGE_COLUMNS, newest)];
}
