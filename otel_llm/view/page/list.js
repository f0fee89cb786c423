// The list of requests. Only the visible lines are elements, however many there are.

import { sentenceOf } from "./api.js";
import { fill, h } from "./dom.js";
import { linesOf } from "./groups.js";
import { row } from "./row.js";
import { number } from "./text.js";

/** @import { Summary } from "./api.js" */
/** @import { Line } from "./groups.js" */
/** @import { Kept } from "./kept.js" */

const BEYOND = 8; // lines created above and below the visible ones
const EARLY = 60; // lines before the end at which the next page is fetched
const COLUMNS = [["time", "Time"], ["model", "Model"], ["tools", "Tools called"], ["how", "Outcome"], ["wrongs", "Anomalies"], ["tokens", "Tokens in → out"], ["took", "Duration"]];

export class List {
  #isGrouped = true;

  /** @type {string | null} The id of the request that the keys act on. */
  active = null;

  /** @type {string | null} */
  #opened = null;

  /** @type {string[]} */
  #marked = [];

  /** @type {Line[]} */
  #lines = [];

  /** Where each line starts in px, and where the last one ends. */
  #tops = new Float64Array(1);

  /** @type {Map<string, { request: Summary | null, element: HTMLElement }>} */
  #made = new Map();

  #rowHeight = 0;
  #traceHeight = 0;

  /** How many requests have arrived above the visible lines. */
  #unseen = 0;

  #isAsked = false;

  /**
   * `open` and `mark` are what a click and a click with Ctrl do. `empty`: what is shown if nothing is listed.
   * @param {Kept} kept
   * @param {{ open: (id: string) => void, mark: (id: string) => void, empty: (isFiltered: boolean) => HTMLElement }} options
   */
  constructor(kept, { open, mark, empty }) {
    this.kept = kept;
    this.open = open;
    this.mark = mark;
    this.empty = empty;
    this.space = h("div", { class: "rows-space", role: "presentation" });
    this.scroll = h("div", {
      class: "rows", tabindex: "0", role: "grid", "aria-label": "Requests", "aria-colcount": COLUMNS.length,
      on: { scroll: () => this.#scrolled(), click: (event) => this.#clicked(event), keydown: (event) => this.#key(event), focus: () => this.#focused() },
    }, this.space);
    this.head = h("div", { class: "row-head", "aria-hidden": "true" }, COLUMNS.map(([name, words]) => h("div", { class: `cell ${name}` }, words)));
    this.fresh = h("button", { type: "button", class: "button arrived", hidden: true, on: { click: () => this.toTop() } });
    this.state = h("div", { class: "list-state", hidden: true });
    this.element = h("div", { class: "list" }, this.head, this.scroll, this.state, this.fresh);
    kept.addEventListener("change", (event) => this.update(/** @type {CustomEvent} */ (event).detail.fresh));
    new ResizeObserver(() => this.#measure()).observe(this.scroll);
  }

  /** @param {boolean} isGrouped */
  group(isGrouped) {
    this.#isGrouped = isGrouped;
    this.update();
  }

  /** The requests have changed; `fresh` of them are new. */
  update(fresh = 0) {
    const anchor = this.scroll.scrollTop > 4 ? this.#firstSeen() : null;
    this.#lines = linesOf(this.kept.requests, this.#isGrouped);
    this.#place();
    if (this.#lineOf(this.active) < 0) this.active = this.#requests()[0]?.id ?? null;
    if (anchor) {
      const at = this.#lines.findIndex((line) => keyOf(line) === anchor.key);
      if (at >= 0) this.scroll.scrollTop = this.#tops[at] + anchor.shift;
      this.#unseen += fresh;
    }
    this.#tellFresh();
    this.#state();
    this.paint();
    this.#wantMore();
  }

  /**
   * Mark the request that is open beside the list, and those selected for comparison.
   * @param {{ open: string | null, marked: string[] }} state
   */
  show({ open, marked }) {
    this.#opened = open;
    this.#marked = marked;
    if (this.#lineOf(open) >= 0) {
      this.active = open;
      this.#reveal();
    }
    this.paint();
  }

  /**
   * Move the active line.
   * @param {number} by lines
   */
  step(by) {
    const requests = this.#requests();
    if (!requests.length) return;
    const at = requests.findIndex((one) => one.id === this.active);
    const to = Math.min(requests.length - 1, Math.max(0, at + by));
    this.active = requests[to].id;
    this.#reveal();
    this.paint();
  }

  toTop() {
    this.scroll.scrollTop = 0;
    this.#unseen = 0;
    this.#tellFresh();
  }

  focus() {
    this.scroll.focus();
  }

  // -- where the lines are --

  /** The requests in the order of the list. */
  #requests() {
    return this.#lines.map(requestOf).filter((request) => request !== null);
  }

  /** @param {string | null} id */
  #lineOf(id) {
    return this.#lines.findIndex((line) => requestOf(line)?.id === id);
  }

  #measure() {
    const style = getComputedStyle(this.scroll);
    const [high, low] = ["--row-height", "--trace-height"].map((name) => parseFloat(style.getPropertyValue(name)) || 0);
    if (high !== this.#rowHeight || low !== this.#traceHeight) {
      [this.#rowHeight, this.#traceHeight] = [high, low];
      this.#place();
      this.#reveal();
    }
    // Align the columns of the head with those of the lines, which leave room for the scroll bar.
    this.head.style.marginRight = `${this.scroll.offsetWidth - this.scroll.clientWidth}px`;
    this.paint();
    this.#wantMore();
  }

  #place() {
    const tops = new Float64Array(this.#lines.length + 1);
    this.#lines.forEach((line, at) => { tops[at + 1] = tops[at] + (line.kind === "trace" ? this.#traceHeight : this.#rowHeight); });
    this.#tops = tops;
    this.space.style.height = `${tops[this.#lines.length]}px`;
  }

  /** @param {number} y */
  #lineAt(y) {
    let low = 0;
    let high = this.#lines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#tops[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #firstSeen() {
    const at = this.#lineAt(this.scroll.scrollTop);
    return at < this.#lines.length ? { key: keyOf(this.#lines[at]), shift: this.scroll.scrollTop - this.#tops[at] } : null;
  }

  #reveal() {
    const at = this.#lineOf(this.active);
    if (at < 0) return;
    const { scroll } = this;
    if (this.#tops[at] < scroll.scrollTop) scroll.scrollTop = this.#tops[at];
    else if (this.#tops[at + 1] > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = this.#tops[at + 1] - scroll.clientHeight;
  }

  // -- what is seen --

  #scrolled() {
    if (this.scroll.scrollTop < 4 && this.#unseen) {
      this.#unseen = 0;
      this.#tellFresh();
    }
    this.paint();
    this.#wantMore();
  }

  paint() {
    if (this.#isAsked) return;
    this.#isAsked = true;
    requestAnimationFrame(() => {
      this.#isAsked = false;
      this.#paint();
    });
  }

  #paint() {
    const top = this.scroll.scrollTop;
    const begin = Math.max(0, this.#lineAt(top) - BEYOND);
    const end = Math.min(this.#lines.length, this.#lineAt(top + this.scroll.clientHeight) + 1 + BEYOND);
    const rows = [];
    /** @type {Map<string, { request: Summary | null, element: HTMLElement }>} */
    const made = new Map();
    let active = null;
    for (let at = begin; at < end; at += 1) {
      const line = this.#lines[at];
      const request = requestOf(line);
      const state = { id: `line-${at}`, index: at + 1, isActive: !!request && request.id === this.active, isOpen: !!request && request.id === this.#opened, isMarked: !!request && this.#marked.includes(request.id) };
      if (state.isActive) active = state.id;
      // Keep the element of a line that has not changed: the user may be clicking on it.
      const key = JSON.stringify([keyOf(line), line.kind === "trace" ? line.requests.length : [line.turn, line.last], state]);
      const old = this.#made.get(key);
      const one = old && old.request === request ? old : { request, element: row(line, state) };
      one.element.style.transform = `translateY(${this.#tops[at]}px)`;
      made.set(key, one);
      rows.push(one.element);
    }
    this.#made = made;
    put(this.space, rows);
    this.scroll.setAttribute("aria-rowcount", String(this.#lines.length));
    if (active) this.scroll.setAttribute("aria-activedescendant", active);
    else this.scroll.removeAttribute("aria-activedescendant");
  }

  #wantMore() {
    if (this.kept.hasMore && !this.kept.failure && this.#lineAt(this.scroll.scrollTop + this.scroll.clientHeight) > this.#lines.length - EARLY) this.kept.more();
  }

  #tellFresh() {
    this.fresh.hidden = !this.#unseen;
    this.fresh.textContent = `${number(this.#unseen)} new above`;
  }

  #state() {
    const { kept } = this;
    const isBare = this.#lines.length === 0;
    this.state.hidden = !isBare && !kept.failure;
    this.scroll.hidden = this.head.hidden = isBare;
    this.state.classList.toggle("over", !isBare);
    if (kept.failure)
      fill(this.state, h("div", { class: "failure", role: "alert" }, h("p", {}, sentenceOf(kept.failure)),
        h("button", { type: "button", class: "button", on: { click: () => (isBare ? kept.load() : kept.more()) } }, "Try again")));
    else if (isBare) fill(this.state, kept.isLoaded ? this.empty(kept.isFiltered) : h("p", { class: "aside", role: "status" }, "Loading requests…"));
  }

  // -- what people do --

  /** @param {MouseEvent} event */
  #clicked(event) {
    const id = event.target instanceof Element ? event.target.closest("[data-id]")?.getAttribute("data-id") : null;
    if (!id) return;
    this.active = id;
    if (event.ctrlKey || event.metaKey) this.mark(id);
    else this.open(id);
  }

  #focused() {
    this.paint();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.scroll.clientHeight / this.#rowHeight) - 1);
    /** @type {Record<string, () => void>} */
    const actions = { ArrowDown: () => this.step(1), ArrowUp: () => this.step(-1), PageDown: () => this.step(page), PageUp: () => this.step(-page), Home: () => this.step(-Infinity), End: () => this.step(Infinity) };
    const does = actions[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }
}

/**
 * Make `elements` the children of `parent`, without moving those that are in place.
 * @param {Element} parent
 * @param {Element[]} elements
 */
function put(parent, elements) {
  const wanted = new Set(elements);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const element of elements) {
    if (element === next) next = element.nextElementSibling;
    else parent.insertBefore(element, next);
  }
}

/** @param {Line} line */
const requestOf = (line) => (line.kind === "request" ? line.request : null);

/** @param {Line} line */
function keyOf(line) {
  return line.kind === "trace" ? `trace ${line.trace}` : line.request.id;
}
