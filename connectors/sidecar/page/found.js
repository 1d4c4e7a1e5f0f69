// What was found: the chunks, one chunk, or why one is not reused for another.

import { code, element, empty, keyButton } from "./dom.js";
import { fields, modelName, table, tenantName } from "./table.js";
import { age, bytes, count, counted, moment, percent } from "./units.js";

/** The title and the parts of an answer to `query` (see query.js) that was asked for with `limit`. */
export function shown(query, answer, limit) {
  if (query.kind === "show") return { title: `Chunk ${answer.key.slice(0, 12)}`, parts: chunk(answer) };
  if (query.kind === "why-miss") return { title: "Why one is not reused for the other", parts: why(query, answer) };
  return list(query, answer, limit);
}

function list(query, chunks, limit) {
  const of = query.text ? ` that fit “${query.text}”` : "";
  if (!chunks.length) {
    const hint = query.text ? "Models, tenants and codecs are looked through: try a shorter text." : "";
    return { title: `No chunks${of}`, parts: [empty(hint || "Nothing is held yet.")] };
  }
  const isCut = chunks.length >= limit;
  const more = isCut ? element("button", { type: "button", id: "more" }, "Show more") : null;
  return { title: `${isCut ? "The first " : ""}${counted(chunks.length, "chunk")}${of}`, parts: [table("Chunks", COLUMNS, chunks), more] };
}

const COLUMNS = [
  ["key", (chunk) => keyButton(chunk.key)],
  ["model", (chunk) => (chunk.damaged ? element("span", { class: "warn" }, "damaged") : modelName(chunk.model))],
  ["tenant", (chunk) => tenantName(chunk.tenant)],
  ["tokens", (chunk) => (chunk.damaged ? null : `[${chunk.start}, ${chunk.end})`), true],
  ["codec", (chunk) => chunk.codec],
  ["size", (chunk) => bytes(chunk.size_bytes), true],
  ["hits", (chunk) => count(chunk.hits), true],
  ["saved", (chunk) => ago(chunk.saved_at_s), true],
  ["used", (chunk) => (chunk.hits ? ago(chunk.used_at_s) : "never"), true],
  ["pinned", (chunk) => (chunk.pinned ? "yes" : "no")],
  ["expires", (chunk) => (chunk.expires_at_s === null ? "never" : `in ${age(chunk.expires_at_s - now())}`), true],
];

function now() {
  return Date.now() / 1000;
}

function ago(at_s) {
  return `${age(now() - at_s)} ago`;
}

function chunk(shown) {
  const { header } = shown;
  return [
    fields([...places(shown), ...(header ? contents(shown) : [["size", bytes(shown.size_bytes)]]), ...uses(shown)]),
    ...(header ? [groups(header), sections(header)] : []),
  ];
}

function places(shown) {
  const state = shown.problem
    ? element("span", { class: "warn" }, `damaged: ${shown.problem}`)
    : "whole: every checksum is right";
  return [
    ["key", element("code", { class: "whole-key" }, shown.key)],
    ["state", state],
    ["lives in", shown.lives_in],
    ...(shown.lies_in ? [["lies in", shown.lies_in]] : []),
    ["parent", shown.parent ? keyButton(shown.parent) : "none: a prompt's first chunk"],
    ["behind it", shown.children.length ? keys(shown.children) : "nothing held"],
  ];
}

function keys(children) {
  const shown = children.slice(0, 4).map(keyButton);
  return element("span", { class: "keys" }, ...shown, children.length > 4 ? `and ${children.length - 4} more` : null);
}

function contents({ header, size_bytes, profile }) {
  const { spec } = header;
  const params = JSON.stringify(header.codec_params);
  const smaller = (header.raw_bytes / size_bytes).toFixed(2);
  return [
    ["model", element("span", {}, modelName(spec.model), `, revision ${spec.revision}`)],
    ["tokens", `[${header.start}, ${header.end})`],
    ["codec", `${header.codec} ${params}, quality: ${header.quality}`],
    ["size", `${bytes(size_bytes)} for ${bytes(header.raw_bytes)} of raw ${spec.dtype}: ${smaller} times smaller`],
    ...(profile ? [["profile", `${profile.fingerprint}, ${profile.problem ?? "held here"}`]] : []),
    ["spec", code(header.spec_fingerprint)],
  ];
}

function uses(shown) {
  return [
    ["tenant", tenantName(shown.tenant)],
    ["pinned", shown.pinned ? "yes" : "no"],
    ["expires", shown.expires_at_s === null ? "never" : moment(shown.expires_at_s)],
    ["hits", count(shown.hits)],
    ["saved", moment(shown.saved_at_s)],
    ["last used", shown.hits ? moment(shown.used_at_s) : "never"],
  ];
}

const GROUP_COLUMNS = [
  ["layers", (group) => ranges(group.layers)],
  ["KV heads", (group) => count(group.kv_heads), true],
  ["key dim", (group) => count(group.key_dim), true],
  ["value dim", (group) => count(group.value_dim), true],
  ["window", (group) => (group.window ? count(group.window) : "all"), true],
];

/** Half-open runs and single layers: "[0, 5) 6 8". */
function ranges(layers) {
  const runs = [];
  for (const layer of layers.toSorted((a, b) => a - b)) {
    if (runs.at(-1)?.[1] === layer) runs.at(-1)[1] = layer + 1;
    else runs.push([layer, layer + 1]);
  }
  return runs.map(([start, end]) => (end === start + 1 ? `${start}` : `[${start}, ${end})`)).join(" ");
}

function groups(header) {
  return table("Layers", GROUP_COLUMNS, header.spec.groups);
}

const SECTION_COLUMNS = [
  ["section", ([name]) => name],
  ["layers", ([, sizes]) => count(sizes.length), true],
  ["size", ([, sizes]) => bytes(sum(sizes)), true],
  ["share", ([, sizes, total]) => percent(sum(sizes), total), true],
];

/** One row for each name and dtype, over all layers: layers are told apart by what stands before the first dot. */
function sections(header) {
  const sizes = new Map();
  for (const [name, { dtype, size_bytes }] of Object.entries(header.sections)) {
    const row = `${name.slice(name.indexOf(".") + 1)}, ${dtype}`;
    sizes.set(row, [...(sizes.get(row) ?? []), size_bytes]);
  }
  const total = sum([...sizes.values()].flat());
  return table("Sections", SECTION_COLUMNS, [...sizes].map(([name, of]) => [name, of, total]));
}

function sum(amounts) {
  return amounts.reduce((total, amount) => total + amount, 0);
}

function why(query, { answer, differs = {}, ...facts }) {
  const parts = Object.entries(differs);
  const others = Object.entries(facts).map(([name, value]) => [name.replaceAll("_", " "), written(value)]);
  return [
    element("p", { class: "answer" }, answer),
    fields([["A", keyButton(query.a)], ["B", keyButton(query.b)], ...others]),
    parts.length ? table("What differs", DIFFERENCE_COLUMNS, parts) : null,
  ];
}

const DIFFERENCE_COLUMNS = [
  ["what differs", ([part]) => part],
  ["A", ([, { a }]) => element("span", { class: "reason" }, written(a))],
  ["B", ([, { b }]) => element("span", { class: "reason" }, written(b))],
];

function written(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "string" ? value || "none" : JSON.stringify(value);
}
