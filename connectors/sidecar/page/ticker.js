// Ticker: does something again and again, but not while it is paused or nobody looks.

export class Ticker {
  #act;
  #every_ms;
  #timer = null;
  #acting = false;
  isPaused = false;

  constructor(act, every_ms) {
    this.#act = act;
    this.#every_ms = every_ms;
    document.addEventListener("visibilitychange", () => this.#rouse());
  }

  start() {
    this.#rouse();
  }

  pause(isPaused) {
    this.isPaused = isPaused;
    this.#rouse();
  }

  /** Ends it, until `start`. */
  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** At once, and then at its pace. `act` may say how long to wait at least. */
  async #rouse() {
    this.stop();
    if (this.#acting || this.isPaused || document.hidden) return;
    this.#acting = true;
    const wait_ms = await this.#act().finally(() => (this.#acting = false));
    if (wait_ms === null || this.isPaused || document.hidden) return;
    this.#timer = setTimeout(() => this.#rouse(), Math.max(this.#every_ms, wait_ms));
  }
}
