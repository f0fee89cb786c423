// The search and the filters. Each option of a filter shows how many requests match it.

import { button, fill, h, icon } from "./dom.js";
import { number, oneLine, words } from "./text.js";

/** @import { Facet, FacetName } from "./api.js" */
/** @import { Kept } from "./kept.js" */
/** @import { FilterName, FilterValues } from "./route.js" */

/** @typedef {Partial<Record<FacetName, Facet>>} Facets */

/**
 * Filter, facet, label, label of no filter, how to write a value.
 * @type {[FilterName, FacetName, string, string, (value: string) => string][]}
 */
const SELECTS = [
  ["model", "models", "Model", "Any model", (name) => oneLine(name, 60)],
  ["tool", "tools", "Tool", "Any tool", (name) => oneLine(name, 60)],
  ["anomaly", "anomalies", "Anomaly", "Anomaly or none", words],
  ["outcome", "outcomes", "Outcome", "Any outcome", (name) => oneLine(name, 60)],
  ["service", "services", "Service", "Any service", (name) => oneLine(name, 60)],
];
const PAUSE = 200; // ms without a key before the search starts

export class Filters {
  /** @type {FilterValues} */
  #chosen = {};

  /** @type {Facets} */
  #counts = {};

  /** @type {number | undefined} */
  #timer;

  /**
   * `changed`: the user chose filters. `grouped`: the user chose whether to group the requests of a trace.
   * @param {{ changed: (filters: FilterValues) => void, grouped: (isGrouped: boolean) => void }} listeners
   */
  constructor({ changed, grouped }) {
    this.changed = changed;
    /** @type {HTMLInputElement} */
    this.search = h("input", {
      type: "search", id: "search", class: "search", placeholder: "Search names, arguments, IDs", autocomplete: "off", spellcheck: "false", "aria-label": "Search requests", "aria-keyshortcuts": "/",
      on: { input: () => this.#typed(), keydown: (event) => { if (event.key === "Escape" && !this.search.value) this.search.blur(); } },
    });
    this.selects = SELECTS.map(([name, , label]) => h("select", { "aria-label": label, on: { change: (event) => this.#choose(name, event) } }));
    /** @type {HTMLInputElement} */
    this.group = h("input", { type: "checkbox", checked: true, on: { change: () => grouped(this.group.checked) } });
    this.trace = h("span", { class: "trace-filter" });
    this.clear = button("Clear filters", null, () => this.#all({}), { class: "link", hidden: true });
    this.count = h("span", { class: "total", role: "status" });
    const more = h("div", { class: "selects", id: "filters" }, this.selects, h("label", { class: "check" }, this.group, "Group by trace"));
    /** @type {HTMLButtonElement} */
    this.toggle = button("Filters", "filter", () => this.toggle.setAttribute("aria-expanded", String(more.classList.toggle("shown"))), { "aria-expanded": "false", "aria-controls": "filters", class: "toggle-filters" });
    this.element = h("div", { class: "filters", role: "search" }, h("label", { class: "search-box" }, icon("search"), this.search), this.toggle, more, this.trace, this.clear);
    this.facets({});
  }

  /**
   * Offer the values that the backend counted.
   * @param {Facets} facets
   */
  facets(facets) {
    this.#counts = facets;
    for (const [at, [name, facet, , none, written]] of SELECTS.entries()) {
      const select = this.selects[at];
      const chosen = this.#chosen[name] ?? "";
      const values = facets[facet] ?? [];
      const options = values.map(([value, times]) => h("option", { value }, `${written(value)} (${number(times)})`));
      if (chosen && !values.some(([value]) => value === chosen)) options.push(h("option", { value: chosen }, written(chosen)));
      fill(select, h("option", { value: "" }, none), options);
      select.value = chosen;
      select.classList.toggle("chosen", !!chosen);
      select.hidden = values.length + (chosen ? 1 : 0) === 0;
    }
  }

  /**
   * Show the filters of the address.
   * @param {FilterValues} filters
   */
  show(filters) {
    this.#chosen = { ...filters };
    if (document.activeElement !== this.search) this.search.value = filters.q ?? "";
    this.facets(this.#counts);
    fill(this.trace, filters.trace ? h("span", { class: "chip" }, `Trace ${oneLine(filters.trace, 8)}`, button("Show all traces", "close", () => this.#all({ ...this.#chosen, trace: undefined }), { quiet: true })) : null);
    this.clear.hidden = !Object.values(filters).some(Boolean);
  }

  /** @param {Kept} kept */
  total(kept) {
    const { total } = kept;
    this.count.textContent = kept.isLoaded ? `${number(total)} ${kept.isFiltered ? "found" : total === 1 ? "request" : "requests"}` : "";
  }

  #typed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#all({ ...this.#chosen, q: this.search.value.trim() }), PAUSE);
  }

  /**
   * @param {FilterName} name
   * @param {Event} event
   */
  #choose(name, event) {
    this.#all({ ...this.#chosen, [name]: /** @type {HTMLSelectElement} */ (event.target).value });
  }

  /** @param {FilterValues} filters */
  #all(filters) {
    /** @type {FilterValues} */
    const chosen = Object.fromEntries(Object.entries(filters).filter(([, value]) => value));
    if (!chosen.q) this.search.value = "";
    this.changed(chosen);
  }
}
