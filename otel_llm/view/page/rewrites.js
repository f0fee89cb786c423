// Where the rewriter was at work: what the model wrote, and what the agent got.

import { h } from "./dom.js";
import { jsonBlock } from "./json.js";
import { duration, number, visible } from "./text.js";

export function rewriteSection(lanes) {
  if (!lanes.rewrites.length) return null;
  return h("section", { class: "rewrites", "aria-labelledby": "rewrites-title" }, h("h3", { id: "rewrites-title" }, "Rewritten on the way"),
    lanes.rewrites.map((one) => rewrite(one, callOf(one, lanes))));
}

// The call that came of it: of those with its name the one that was there first from then on, or else the last.
function callOf({ name, at_ms }, lanes) {
  const same = lanes.lanes.filter(({ facts }) => facts.kind === "tool_call" && facts.name === name);
  return same.find((lane) => lane.ends >= at_ms - 1e-3) ?? same[same.length - 1] ?? null;
}

function rewrite(one, lane) {
  const written = typeof one.before === "string" ? h("pre", { class: "json", tabindex: "0" }, visible(one.before)) : h("p", {}, `${number(one.length)} characters of text in the syntax `, h("code", {}, visible(one.format)));
  const got = typeof one.after === "string" ? h("pre", { class: "json", tabindex: "0" }, visible(one.after)) : lane ? [h("p", {}, "a call of ", h("code", {}, lane.title)), lane.facts.arguments ? jsonBlock(lane.facts.arguments, lane.facts.arguments_error) : null]
    : h("p", {}, one.name ? ["a call of ", h("code", {}, visible(one.name))] : "a call", " in tags: ", h("code", {}, visible(one.target)));
  return h("div", { class: "before-after" },
    h("div", {}, h("h4", {}, "Before"), h("p", { class: "aside" }, `the model wrote, until ${duration(one.at_ms)}`), written),
    h("div", {}, h("h4", {}, "After"), h("p", { class: "aside" }, `the agent got, as ${visible(one.target)}`), got));
}
