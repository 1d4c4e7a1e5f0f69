// What somebody typed into the search box, and which of ls, show and why-miss it asks for.

import { ask } from "./service.js";

const KEY = /^[0-9a-f]{8,64}$/i;

/** What `text` asks for: {kind, ...} with kind "ls", "show" or "why-miss". */
export function read(text) {
  const words = text.trim().split(/[\s,]+/);
  if (!words.every((word) => KEY.test(word)) || words.length > 2) return { kind: "ls", text: text.trim() };
  const [a, b] = words.map((word) => word.toLowerCase());
  return b === undefined ? { kind: "show", key: a } : { kind: "why-miss", a, b };
}

/** What the service answers to that. Throws Away or Refused. */
export function answerTo(query, sort, limit) {
  if (query.kind === "show") return ask(`v1/chunks/${query.key}`);
  if (query.kind === "why-miss") return ask("v1/why-miss", { a: query.a, b: query.b });
  return ask("v1/chunks", { q: query.text, sort, limit });
}
