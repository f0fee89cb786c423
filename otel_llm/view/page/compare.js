// Two requests side by side: their figures, their timelines on one scale, their calls line by line.

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

const MOST_CALLS = 50;

export class Comparison {
  constructor({ back }) {
    this.back = back;
    this.timelines = [];
    this.element = h("article", { class: "comparison", "aria-label": "Comparison", tabindex: "-1" });
  }

  async open(ids) {
    this.close();
    this.ids = ids;
    const bar = h("div", { class: "request-bar" }, button("Back to the list", "back", () => this.back(), { quiet: true }), h("h2", {}, "Comparison"));
    fill(this.element, bar, h("p", { class: "aside", role: "status" }, "Reading the requests…"));
    try {
      const both = await Promise.all(ids.map((id) => api.request(id)));
      if (this.ids === ids) this.#show(bar, both);
    } catch (failure) {
      if (this.ids === ids) fill(this.element, bar, h("div", { class: "failure", role: "alert" }, h("p", {}, failure.message), button("Try again", null, () => this.open(ids))));
    }
  }

  close() {
    for (const timeline of this.timelines) timeline.close();
    for (const scrubber of this.scrubbers ?? []) scrubber.stop();
    this.timelines = [];
    this.ids = null;
  }

  redraw() {
    for (const timeline of this.timelines) timeline.draw();
  }

  #show(bar, both) {
    const lanes = both.map((detail) => new Lanes(detail));
    const extent = Math.max(...lanes.map((one) => one.duration));
    // One moment for both: what had the other got by then?
    const move = (ms) => both.forEach((_, at) => {
      this.scrubbers[at].show(ms);
      this.timelines[at].at(ms);
    });
    this.timelines = lanes.map((one, at) => new Timeline(one, { extent, scrubbed: move, label: `Timeline ${"AB"[at]}` }));
    this.scrubbers = lanes.map((one) => new Scrubber(one, move, { extent }));
    fill(this.element, bar,
      h("div", { class: "sides" }, both.map((detail, at) => h("h3", { class: "side-title" }, h("span", { class: "side" }, "AB"[at]), h("a", { href: toRequest(detail.id) }, h("bdi", {}, oneLine(detail.model ?? detail.name, 80))), h("span", { class: "aside" }, when(detail.started))))),
      figures(both),
      h("section", { "aria-labelledby": "both-title" }, h("h3", { id: "both-title" }, `Timelines, both over ${duration(extent)}`),
        this.timelines.map((timeline, at) => h("div", { class: "side-timeline" }, h("span", { class: "side" }, "AB"[at]), timeline.element, this.scrubbers[at].element))),
      callsOf(lanes),
      asked(both));
    this.redraw();
  }
}

function figures(both) {
  const [a, b] = both.map((detail) => new Map([
    ["outcome", null],
    ["anomalies", [...new Set(detail.anomalies.map(words))].join(", ") || "none"],
    ["tools called", detail.tools.map((name) => oneLine(name, 60)).join(", ") || "none"],
    ["service", visible(detail.service)],
    ["provider", visible(detail.provider)],
    ...numbersOf(detail),
  ]));
  const names = [...new Set([...a.keys(), ...b.keys()])];
  const rows = names.map((name) => {
    const isOutcome = name === "outcome";
    const said = both.map((detail, at) => (isOutcome ? outcome(detail) : ([a, b][at].get(name) ?? "–")));
    const differs = isOutcome ? said[0].textContent !== said[1].textContent : said[0] !== said[1];
    return line(name, said, differs);
  });
  return h("table", { class: "compared" }, h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, "A"), h("th", { scope: "col" }, "B"))), h("tbody", {}, rows));
}

function line(name, [a, b], differs) {
  return h("tr", { class: differs ? "differs" : "" }, h("th", { scope: "row" }, visible(name), differs ? h("span", { class: "unseen" }, " (differs)") : null), h("td", {}, a), h("td", {}, b));
}

function callsOf(lanes) {
  const calls = lanes.map((one) => one.lanes.filter((lane) => lane.facts.kind === "tool_call"));
  const most = Math.max(calls[0].length, calls[1].length);
  if (!most) return null;
  return h("section", { "aria-labelledby": "both-calls-title" }, h("h3", { id: "both-calls-title" }, "Tool calls"),
    Array.from({ length: Math.min(most, MOST_CALLS) }, (_, at) => pair(calls[0][at], calls[1][at])),
    most > MOST_CALLS ? h("p", { class: "aside" }, `and ${most - MOST_CALLS} more`) : null);
}

function pair(a, b) {
  const title = (lane) => h("h4", {}, lane ? h("bdi", {}, lane.title) : h("span", { class: "aside" }, "no such call"));
  const [left, right] = [a, b].map((lane) => (lane ? readable(lane.facts) : null));
  const rows = left === null || right === null ? (left ?? right).split("\n").map((one) => [left && one, right && one, false]) : linesSideBySide(left, right);
  const differ = left !== right || a?.title !== b?.title;
  const cell = (text, same, which) => h("td", { class: same ? "" : text === null ? "absent" : `changed ${which}` }, text === null ? "" : [same ? null : h("span", { class: "sign", "aria-label": which === "left" ? "only in A" : "only in B" }, which === "left" ? "− " : "+ "), visible(text)]);
  return h("div", { class: "pair" }, h("div", { class: "sides" }, title(a), title(b)), h("p", { class: "aside" }, differ ? "These differ." : "These are the same."),
    h("table", { class: "lines", "aria-label": "Arguments line by line" }, h("tbody", {}, rows.map(([one, other, same]) => h("tr", {}, cell(one, same, "left"), cell(other, same, "right"))))));
}

function asked(both) {
  const [a, b] = both.map((detail) => ({ ...detail.parameters, "declared tools": (detail.declared_tools ?? []).map((tool) => tool.function?.name ?? tool.name ?? tool).join(", ") || undefined }));
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => a[name] !== undefined || b[name] !== undefined);
  if (!names.length) return null;
  const said = (value) => (value === undefined ? "–" : oneLine(value, 400));
  return h("section", { "aria-labelledby": "both-asked-title" }, h("h3", { id: "both-asked-title" }, "Requests"),
    h("table", { class: "compared" }, h("tbody", {}, names.map((name) => line(name.replace(/^gen_ai\.request\./, ""), [said(a[name]), said(b[name])], said(a[name]) !== said(b[name]))))));
}
