// The anomalies of a request: what each means, its known causes, and what to try.

import { button, h, icon } from "./dom.js";
import { duration, visible, words } from "./text.js";

/** @import { Anomaly } from "./api.js" */

const SHOWN = 30; // of each type; a broken stream can have thousands

/**
 * Anomalies of one type share their explanation.
 * @param {Anomaly[]} explained
 * @param {(anomaly: Anomaly) => void} point shows one on the timeline
 */
export function anomalySection(explained, point) {
  if (!explained.length) return null;
  /** @type {Map<string, Anomaly[]>} */
  const types = new Map();
  for (const one of explained) types.set(one.type, [...(types.get(one.type) ?? []), one]);
  return h("section", { class: "anomalies", "aria-labelledby": "wrong-title" },
    h("h3", { id: "wrong-title" }, explained.length === 1 ? "1 anomaly" : `${explained.length} anomalies`),
    [...types.values()].map((same) => article(same, point)));
}

/**
 * @param {Anomaly[]} same
 * @param {(anomaly: Anomaly) => void} point
 */
function article(same, point) {
  const { type, meaning, causes, advice } = same[0];
  return h("article", { class: "wrong-one" },
    h("h4", {}, icon("warning"), words(type)),
    h("ul", { class: "details" }, same.slice(0, SHOWN).map((one) => h("li", {}, h("span", { class: "detail" }, visible(one.detail)),
      button(`Show at ${duration(one.at_ms)}`, null, () => point(one), { class: "link" }))),
      same.length > SHOWN ? h("li", { class: "aside" }, `and ${same.length - SHOWN} more of this type`) : null),
    meaning ? h("p", {}, prose(meaning)) : null,
    h("div", { class: "why" },
      causes.length ? h("div", {}, h("h5", {}, causes.length === 1 ? "Known cause" : "Known causes"), h("ul", {}, causes.map((cause) => h("li", {}, prose(cause))))) : null,
      advice ? h("div", {}, h("h5", {}, "What to try"), h("p", {}, prose(advice))) : null));
}

/**
 * Text between backticks is code.
 * @param {string} text
 */
function prose(text) {
  return visible(text).split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));
}
