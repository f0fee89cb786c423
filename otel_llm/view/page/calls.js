// The tool calls of a request with their final arguments.

import { copier } from "./copying.js";
import { laneColour } from "./colours.js";
import { h } from "./dom.js";
import { indented, jsonBlock, place } from "./json.js";
import { count, duration, number, visible, words } from "./text.js";

/** @import { Anomaly, LaneFacts } from "./api.js" */
/** @import { Lane, Lanes } from "./lanes.js" */

const SHOWN = 100; // calls; of the others only the number is shown

/**
 * @param {Lanes} lanes
 * @param {{ choices: number }} options how many choices the request has
 */
export function callSection(lanes, { choices }) {
  const calls = lanes.lanes.filter((lane) => lane.facts.kind === "tool_call");
  if (!calls.length) return null;
  return h("section", { class: "calls", "aria-labelledby": "calls-title" }, h("h3", { id: "calls-title" }, count(calls.length, "tool call")),
    calls.slice(0, SHOWN).map((lane) => call(lane, lanes.anomalies.filter((one) => one.lane === lane.number), choices)),
    calls.length > SHOWN ? h("p", { class: "aside" }, `and ${number(calls.length - SHOWN)} more; the timeline shows all of them`) : null);
}

/**
 * @param {Lane} lane
 * @param {Anomaly[]} wrong
 * @param {number} choices
 */
function call(lane, wrong, choices) {
  const { facts } = lane;
  /** @type {([string, string] | null)[]} */
  const about = [
    facts.call_id ? ["id", visible(facts.call_id)] : ["id", "none"],
    facts.index === null ? null : ["index", String(facts.index)],
    choices > 1 ? ["choice", String(facts.choice)] : null,
    ["duration", duration(lane.ends - (lane.starts ?? lane.ends))],
    ["size", `${number(facts.arguments_length)} characters in ${count(facts.delta_count, "delta")}`],
    typeof facts.completed_ms === "number" ? null : ["state", "never completed"],
  ];
  return h("article", { class: "call", data: { colour: laneColour(lane) } },
    h("header", {}, h("h4", {}, h("span", { class: "swatch" }), h("bdi", {}, lane.title)),
      h("dl", { class: "inline" }, about.filter((fact) => fact !== null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      h("span", { class: "spring" }),
      facts.arguments ? copier("Copy arguments", () => facts.arguments ?? "", { quiet: true }) : null),
    wrong.length ? h("p", { class: "wrong" }, wrong.map((one) => words(one.type)).join(", ")) : null,
    argumentsOf(facts));
}

/** @param {LaneFacts} facts */
function argumentsOf(facts) {
  if (facts.arguments === null) return h("p", { class: "aside" }, facts.arguments_length ? "The arguments were not recorded: OTEL_LLM_CAPTURE_ARGUMENTS is off." : "No arguments arrived.");
  if (facts.arguments === "") return h("p", { class: "aside" }, "No arguments arrived.");
  const { arguments_error: error } = facts;
  const parts = [];
  if (error) parts.push(h("p", { class: "wrong" }, `Invalid JSON at ${place(facts.arguments, error.position)}: ${visible(error.message)}`));
  parts.push(jsonBlock(facts.arguments, error, { label: `Arguments of ${facts.name ?? "a call"}` }));
  if (facts.arguments_cut) parts.push(h("p", { class: "aside" }, `Only ${number([...facts.arguments].length)} of ${number(facts.arguments_length)} characters were recorded; OTEL_LLM_ARGUMENT_LIMIT sets the limit.`));
  return parts;
}

/**
 * The arguments of a call for a comparison by lines: indented if they are JSON or start like it.
 * @param {LaneFacts} facts
 */
export function readable(facts) {
  if (facts.arguments === null) return "(not recorded)";
  return /^\s*[[{]/.test(facts.arguments) ? indented(facts.arguments) : facts.arguments;
}
