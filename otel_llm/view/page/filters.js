// The search and the filters, each with how many requests there are of it.

import { button, fill, h, icon } from "./dom.js";
import { number, oneLine, words } from "./text.js";

// [filter, facet, its words, the words of no choice, how a value is written]
const SELECTS = [
  ["model", "models", "Model", "Any model", (name) => oneLine(name, 60)],
  ["tool", "tools", "Tool", "Any tool", (name) => oneLine(name, 60)],
  ["anomaly", "anomalies", "Anomaly", "Any or no anomaly", words],
  ["outcome", "outcomes", "Outcome", "Any outcome", (name) => oneLine(name, 60)],
  ["service", "services", "Service", "Any service", (name) => oneLine(name, 60)],
];
const PAUSE = 200; // ms without a key, after which is searched

export class Filters {
  /** `changed(filters)`: what somebody chose. `grouped(isGrouped)`: whether the requests of a trace stand together. */
  constructor({ changed, grouped }) {
    this.changed = changed;
    this.filters = {};
    this.search = h("input", {
      type: "search", id: "search", class: "search", placeholder: "Search names, arguments, ids", autocomplete: "off", spellcheck: "false", "aria-label": "Search requests", "aria-keyshortcuts": "/",
      on: { input: () => this.#typed(), keydown: (event) => { if (event.key === "Escape" && !this.search.value) this.search.blur(); } },
    });
    this.selects = new Map(SELECTS.map(([name, , label]) => [name, h("select", { "aria-label": label, on: { change: () => this.#choose(name) } })]));
    this.group = h("input", { type: "checkbox", checked: true, on: { change: () => grouped(this.group.checked) } });
    this.trace = h("span", { class: "trace-filter" });
    this.clear = button("Clear filters", null, () => this.#all({}), { class: "link", hidden: true });
    this.count = h("span", { class: "total", role: "status" });
    const more = h("div", { class: "selects", id: "filters" }, [...this.selects.values()], h("label", { class: "check" }, this.group, "Group by trace"));
    this.toggle = button("Filters", "filter", () => this.toggle.setAttribute("aria-expanded", String(more.classList.toggle("shown"))), { "aria-expanded": "false", "aria-controls": "filters", class: "toggle-filters" });
    this.element = h("div", { class: "filters", role: "search" }, h("label", { class: "search-box" }, icon("search"), this.search), this.toggle, more, this.trace, this.clear);
    this.facets({});
  }

  /** How many there are of each value, as the backend counts. */
  facets(facets) {
    this.counts = facets;
    for (const [name, facet, , none, written] of SELECTS) {
      const select = this.selects.get(name);
      const chosen = this.filters[name] ?? "";
      const values = facets[facet] ?? [];
      const options = values.map(([value, times]) => h("option", { value }, `${written(value)} (${number(times)})`));
      if (chosen && !values.some(([value]) => value === chosen)) options.push(h("option", { value: chosen }, written(chosen)));
      fill(select, h("option", { value: "" }, none), options);
      select.value = chosen;
      select.classList.toggle("chosen", !!chosen);
      select.hidden = values.length + (chosen ? 1 : 0) === 0;
    }
  }

  /** Show `filters`, which came with the address. */
  show(filters) {
    this.filters = { ...filters };
    if (document.activeElement !== this.search) this.search.value = filters.q ?? "";
    this.facets(this.counts);
    fill(this.trace, filters.trace ? h("span", { class: "chip" }, `Trace ${oneLine(filters.trace, 8)}`, button("Show all traces", "close", () => this.#all({ ...this.filters, trace: undefined }), { quiet: true })) : null);
    this.clear.hidden = !Object.values(filters).some(Boolean);
  }

  total(kept) {
    const { total } = kept;
    this.count.textContent = kept.isLoaded ? `${number(total)} ${kept.isFiltered ? "found" : total === 1 ? "request" : "requests"}` : "";
  }

  #typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#all({ ...this.filters, q: this.search.value.trim() }), PAUSE);
  }

  #choose(name) {
    this.#all({ ...this.filters, [name]: this.selects.get(name).value });
  }

  #all(filters) {
    const chosen = Object.fromEntries(Object.entries(filters).filter(([, value]) => value));
    if (!chosen.q) this.search.value = "";
    this.changed(chosen);
  }
}
