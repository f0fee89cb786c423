// The tool calls of a request, each with its final arguments.

import { copier } from "./copying.js";
import { laneColour } from "./colours.js";
import { h } from "./dom.js";
import { indented, jsonBlock, place } from "./json.js";
import { count, duration, number, visible, words } from "./text.js";

const SHOWN = 100; // calls, beyond which only their number is told

export function callSection(lanes, { choices }) {
  const calls = lanes.lanes.filter((lane) => lane.facts.kind === "tool_call");
  if (!calls.length) return null;
  return h("section", { class: "calls", "aria-labelledby": "calls-title" }, h("h3", { id: "calls-title" }, count(calls.length, "tool call")),
    calls.slice(0, SHOWN).map((lane) => call(lane, lanes.anomalies.filter((one) => one.lane === lane.number), choices)),
    calls.length > SHOWN ? h("p", { class: "aside" }, `and ${number(calls.length - SHOWN)} more, which the timeline shows`) : null);
}

function call(lane, wrong, choices) {
  const { facts } = lane;
  const about = [
    facts.call_id ? ["id", visible(facts.call_id)] : ["id", "none"],
    facts.index === null ? null : ["index", String(facts.index)],
    choices > 1 ? ["choice", String(facts.choice)] : null,
    ["took", duration(lane.ends - (lane.starts ?? lane.ends))],
    ["size", `${number(facts.arguments_length)} characters in ${count(facts.delta_count, "delta")}`],
    typeof facts.completed_ms === "number" ? null : ["state", "never completed"],
  ];
  return h("article", { class: "call", data: { colour: laneColour(lane) } },
    h("header", {}, h("h4", {}, h("span", { class: "swatch" }), h("bdi", {}, lane.title)),
      h("dl", { class: "inline" }, about.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      h("span", { class: "spring" }),
      facts.arguments ? copier("Copy the arguments", () => facts.arguments, { quiet: true }) : null),
    wrong.length ? h("p", { class: "wrong" }, wrong.map((one) => words(one.type)).join(", ")) : null,
    argumentsOf(facts));
}

function argumentsOf(facts) {
  if (facts.arguments === null) return h("p", { class: "aside" }, facts.arguments_length ? "The arguments were not recorded: OTEL_LLM_CAPTURE_ARGUMENTS is off." : "No arguments came.");
  if (facts.arguments === "") return h("p", { class: "aside" }, "No arguments came.");
  const { arguments_error: error } = facts;
  const parts = [];
  if (error) parts.push(h("p", { class: "wrong" }, `Not JSON at ${place(facts.arguments, error.position)}: ${visible(error.message)}`));
  parts.push(jsonBlock(facts.arguments, error, { label: `Arguments of ${facts.name ?? "a call"}` }));
  if (facts.arguments_cut) parts.push(h("p", { class: "aside" }, `Only ${number([...facts.arguments].length)} of ${number(facts.arguments_length)} characters were recorded; OTEL_LLM_ARGUMENT_LIMIT says how many are.`));
  return parts;
}

/** The arguments of a call as one would compare them: laid out where they are JSON, or began as such. */
export function readable(facts) {
  if (facts.arguments === null) return "(not recorded)";
  return /^\s*[[{]/.test(facts.arguments) ? indented(facts.arguments) : facts.arguments;
}
