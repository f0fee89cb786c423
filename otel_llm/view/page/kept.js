// The requests that the page holds: pages of what was kept, newest first, and what arrives.

import * as api from "./api.js";

const PAGE = 200; // requests asked for at a time
const HELD = 20_000; // requests held here at the most

export class Kept extends EventTarget {
  constructor() {
    super();
    this.forget();
    this.filters = {};
  }

  forget() {
    this.requests = [];
    this.ids = new Set();
    this.cursor = null;
    this.total = 0;
    this.isLoaded = false;
    this.failure = null;
    this.early = [];
    this.round = (this.round ?? 0) + 1;
  }

  get isFiltered() {
    return Object.values(this.filters).some(Boolean);
  }

  get hasMore() {
    return this.isLoaded && this.cursor !== null && this.requests.length < HELD;
  }

  /** Start anew with `filters`. */
  async load(filters = this.filters) {
    const isBare = !this.requests.length;
    this.filters = filters;
    this.forget();
    this.busy = false;
    // What is listed stays until there is something else to list.
    if (isBare) this.#changed();
    await this.more();
  }

  /** The next page, if there is one. */
  async more() {
    if (this.busy || (this.isLoaded && !this.hasMore)) return;
    this.busy = true;
    const { round } = this;
    try {
      const page = await api.requests(this.filters, { limit: PAGE, after: this.cursor });
      if (round !== this.round) return;
      this.failure = null;
      this.total = page.total;
      this.cursor = page.next;
      this.isLoaded = true;
      for (const one of page.requests) this.#keep(one, false);
    } catch (failure) {
      if (round !== this.round) return;
      this.failure = failure;
    } finally {
      if (round === this.round) this.busy = false;
    }
    this.#changed();
    if (this.isLoaded && this.early.length) this.arrived(this.early.splice(0));
  }

  /** What arrived by itself. Where there are filters, the backend says which of it is meant. */
  arrived(summaries) {
    if (!this.isLoaded) {
      // The page that was asked for may be older than these.
      this.early.push(...summaries);
      return;
    }
    if (this.isFiltered) {
      this.#ask();
      return;
    }
    let fresh = 0;
    for (const one of summaries) fresh += this.#keep(one, true) ? 1 : 0;
    this.total += fresh;
    this.#changed(fresh);
  }

  #ask() {
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      const { round } = this;
      try {
        const page = await api.requests(this.filters, { limit: PAGE });
        if (round !== this.round) return;
        let fresh = 0;
        for (const one of page.requests.reverse()) fresh += this.#keep(one, true) ? 1 : 0;
        this.total = page.total;
        this.#changed(fresh);
      } catch {
        // The state of the connection is shown already.
      }
    }, 300);
  }

  #keep(one, isNew) {
    if (this.ids.has(one.id)) {
      const at = this.requests.findIndex((other) => other.id === one.id);
      this.requests[at] = one;
      return false;
    }
    this.ids.add(one.id);
    if (!isNew) this.requests.push(one);
    else {
      // Of two that end at once the one that began later may arrive first.
      let at = 0;
      while (at < this.requests.length && this.requests[at].started > one.started) at += 1;
      this.requests.splice(at, 0, one);
    }
    return true;
  }

  #changed(fresh = 0) {
    this.dispatchEvent(new CustomEvent("change", { detail: { fresh } }));
  }
}
