// The other requests of the trace, and the tool results that link them to this one.

import { h, icon } from "./dom.js";
import { toRequest, toTrace } from "./route.js";
import { anomalies, tools } from "./row.js";
import { count, duration, oneLine, visible, when } from "./text.js";

/** @import { Detail, Summary } from "./api.js" */

/** @param {Detail} detail */
export function turnSection(detail) {
  const others = [...detail.trace.filter((one) => one.id !== detail.id), detail].sort((a, b) => a.started - b.started);
  const links = [
    ...detail.caused_by.map((id) => link(id, others, "Sends the result of a call from")),
    ...detail.leads_to.map((id) => link(id, others, "Its result was sent in")),
  ];
  if (others.length < 2 && !links.length) return null;
  return h("section", { "aria-labelledby": "turns-title" }, h("h3", { id: "turns-title" }, "In the same trace"),
    links.length ? h("ul", { class: "links" }, links) : null,
    others.length > 1 ? h("ol", { class: "turns" }, others.map((one) => turn(one, one.id === detail.id))) : null,
    others.length > 1 ? h("p", {}, h("a", { href: toTrace(detail.trace_id) }, `List only the ${count(others.length, "request")} of this trace`)) : null);
}

/**
 * @param {string} id
 * @param {Summary[]} others
 * @param {string} words
 */
function link(id, others, words) {
  const at = others.findIndex((one) => one.id === id);
  return h("li", {}, icon("link"), `${words} `, h("a", { href: toRequest(id) }, at >= 0 ? `turn ${at + 1}` : `request ${id.slice(-8)}`));
}

/**
 * @param {Summary} one
 * @param {boolean} isThis
 */
function turn(one, isThis) {
  const said = [h("span", { class: "turn-when" }, when(one.started)), h("bdi", {}, oneLine(one.model ?? one.name, 60)), h("span", { class: "turn-tools" }, tools(one)), h("span", { class: "turn-took" }, duration(one.duration_ms)), anomalies(one.anomalies)];
  return h("li", { class: isThis ? "this" : "" }, isThis ? h("span", { class: "turn-line", "aria-current": "true" }, said, h("span", { class: "aside" }, "this request")) : h("a", { class: "turn-line", href: toRequest(one.id), "aria-label": `${visible(one.model ?? one.name)}, ${when(one.started)}` }, said));
}
