// One line of the list.

import { h, icon } from "./dom.js";
import { causesOf } from "./groups.js";
import { count, duration, number, oneLine, visible, when, words } from "./text.js";

/** @import { Summary } from "./api.js" */
/** @import { Child } from "./dom.js" */
/** @import { Line, RequestLine, TraceLine } from "./groups.js" */

/** How a line is shown. `isMarked`: selected for comparison. @typedef {{ id: string, index: number, isActive: boolean, isOpen: boolean, isMarked: boolean }} State */

const MOST_TOOLS = 3; // named in a line

/**
 * How a request ended.
 * @param {Summary} summary
 * @param {{ short?: boolean }} options `short` omits the module of an error's type
 */
export function outcome({ outcome: how, error }, { short = false } = {}) {
  if (!error && how !== "error") return h("span", { class: "outcome" }, how ? visible(how) : "not streamed");
  const type = visible(error ?? "error");
  const said = short ? type.replace(/^[\w.]+\.(?=\w)/, "") : type;
  return h("span", { class: "outcome bad", title: type }, icon("warning"), how && how !== "error" ? `${visible(how)}: ${said}` : said);
}

/** @param {string[]} types */
export function anomalies(types) {
  const each = new Map();
  for (const type of types) each.set(type, (each.get(type) ?? 0) + 1);
  const told = [...each].map(([type, times]) => h("span", { class: "anomaly" }, icon("warning"), words(type), times > 1 ? ` ×${times}` : null));
  if (told.length > 1) told.push(h("span", { class: "anomaly further", "aria-hidden": "true" }, `+${told.length - 1}`));
  return told;
}

/** @param {Summary} summary */
export function tools(summary) {
  if (!summary.tools.length) return [h("span", { class: "aside" }, summary.text_only ? "text only" : summary.tool_call_count ? count(summary.tool_call_count, "call") : "no calls")];
  /** @type {{ name: string, times: number }[]} */
  const each = [];
  for (const name of summary.tools) {
    const last = each[each.length - 1];
    if (last && last.name === name) last.times += 1;
    else each.push({ name, times: 1 });
  }
  const shown = each.slice(0, MOST_TOOLS).map(({ name, times }) => h("span", { class: "tool" }, h("bdi", {}, oneLine(name, 60)), times > 1 ? ` ×${times}` : null));
  if (each.length > MOST_TOOLS) shown.push(h("span", { class: "aside" }, `+${number(each.length - MOST_TOOLS)}`));
  return shown;
}

/** @param {Summary} summary */
export function tokens({ input_tokens: into, output_tokens: out }) {
  return into === null && out === null ? "–" : `${number(into)} → ${number(out)}`;
}

/**
 * The element of a line.
 * @param {Line} line
 * @param {State} state
 */
export function row(line, state) {
  return line.kind === "trace" ? traceRow(line, state) : requestRow(line, state);
}

/**
 * @param {TraceLine} line
 * @param {State} state
 */
function traceRow({ trace, requests }, { id, index }) {
  const from = Math.min(...requests.map((one) => one.started));
  const to = Math.max(...requests.map((one) => one.started + one.duration_ms));
  const wrong = requests.reduce((sum, one) => sum + one.anomalies.length, 0);
  return h("div", { class: "row trace-row", role: "row", id, "aria-rowindex": index },
    h("div", { class: "trace-cell", role: "gridcell" },
      h("span", { class: "trace-name" }, `Trace ${trace.slice(0, 8)}`), h("span", {}, count(requests.length, "request")), h("span", {}, duration(to - from)),
      requests[0].service ? h("bdi", { class: "aside" }, visible(requests[0].service)) : null,
      wrong ? h("span", { class: "wrong" }, count(wrong, "anomaly", "anomalies")) : null));
}

/**
 * @param {RequestLine} line
 * @param {State} state
 */
function requestRow(line, { id, index, isActive, isOpen, isMarked }) {
  const { request: one, turn } = line;
  const causes = causesOf(line);
  const classes = ["row", "request-row", turn ? "in-trace" : "", line.last ? "last-turn" : "", isActive ? "active" : "", isOpen ? "open" : "", isMarked ? "marked" : ""];
  /**
   * @param {string} name
   * @param {Child[]} children
   */
  const cell = (name, ...children) => h("div", { class: `cell ${name}`, role: "gridcell" }, children);
  return h("div", { class: classes.filter(Boolean).join(" "), role: "row", id, "aria-rowindex": index, "aria-selected": isOpen ? "true" : "false", data: { id: one.id } },
    cell("time", h("time", {}, when(one.started))),
    cell("model", turn ? h("span", { class: "turn" }, `${turn}`) : null, h("bdi", {}, oneLine(one.model ?? one.name, 80)),
      causes.length ? h("span", { class: "cause", title: `Sends the result of a call from turn ${causes.join(", ")}` }, icon("link"), `from ${causes.join(", ")}`) : null,
      isMarked ? h("span", { class: "mark" }, "to compare") : null),
    cell("tools", tools(one)),
    cell("how", outcome(one, { short: true })),
    cell("wrongs", anomalies(one.anomalies)),
    cell("tokens", tokens(one)),
    cell("took", duration(one.duration_ms)));
}
