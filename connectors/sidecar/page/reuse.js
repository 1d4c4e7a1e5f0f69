// Reuse: how many prompt tokens came from the store and how many were computed, of each model, as engines report it.

import { code, element, empty, named } from "./dom.js";
import { shares } from "./shares.js";
import { modelName, table, tenantName } from "./table.js";
import { age, count, percent } from "./units.js";

const RUNGS = [
  ["exact prefix", "exact"],
  ["blended", "blended"],
  ["computed", "computed"],
];
const QUIET_S = 60; // for so long engines in use have something to report

/** Every prompt token on its rung: of all models together, and of each. */
export function reuse({ models }) {
  if (!models.length) return [empty("Shown as soon as an engine reports how many tokens it loaded and computed.")];
  const all = added(models.map((model) => model.rungs));
  const most = models.toSorted((a, b) => promptTokens(b.rungs) - promptTokens(a.rungs));
  const parts = RUNGS.map(([title, rung]) => [title, all[rung]]);
  return [...shares("Of all prompt tokens", "tokens", parts), table("Reuse by model", COLUMNS, most)];
}

const COLUMNS = [
  ["model", ({ model }) => modelName(model)],
  ["prompt tokens", ({ rungs }) => count(promptTokens(rungs)), true],
  ...RUNGS.map(([title, rung]) => [title, ({ rungs }) => percent(rungs[rung], promptTokens(rungs)), true]),
  ["held, yet computed", ({ rungs }) => percent(rungs.not_loaded, promptTokens(rungs)), true],
];

function added(all) {
  return Object.fromEntries(RUNGS.map(([, rung]) => [rung, all.reduce((sum, rungs) => sum + rungs[rung], 0)]));
}

function promptTokens(rungs) {
  return RUNGS.reduce((sum, [, rung]) => sum + rungs[rung], 0);
}

/** Who reports, what each loaded, and when it was last heard of. */
export function engines({ engines: heard }) {
  if (!heard.length) {
    const setting = code(`KVSTORE_SIDECAR_URL=${location.origin}`);
    return [empty("No engine has reported lately: set ", code("sidecar.url"), " in an engine's settings, or ", setting,
      " where it starts, and send it a prompt.")];
  }
  const sorted = heard.toSorted((a, b) => a.engine.localeCompare(b.engine) || a.tenant.localeCompare(b.tenant));
  return [table("Engines", ENGINE_COLUMNS, sorted)];
}

const ENGINE_COLUMNS = [
  ["engine", ({ engine }) => named(engine)],
  ["model", ({ model }) => modelName(model)],
  ["tenant", ({ tenant }) => tenantName(tenant)],
  ["silent for", ({ reported_at_s }) => silence(Date.now() / 1000 - reported_at_s), true],
  ["loaded", ({ counts }) => tokens(counts.tokens_loaded), true],
  ["of it blended", ({ counts }) => tokens(counts.tokens_blended), true],
  ["computed", ({ counts }) => tokens(counts.tokens_computed), true],
];

function silence(seconds) {
  return element("span", { class: seconds > QUIET_S ? "warn" : null }, age(seconds));
}

function tokens(amount) {
  return amount === undefined ? null : count(amount);
}
