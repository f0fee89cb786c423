// The page of one request.

import * as api from "./api.js";
import { anomalySection } from "./anomalies.js";
import { callSection } from "./calls.js";
import { copier } from "./copying.js";
import { button, fill, h, icon } from "./dom.js";
import { messageSection, parameterSection, rawSection } from "./facts.js";
import { Lanes } from "./lanes.js";
import { rewriteSection } from "./rewrites.js";
import { outcome } from "./row.js";
import { Scrubber } from "./scrubber.js";
import { count, duration, exactly, number, oneLine, visible } from "./text.js";
import { Timeline } from "./timeline.js";
import { turnSection } from "./turns.js";

/** @import { Anomaly, Detail as Document } from "./api.js" */
/** @import { Child } from "./dom.js" */

export class Detail {
  /** @type {string | null} The request that is open. */
  id = null;

  #aborter = new AbortController();

  /** @type {Scrubber | null} */
  #scrubber = null;

  /** @type {Timeline | null} */
  #timeline = null;

  /**
   * `back` leaves the request, `mark` selects it for comparison.
   * @param {{ back: () => void, mark: (id: string) => void }} actions
   */
  constructor({ back, mark }) {
    this.back = back;
    this.mark = mark;
    this.body = h("div", { class: "request-body" });
    this.element = h("article", { class: "request", "aria-label": "Request", tabindex: "-1" }, this.body);
  }

  /** @param {string} id */
  async open(id) {
    this.close();
    this.id = id;
    // The previous request stays visible for a moment, but must not be used.
    this.body.inert = true;
    this.#aborter = new AbortController();
    this.element.setAttribute("aria-busy", "true");
    // Shown only if the response takes a while, so that the page does not flicker.
    const late = setTimeout(() => this.#say(h("p", { class: "aside", role: "status" }, "Loading the request…")), 150);
    try {
      const detail = await api.request(id, this.#aborter.signal);
      clearTimeout(late);
      this.#show(detail);
    } catch (failure) {
      clearTimeout(late);
      if (api.isAbort(failure)) return;
      this.#say(h("div", { class: "failure", role: "alert" }, h("p", {}, api.sentenceOf(failure)), button("Try again", null, () => this.open(id))));
    }
    this.element.removeAttribute("aria-busy");
    this.element.scrollTop = 0;
  }

  close() {
    this.#aborter.abort();
    this.#scrubber?.stop();
    this.#timeline?.close();
    this.#scrubber = this.#timeline = null;
    this.id = null;
  }

  redraw() {
    this.#timeline?.draw();
  }

  /** @param {Child} words */
  #say(words) {
    this.body.inert = false;
    fill(this.body, this.#bar(), words);
  }

  /** @param {Child[]} actions */
  #bar(...actions) {
    return h("div", { class: "request-bar" }, button("Back to the list", "back", () => this.back(), { quiet: true, "aria-keyshortcuts": "Escape" }), h("span", { class: "spring" }), actions);
  }

  /** @param {Document} detail */
  #show(detail) {
    this.#timeline?.close();
    this.body.inert = false;
    const lanes = new Lanes(detail);
    /** @type {Timeline} */
    const timeline = new Timeline(lanes, { scrubbed: (ms) => scrubber.show(ms) });
    /** @type {Scrubber} */
    const scrubber = new Scrubber(lanes, (ms) => timeline.at(ms));
    this.#timeline = timeline;
    this.#scrubber = scrubber;
    /** @param {Anomaly} anomaly */
    const point = (anomaly) => {
      scrubber.stop();
      scrubber.show(anomaly.at_ms);
      timeline.at(Math.min(anomaly.at_ms, lanes.duration));
      timeline.point(anomaly.lane);
      timeline.element.scrollIntoView({ block: "nearest" });
    };
    const choices = new Set(lanes.lanes.map((lane) => lane.facts.choice)).size;
    fill(this.body,
      this.#bar(
        h("div", { class: "copies", role: "group", "aria-label": "Copy" }, h("span", { class: "aside" }, "Copy as"),
          copier("curl", () => detail.copy.curl, { label: "Copy as curl" }),
          copier("JSON", () => api.exported(detail.id), { label: "Copy as JSON" }),
          copier("test", () => detail.copy.test, { label: "Copy as a test case" })),
        h("a", { class: "button", href: api.exportAddress(detail.id), download: `request-${detail.span_id}.json` }, icon("download"), "Export"),
        button("Compare", "compare", () => this.mark(detail.id), { "aria-keyshortcuts": "c" })),
      header(detail),
      anomalySection(lanes.anomalies, point),
      h("section", { class: "when", "aria-labelledby": "when-title" }, h("h3", { id: "when-title" }, "Timeline"), timeline.element, scrubber.element),
      callSection(lanes, { choices }),
      rewriteSection(lanes),
      turnSection(detail),
      messageSection(detail),
      parameterSection(detail),
      rawSection(detail));
    timeline.draw();
  }
}

/** @param {Document} detail */
function header(detail) {
  return h("header", { class: "request-head" },
    h("h2", {}, h("bdi", {}, oneLine(detail.model ?? detail.name, 120)), outcome(detail)),
    h("p", { class: "aside" }, [exactly(detail.started), detail.service, detail.provider, `trace ${detail.trace_id.slice(0, 16)}`].filter(Boolean).map(visible).join(" · ")),
    detail.status.message ? h("p", { class: "wrong" }, visible(detail.status.message)) : null,
    h("dl", { class: "numbers" }, numbersOf(detail).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}

/**
 * The figures of a request: [name, value].
 * @param {Document} detail
 * @returns {[string, string][]}
 */
export function numbersOf(detail) {
  const { attributes } = detail;
  /** @param {string} name */
  const seconds = (name) => (typeof attributes[name] === "number" ? duration(attributes[name] * 1000) : null);
  const finishes = [...new Set(detail.finish_reasons.map((one) => visible(one.reason)))].join(", ");
  /** @type {[string, string | null][]} */
  const figures = [
    ["duration", duration(detail.duration_ms)],
    ["first tool call", seconds("otel_llm.stream.time_to_first_tool_call")],
    ["longest gap", seconds("otel_llm.stream.max_chunk_gap")],
    ["per output token", seconds("otel_llm.stream.time_per_output_token")],
    ["chunks", detail.stream ? number(detail.chunk_count) : "not streamed"],
    ["tool calls", number(detail.tool_call_count)],
    ["finish reason", finishes || null],
    ["tokens", detail.input_tokens === null && detail.output_tokens === null ? null : `${number(detail.input_tokens)} in, ${number(detail.output_tokens)} out`],
    ["folded", attributes["otel_llm.stream.coalesced_delta_count"] ? count(attributes["otel_llm.stream.coalesced_delta_count"], "delta") : null],
    ["dropped by OpenTelemetry", detail.dropped_events ? count(detail.dropped_events, "event") : null],
  ];
  return figures.filter(/** @returns {figure is [string, string]} */ (figure) => figure[1] !== null);
}
