// Reuse: how many prompt tokens came from the store and how many were computed, of each model, as engines report it.

import { code, drawn, element, empty } from "./dom.js";
import { model, table, tenant } from "./table.js";
import { age, count, percent } from "./units.js";

const RUNGS = [
  ["exact prefix", "tokens_loaded"],
  ["blended", "tokens_blended"],
  ["computed", "tokens_computed"],
];
const QUIET_S = 60; // for so long engines in use have something to report

/** Every prompt token on its rung: of all models together, and of each. */
export function reuse(reports) {
  if (!reports.length) return [empty("Shown as soon as an engine reports how many tokens it loaded and computed.")];
  const all = added(reports.map((report) => report.counts));
  return [bar(all), legend(all), table("Reuse by model", COLUMNS, [...byModel(reports)])];
}

const COLUMNS = [
  ["model", ([name]) => model(name)],
  ["prompt tokens", ([, counts]) => count(promptTokens(counts)), true],
  ...RUNGS.map(([title, rung]) => [title, ([, counts]) => percent(counts[rung] ?? 0, promptTokens(counts)), true]),
  ["held, yet computed", ([, counts]) => percent(counts.tokens_not_loaded ?? 0, promptTokens(counts)), true],
];

function byModel(reports) {
  const models = Map.groupBy(reports, (report) => report.model);
  const summed = [...models].map(([name, of]) => [name, added(of.map((report) => report.counts))]);
  return summed.sort(([, a], [, b]) => promptTokens(b) - promptTokens(a));
}

function added(counts) {
  const sum = {};
  for (const each of counts) for (const [name, amount] of Object.entries(each)) sum[name] = (sum[name] ?? 0) + amount;
  return sum;
}

function promptTokens(counts) {
  return RUNGS.reduce((sum, [, rung]) => sum + (counts[rung] ?? 0), 0);
}

function bar(counts) {
  const total = promptTokens(counts);
  let before = 0;
  const parts = RUNGS.map(([, rung], index) => {
    const share = total ? (100 * (counts[rung] ?? 0)) / total : 0;
    const part = { class: `part kind-${index}`, x: `${before.toFixed(2)}%`, width: `${share.toFixed(2)}%`, height: "100%" };
    before += share;
    return drawn("rect", part);
  });
  const said = RUNGS.map(([title, rung]) => `${title} ${percent(counts[rung] ?? 0, total)}`).join(", ");
  const whole = drawn("rect", { class: "whole", width: "100%", height: "100%" });
  return drawn("svg", { class: "bar", role: "img", "aria-label": `Of all prompt tokens: ${said}` }, whole, ...parts);
}

function legend(counts) {
  const names = RUNGS.map(([title, rung], index) => {
    const square = drawn("rect", { class: `part kind-${index}`, width: 10, height: 10 });
    const swatch = drawn("svg", { width: 10, height: 10, "aria-hidden": "true" }, square);
    const amount = counts[rung] ?? 0;
    const share = element("b", {}, percent(amount, promptTokens(counts)));
    return element("li", {}, swatch, element("span", {}, title), share, `${count(amount)} tokens`);
  });
  return element("ul", { class: "legend" }, ...names);
}

/** Who reports, what each loaded, and when it was last heard of. */
export function engines(reports) {
  if (!reports.length) {
    return [
      empty("No engine has reported yet: set ", code("sidecar.url"), " to this address in an engine's settings (",
        code(`KVSTORE_SIDECAR_URL=${location.origin}`), "), and start it."),
    ];
  }
  const sorted = reports.toSorted((a, b) => a.engine.localeCompare(b.engine) || a.model.localeCompare(b.model));
  return [table("Engines", ENGINE_COLUMNS, sorted)];
}

const ENGINE_COLUMNS = [
  ["engine", (report) => element("span", { class: "name" }, report.engine)],
  ["model", (report) => model(report.model)],
  ["tenant", (report) => tenant(report.tenant)],
  ["heard of", (report) => heard(report.seen_s_ago), true],
  ["loaded", (report) => tokens(report, "tokens_loaded"), true],
  ["blended", (report) => tokens(report, "tokens_blended"), true],
  ["computed", (report) => tokens(report, "tokens_computed"), true],
];

function heard(seconds) {
  return element("span", { class: seconds > QUIET_S ? "warn" : null }, `${age(seconds)} ago`);
}

function tokens(report, name) {
  return name in report.counts ? count(report.counts[name]) : null;
}
