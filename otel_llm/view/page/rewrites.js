// The rewritten tool calls: what the model wrote, and what the agent received.

import { h } from "./dom.js";
import { jsonBlock } from "./json.js";
import { duration, number, visible } from "./text.js";

/** @import { Rewrite } from "./api.js" */
/** @import { Lane, Lanes } from "./lanes.js" */

/** @param {Lanes} lanes */
export function rewriteSection(lanes) {
  if (!lanes.rewrites.length) return null;
  return h("section", { class: "rewrites", "aria-labelledby": "rewrites-title" }, h("h3", { id: "rewrites-title" }, "Rewritten tool calls"),
    lanes.rewrites.map((one) => rewrite(one, callOf(one, lanes))));
}

/**
 * The call that a rewrite produced: of those with its name the first that ended after it, else the last.
 * @param {Rewrite} rewrite
 * @param {Lanes} lanes
 * @returns {Lane | null}
 */
function callOf({ name, at_ms }, lanes) {
  const same = lanes.lanes.filter(({ facts }) => facts.kind === "tool_call" && facts.name === name);
  return same.find((lane) => lane.ends >= at_ms - 1e-3) ?? same[same.length - 1] ?? null;
}

/**
 * @param {Rewrite} one
 * @param {Lane | null} lane
 */
function rewrite(one, lane) {
  const written = h("p", {}, `${number(one.length)} characters of text in the syntax `, h("code", {}, visible(one.format)));
  const received = lane ? [h("p", {}, "a call to ", h("code", {}, lane.title)), lane.facts.arguments ? jsonBlock(lane.facts.arguments, lane.facts.arguments_error) : null]
    : h("p", {}, one.name ? ["a call to ", h("code", {}, visible(one.name))] : "a call", " in tags: ", h("code", {}, visible(one.target)));
  return h("div", { class: "before-after" },
    h("div", {}, h("h4", {}, "Before"), h("p", { class: "aside" }, `what the model wrote, complete at ${duration(one.at_ms)}`), written),
    h("div", {}, h("h4", {}, "After"), h("p", { class: "aside" }, `what the agent received, as ${visible(one.target)}`), received));
}
