// The list of requests: only the lines that can be seen are elements, however many there are.

import { fill, h } from "./dom.js";
import { linesOf } from "./groups.js";
import { row } from "./row.js";
import { number } from "./text.js";

const BEYOND = 8; // lines made above and below those that can be seen
const EARLY = 60; // lines before the end at which more are asked for
const COLUMNS = [["time", "Time"], ["model", "Model"], ["tools", "Tools called"], ["how", "Outcome"], ["wrongs", "Anomalies"], ["tokens", "Tokens in → out"], ["took", "Duration"]];

export class List {
  /** `kept`: what is listed. `open(id)`, `mark(id)`: what Enter and c do. `empty()`: what is shown where nothing is. */
  constructor(kept, { open, mark, empty }) {
    Object.assign(this, { kept, open, mark, empty });
    this.isGrouped = true;
    this.marked = [];
    this.active = null;
    this.lines = [];
    this.space = h("div", { class: "rows-space", role: "presentation" });
    this.scroll = h("div", {
      class: "rows", tabindex: "0", role: "grid", "aria-label": "Requests", "aria-colcount": COLUMNS.length,
      on: { scroll: () => this.#scrolled(), click: (event) => this.#clicked(event), keydown: (event) => this.#key(event), focus: () => this.#focused() },
    }, this.space);
    this.head = h("div", { class: "row-head", "aria-hidden": "true" }, COLUMNS.map(([name, words]) => h("div", { class: `cell ${name}` }, words)));
    this.fresh = h("button", { type: "button", class: "button arrived", hidden: true, on: { click: () => this.toTop() } });
    this.state = h("div", { class: "list-state", hidden: true });
    this.element = h("div", { class: "list" }, this.head, this.scroll, this.state, this.fresh);
    kept.addEventListener("change", (event) => this.update(event.detail.fresh));
    new ResizeObserver(() => this.#measure()).observe(this.scroll);
  }

  group(isGrouped) {
    this.isGrouped = isGrouped;
    this.update();
  }

  update(fresh = 0) {
    const anchor = this.scroll.scrollTop > 4 ? this.#firstSeen() : null;
    this.lines = linesOf(this.kept.requests, this.isGrouped);
    this.#place();
    if (!this.lines.some((line) => line.request?.id === this.active)) this.active = this.lines.find((line) => line.request)?.request.id ?? null;
    if (anchor) {
      const at = this.lines.findIndex((line) => keyOf(line) === anchor.key);
      if (at >= 0) this.scroll.scrollTop = this.tops[at] + anchor.shift;
      if (fresh) this.unseen = (this.unseen ?? 0) + fresh;
    }
    this.#tellFresh();
    this.#state();
    this.paint();
    this.#wantMore();
  }

  /** Mark which request is open beside the list, and which are chosen for comparison. */
  show({ open, marked }) {
    this.opened = open;
    this.marked = marked;
    if (open && this.lines.some((line) => line.request?.id === open)) {
      this.active = open;
      this.#reveal();
    }
    this.paint();
  }

  step(by) {
    const requests = this.lines.filter((line) => line.request);
    if (!requests.length) return;
    const at = requests.findIndex((line) => line.request.id === this.active);
    const to = Math.min(requests.length - 1, Math.max(0, at + by));
    this.active = requests[to].request.id;
    this.#reveal();
    this.paint();
  }

  toTop() {
    this.scroll.scrollTop = 0;
    this.unseen = 0;
    this.#tellFresh();
  }

  focus() {
    this.scroll.focus();
  }

  // -- where the lines are --

  #measure() {
    const style = getComputedStyle(this.scroll);
    const [high, low] = ["--row-height", "--trace-height"].map((name) => parseFloat(style.getPropertyValue(name)));
    if (high !== this.rowHeight || low !== this.traceHeight) {
      [this.rowHeight, this.traceHeight] = [high, low];
      this.#place();
      this.#reveal();
    }
    // The columns of the head stand over those of the lines, whatever room a scroll bar takes.
    this.head.style.marginRight = `${this.scroll.offsetWidth - this.scroll.clientWidth}px`;
    this.paint();
    this.#wantMore();
  }

  #place() {
    const tops = new Float64Array(this.lines.length + 1);
    this.lines.forEach((line, at) => { tops[at + 1] = tops[at] + (line.kind === "trace" ? this.traceHeight : this.rowHeight) || 0; });
    this.tops = tops;
    this.space.style.height = `${tops[this.lines.length]}px`;
  }

  #lineAt(y) {
    let low = 0;
    let high = this.lines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.tops[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #firstSeen() {
    const at = this.#lineAt(this.scroll.scrollTop);
    return at < this.lines.length ? { key: keyOf(this.lines[at]), shift: this.scroll.scrollTop - this.tops[at] } : null;
  }

  #reveal() {
    const at = this.lines.findIndex((line) => line.request?.id === this.active);
    if (at < 0) return;
    const { scroll } = this;
    if (this.tops[at] < scroll.scrollTop) scroll.scrollTop = this.tops[at];
    else if (this.tops[at + 1] > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = this.tops[at + 1] - scroll.clientHeight;
  }

  // -- what is seen --

  #scrolled() {
    if (this.scroll.scrollTop < 4 && this.unseen) {
      this.unseen = 0;
      this.#tellFresh();
    }
    this.paint();
    this.#wantMore();
  }

  paint() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = null;
      this.#paint();
    });
  }

  #paint() {
    const top = this.scroll.scrollTop;
    const begin = Math.max(0, this.#lineAt(top) - BEYOND);
    const end = Math.min(this.lines.length, this.#lineAt(top + this.scroll.clientHeight) + 1 + BEYOND);
    const rows = [];
    const made = new Map();
    let active = null;
    for (let at = begin; at < end; at += 1) {
      const line = this.lines[at];
      const request = line.request?.id;
      const state = { id: `line-${at}`, index: at + 1, isActive: !!request && request === this.active, isOpen: !!request && request === this.opened, isMarked: this.marked.includes(request) };
      if (state.isActive) active = state.id;
      // A line that has not changed stays the element that it is: somebody may be clicking on it.
      const key = JSON.stringify([keyOf(line), line.turn, line.last, line.requests?.length, state]);
      const old = this.made?.get(key);
      const one = old && old.request === line.request ? old : { request: line.request, element: row(line, state) };
      one.element.style.transform = `translateY(${this.tops[at]}px)`;
      made.set(key, one);
      rows.push(one.element);
    }
    this.made = made;
    put(this.space, rows);
    this.scroll.setAttribute("aria-rowcount", this.lines.length);
    if (active) this.scroll.setAttribute("aria-activedescendant", active);
    else this.scroll.removeAttribute("aria-activedescendant");
  }

  #wantMore() {
    if (this.kept.hasMore && !this.kept.failure && this.#lineAt(this.scroll.scrollTop + this.scroll.clientHeight) > this.lines.length - EARLY) this.kept.more();
  }

  #tellFresh() {
    this.fresh.hidden = !this.unseen;
    this.fresh.textContent = `${number(this.unseen)} new above`;
  }

  #state() {
    const { kept } = this;
    const isBare = this.lines.length === 0;
    this.state.hidden = !isBare && !kept.failure;
    this.scroll.hidden = this.head.hidden = isBare;
    this.state.classList.toggle("over", !isBare);
    if (kept.failure)
      fill(this.state, h("div", { class: "failure", role: "alert" }, h("p", {}, kept.failure.message),
        h("button", { type: "button", class: "button", on: { click: () => (isBare ? kept.load() : kept.more()) } }, "Try again")));
    else if (isBare) fill(this.state, kept.isLoaded ? this.empty(kept.isFiltered) : h("p", { class: "aside", role: "status" }, "Reading the requests…"));
  }

  // -- what people do --

  #clicked(event) {
    const id = event.target.closest("[data-id]")?.dataset.id;
    if (!id) return;
    this.active = id;
    if (event.ctrlKey || event.metaKey) this.mark(id);
    else this.open(id);
  }

  #focused() {
    this.paint();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.scroll.clientHeight / this.rowHeight) - 1);
    const does = { ArrowDown: () => this.step(1), ArrowUp: () => this.step(-1), PageDown: () => this.step(page), PageUp: () => this.step(-page), Home: () => this.step(-Infinity), End: () => this.step(Infinity) }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }
}

// Make `elements` the children of `parent`, and leave alone those that are already.
function put(parent, elements) {
  const wanted = new Set(elements);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let next = parent.firstChild;
  for (const element of elements) {
    if (element === next) next = next.nextSibling;
    else parent.insertBefore(element, next);
  }
}

function keyOf(line) {
  return line.kind === "trace" ? `trace ${line.trace}` : line.request.id;
}
