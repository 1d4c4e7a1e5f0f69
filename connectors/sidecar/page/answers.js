// Answers: how each category of the proxy's cache does, and how sure it is that what it serves is right.

import { code, element, empty, named } from "./dom.js";
import { shares } from "./shares.js";
import { table } from "./table.js";
import { age, bytes, count, counted, percent } from "./units.js";

const NONE = () => element("span", { class: "quiet" }, "none yet");

/** What was answered from the cache, of all categories together and of each. */
export function answers(categories) {
  if (!categories.length) return [empty("The cache has no categories.")];
  const parts = [
    ["same words", added(categories, "hits_exact")],
    ["other words", added(categories, "hits_semantic")],
    ["computed", categories.reduce((sum, category) => sum + computed(category), 0)],
  ];
  const held = `${counted(added(categories, "entries"), "answer")} of ${bytes(added(categories, "size_bytes"))} held. `;
  const how = ["Search them with ", code("kvstore answers ls TEXT"), ", drop them with ", code("kvstore answers drop"), "."];
  const most = categories.toSorted((a, b) => asked(b) - asked(a) || b.entries - a.entries);
  return [
    ...shares("Of all requests that may be answered", "requests", parts),
    table("Answers by category", COLUMNS, most),
    element("p", { class: "empty" }, held, ...how),
  ];
}

/** What matters most first: narrow windows show the beginning. */
const COLUMNS = [
  ["category", ({ category }) => named(category)],
  ["answered", (category) => percent(hits(category), asked(category)), true],
  ["threshold", ({ threshold }) => (threshold === null ? NONE() : threshold.toFixed(3)), true],
  ["wrong (at most)", ({ wrong, wrong_at_most }) => interval(wrong, wrong_at_most), true],
  ["entries", ({ entries }) => count(entries), true],
  ["size", ({ size_bytes }) => bytes(size_bytes), true],
  ["requests", (category) => count(asked(category)), true],
  ["same words", ({ hits_exact }) => count(hits_exact), true],
  ["other words", ({ hits_semantic }) => count(hits_semantic), true],
  ["explored", ({ explored }) => count(explored), true],
  ["barred", ({ barred }) => count(barred), true],
  ["labels", ({ observed }) => count(observed), true],
  ["oldest", ({ oldest_at_s }) => since(oldest_at_s), true],
  ["newest", ({ newest_at_s }) => since(newest_at_s), true],
];

function hits({ hits_exact, hits_semantic }) {
  return hits_exact + hits_semantic;
}

function computed({ misses, not_searched, explored }) {
  return misses + not_searched + explored;
}

/** Those that are barred may not be answered, and count for none. */
function asked(category) {
  return hits(category) + computed(category);
}

function added(categories, name) {
  return categories.reduce((sum, category) => sum + category[name], 0);
}

/** The estimate, and its upper bound. */
function interval(wrong, most) {
  return wrong === null || most === null ? null : `${(100 * wrong).toFixed(2)}% (${(100 * most).toFixed(2)}%)`;
}

function since(at_s) {
  return at_s === null ? null : age(Date.now() / 1000 - at_s);
}
