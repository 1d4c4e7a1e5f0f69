// The search box. What is searched for stands behind the # of the address, so that it can be kept and gone back to.

import { element, fill } from "./dom.js";
import { shown } from "./found.js";
import { answerTo, read } from "./query.js";
import { Away, Refused } from "./service.js";

const [FEW, MOST] = [50, 800];
const part = (id) => document.getElementById(id);

export class Search {
  #onToken;
  #limit = FEW;
  #asked = 0;

  /** `onToken` is called when a token is needed. */
  constructor(onToken) {
    this.#onToken = onToken;
    part("search").addEventListener("submit", (event) => this.#submit(event));
    part("sort").addEventListener("change", () => this.#text() !== null && this.run());
    part("found-close").addEventListener("click", () => this.#close());
    document.addEventListener("click", (event) => this.#clicked(event));
    window.addEventListener("hashchange", () => this.run());
  }

  /** Searches for what the address says, if it does. */
  async run(limit = FEW) {
    const text = this.#text();
    const asked = ++this.#asked;
    this.#limit = limit;
    part("found").hidden = text === null;
    if (text === null) return;
    part("query").value = text;
    fill(part("found-title"), "Searching…");
    const found = await this.#found(read(text), limit);
    if (asked !== this.#asked || found === null) return;
    fill(part("found-title"), found.title);
    fill(part("found-view"), ...found.parts);
  }

  async #found(query, limit) {
    try {
      return shown(query, await answerTo(query, part("sort").value, limit), limit);
    } catch (error) {
      if (error instanceof Refused && error.needsToken) {
        this.#onToken();
        return null;
      }
      if (!(error instanceof Refused || error instanceof Away)) throw error;
      const said = error instanceof Away ? "The service does not answer: try again." : error.message;
      return { title: "Nothing found", parts: [element("p", { class: "warn" }, said)] };
    }
  }

  #text() {
    return new URLSearchParams(location.hash.slice(1)).get("q");
  }

  #submit(event) {
    event.preventDefault();
    this.#go(part("query").value);
  }

  #go(text) {
    const hash = `#${new URLSearchParams({ q: text })}`;
    if (location.hash === hash) this.run();
    else location.hash = hash;
  }

  #clicked({ target }) {
    if (target.id === "more") this.run(Math.min(MOST, 2 * this.#limit));
    const key = target.closest("[data-key]")?.dataset.key;
    if (key === undefined) return;
    this.#go(key);
    part("query").scrollIntoView({ block: "nearest" });
  }

  #close() {
    history.pushState(null, "", location.pathname + location.search);
    this.run();
    part("query").value = "";
    part("query").focus();
  }
}
