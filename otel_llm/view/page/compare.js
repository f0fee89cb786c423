// Compares two requests side by side: figures, timelines on one scale, and calls line by line.

import * as api from "./api.js";
import { readable } from "./calls.js";
import { numbersOf } from "./detail.js";
import { linesSideBySide } from "./diff.js";
import { button, fill, h } from "./dom.js";
import { Lanes } from "./lanes.js";
import { toRequest } from "./route.js";
import { outcome } from "./row.js";
import { Scrubber } from "./scrubber.js";
import { duration, oneLine, visible, when, words } from "./text.js";
import { Timeline } from "./timeline.js";

/** @import { Detail, Given } from "./api.js" */
/** @import { Row } from "./diff.js" */
/** @import { Child } from "./dom.js" */
/** @import { Lane } from "./lanes.js" */

const MOST_CALLS = 50;

export class Comparison {
  /** @type {string[] | null} */
  #ids = null;

  /** @type {Timeline[]} */
  #timelines = [];

  /** @type {Scrubber[]} */
  #scrubbers = [];

  /** @param {{ back: () => void }} actions */
  constructor({ back }) {
    this.back = back;
    this.element = h("article", { class: "comparison", "aria-label": "Comparison", tabindex: "-1" });
  }

  /** @param {string[]} ids */
  async open(ids) {
    this.close();
    this.#ids = ids;
    const bar = h("div", { class: "request-bar" }, button("Back to the list", "back", () => this.back(), { quiet: true }), h("h2", {}, "Comparison"));
    fill(this.element, bar, h("p", { class: "aside", role: "status" }, "Loading requests…"));
    try {
      const both = await Promise.all(ids.map((id) => api.request(id)));
      if (this.#ids === ids) this.#show(bar, both);
    } catch (failure) {
      if (this.#ids === ids) fill(this.element, bar, h("div", { class: "failure", role: "alert" }, h("p", {}, api.sentenceOf(failure)), button("Try again", null, () => this.open(ids))));
    }
  }

  close() {
    for (const timeline of this.#timelines) timeline.close();
    for (const scrubber of this.#scrubbers) scrubber.stop();
    this.#timelines = [];
    this.#scrubbers = [];
    this.#ids = null;
  }

  redraw() {
    for (const timeline of this.#timelines) timeline.draw();
  }

  /**
   * @param {HTMLElement} bar
   * @param {Detail[]} both
   */
  #show(bar, both) {
    const lanes = both.map((detail) => new Lanes(detail));
    const extent = Math.max(...lanes.map((one) => one.duration));
    /**
     * Both timelines show the same moment.
     * @param {number} ms
     */
    const move = (ms) => both.forEach((_, at) => {
      this.#scrubbers[at].show(ms);
      this.#timelines[at].at(ms);
    });
    this.#timelines = lanes.map((one, at) => new Timeline(one, { extent, scrubbed: move, label: `Timeline ${"AB"[at]}` }));
    this.#scrubbers = lanes.map((one) => new Scrubber(one, move, { extent }));
    fill(this.element, bar,
      h("div", { class: "sides" }, both.map((detail, at) => h("h3", { class: "side-title" }, h("span", { class: "side" }, "AB"[at]), h("a", { href: toRequest(detail.id) }, h("bdi", {}, oneLine(detail.model ?? detail.name, 80))), h("span", { class: "aside" }, when(detail.started))))),
      figures(both),
      h("section", { "aria-labelledby": "both-title" }, h("h3", { id: "both-title" }, `Timelines, both scaled to ${duration(extent)}`),
        this.#timelines.map((timeline, at) => h("div", { class: "side-timeline" }, h("span", { class: "side" }, "AB"[at]), timeline.element, this.#scrubbers[at].element))),
      callsOf(lanes),
      asked(both));
    this.redraw();
  }
}

/** @param {Detail[]} both */
function figures(both) {
  const values = both.map((detail) => new Map([
    ["outcome", ""],
    ["anomalies", [...new Set(detail.anomalies.map(words))].join(", ") || "none"],
    ["tools called", detail.tools.map((name) => oneLine(name, 60)).join(", ") || "none"],
    ["service", visible(detail.service)],
    ["provider", visible(detail.provider)],
    ...numbersOf(detail),
  ]));
  const names = [...new Set(values.flatMap((one) => [...one.keys()]))];
  const rows = names.map((name) => {
    if (name === "outcome") {
      const outcomes = both.map((detail) => outcome(detail));
      return line(name, outcomes, outcomes[0].textContent !== outcomes[1].textContent);
    }
    const [a, b] = values.map((one) => one.get(name) ?? "–");
    return line(name, [a, b], a !== b);
  });
  return h("table", { class: "compared" }, h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, "A"), h("th", { scope: "col" }, "B"))), h("tbody", {}, rows));
}

/**
 * @param {string} name
 * @param {Child[]} values
 * @param {boolean} differs
 */
function line(name, [a, b], differs) {
  return h("tr", { class: differs ? "differs" : "" }, h("th", { scope: "row" }, visible(name), differs ? h("span", { class: "unseen" }, " (differs)") : null), h("td", {}, a), h("td", {}, b));
}

/** @param {Lanes[]} lanes */
function callsOf(lanes) {
  const calls = lanes.map((one) => one.lanes.filter((lane) => lane.facts.kind === "tool_call"));
  const most = Math.max(calls[0].length, calls[1].length);
  if (!most) return null;
  return h("section", { "aria-labelledby": "both-calls-title" }, h("h3", { id: "both-calls-title" }, "Tool calls"),
    Array.from({ length: Math.min(most, MOST_CALLS) }, (_, at) => pair(calls[0][at], calls[1][at])),
    most > MOST_CALLS ? h("p", { class: "aside" }, `and ${most - MOST_CALLS} more`) : null);
}

/**
 * @param {Lane | undefined} a
 * @param {Lane | undefined} b
 */
function pair(a, b) {
  /** @param {Lane | undefined} lane */
  const title = (lane) => h("h4", {}, lane ? h("bdi", {}, lane.title) : h("span", { class: "aside" }, "no matching call"));
  const [left, right] = [a, b].map((lane) => (lane ? readable(lane.facts) : null));
  /** @type {Row[]} */
  let rows;
  if (left !== null && right !== null) rows = linesSideBySide(left, right);
  else if (left !== null) rows = left.split("\n").map((one) => [one, null, false]);
  else rows = (right ?? "").split("\n").map((one) => [null, one, false]);
  const differ = left !== right || a?.title !== b?.title;
  /**
   * @param {string | null} text
   * @param {boolean} same
   * @param {"left" | "right"} which
   */
  const cell = (text, same, which) => h("td", { class: same ? "" : text === null ? "absent" : `changed ${which}` }, text === null ? "" : [same ? null : h("span", { class: "sign", "aria-label": which === "left" ? "only in A" : "only in B" }, which === "left" ? "− " : "+ "), visible(text)]);
  return h("div", { class: "pair" }, h("div", { class: "sides" }, title(a), title(b)), h("p", { class: "aside" }, differ ? "Different" : "Identical"),
    h("table", { class: "lines", "aria-label": "Arguments line by line" }, h("tbody", {}, rows.map(([one, other, same]) => h("tr", {}, cell(one, same, "left"), cell(other, same, "right"))))));
}

/** @param {Detail[]} both */
function asked(both) {
  /** @type {Record<string, Given>[]} */
  const [a, b] = both.map((detail) => ({ ...detail.parameters, "declared tools": (detail.declared_tools ?? []).map((tool) => tool.function?.name ?? tool.name ?? tool).join(", ") || undefined }));
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => a[name] !== undefined || b[name] !== undefined);
  if (!names.length) return null;
  /** @param {Given} value */
  const said = (value) => (value === undefined ? "–" : oneLine(value, 400));
  return h("section", { "aria-labelledby": "both-asked-title" }, h("h3", { id: "both-asked-title" }, "Request parameters"),
    h("table", { class: "compared" }, h("tbody", {}, names.map((name) => line(name.replace(/^gen_ai\.request\./, ""), [said(a[name]), said(b[name])], said(a[name]) !== said(b[name]))))));
}
