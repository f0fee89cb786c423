// The requests that the page holds, newest first: pages of stored ones, and those that arrive.

import * as api from "./api.js";

/** @import { Summary } from "./api.js" */
/** @import { FilterValues } from "./route.js" */

const PAGE = 200; // requests fetched at a time
const HELD = 20_000; // requests, at most

export class Kept extends EventTarget {
  /** @type {Summary[]} */
  requests = [];

  /** @type {unknown} Why the last page could not be read; null if it was. */
  failure = null;

  /** @type {FilterValues} */
  filters = {};

  total = 0;
  isLoaded = false;

  /** @type {Set<string>} */
  #ids = new Set();

  /** @type {string | null} */
  #cursor = null;

  /** @type {Summary[]} What arrived before the first page. */
  #early = [];

  #round = 0;
  #isBusy = false;

  /** @type {number | undefined} */
  #timer;

  #forget() {
    this.requests = [];
    this.#ids = new Set();
    this.#cursor = null;
    this.total = 0;
    this.isLoaded = false;
    this.failure = null;
    this.#early = [];
    this.#round += 1;
  }

  get isFiltered() {
    return Object.values(this.filters).some(Boolean);
  }

  get hasMore() {
    return this.isLoaded && this.#cursor !== null && this.requests.length < HELD;
  }

  /**
   * Start again with `filters`.
   * @param {FilterValues} filters
   */
  async load(filters = this.filters) {
    const isBare = !this.requests.length;
    this.filters = filters;
    this.#forget();
    this.#isBusy = false;
    // The old list stays until the new one is there.
    if (isBare) this.#changed();
    await this.more();
  }

  /** The next page, if there is one. */
  async more() {
    if (this.#isBusy || (this.isLoaded && !this.hasMore)) return;
    this.#isBusy = true;
    const round = this.#round;
    try {
      const page = await api.requests(this.filters, { limit: PAGE, after: this.#cursor });
      if (round !== this.#round) return;
      this.failure = null;
      this.total = page.total;
      this.#cursor = page.next;
      this.isLoaded = true;
      for (const one of page.requests) this.#keep(one, false);
    } catch (failure) {
      if (round !== this.#round) return;
      this.failure = failure;
    } finally {
      if (round === this.#round) this.#isBusy = false;
    }
    this.#changed();
    if (this.isLoaded && this.#early.length) this.arrived(this.#early.splice(0));
  }

  /**
   * Add requests that have arrived. If there are filters, the backend decides which of them match.
   * @param {Summary[]} summaries
   */
  arrived(summaries) {
    if (!this.isLoaded) {
      // The page that is on its way may be older than these.
      this.#early.push(...summaries);
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
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const round = this.#round;
      try {
        const page = await api.requests(this.filters, { limit: PAGE });
        if (round !== this.#round) return;
        let fresh = 0;
        for (const one of page.requests.reverse()) fresh += this.#keep(one, true) ? 1 : 0;
        this.total = page.total;
        this.#changed(fresh);
      } catch {
        // The page header shows that the connection is lost.
      }
    }, 300);
  }

  /**
   * Whether it was not there yet.
   * @param {Summary} one
   * @param {boolean} isNew
   */
  #keep(one, isNew) {
    if (this.#ids.has(one.id)) {
      const at = this.requests.findIndex((other) => other.id === one.id);
      this.requests[at] = one;
      return false;
    }
    this.#ids.add(one.id);
    if (!isNew) this.requests.push(one);
    else {
      // Of two requests that end at the same time the later one may arrive first.
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
