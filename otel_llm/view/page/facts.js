// The parameters, tools, messages and raw data of a request.

import { h } from "./dom.js";
import { jsonBlock } from "./json.js";
import { visible } from "./text.js";

/** @import { Detail, Given } from "./api.js" */
/** @import { Child } from "./dom.js" */

/** @param {Given} of */
function value(of) {
  if (of !== null && typeof of === "object") return jsonBlock(JSON.stringify(of), null, { label: "Value" });
  return visible(typeof of === "string" ? of : JSON.stringify(of));
}

/**
 * @param {[string, Given][]} entries
 * @param {string} label
 */
function table(entries, label) {
  return h("table", { class: "facts", "aria-label": label }, h("tbody", {}, entries.map(([name, of]) => h("tr", {}, h("th", { scope: "row" }, visible(name)), h("td", {}, value(of))))));
}

/**
 * @param {string} title
 * @param {Child} content
 */
function folded(title, content, { open = false } = {}) {
  return h("details", { class: "folded", open }, h("summary", {}, title), content);
}

/** @param {Detail} detail */
export function parameterSection({ parameters, declared_tools: declared }) {
  /** @type {[string, Given][]} */
  const entries = Object.entries(parameters).map(([name, of]) => [name.replace(/^gen_ai\.request\.|^gen_ai\./, ""), of]);
  if (!entries.length && !declared) return null;
  return h("section", { "aria-labelledby": "asked-title" }, h("h3", { id: "asked-title" }, "Request"),
    entries.length ? table(entries, "Parameters") : h("p", { class: "aside" }, "No parameters were recorded."),
    declared ? folded(`Declared tools (${declared.length})`, declared.map(declaration)) : null);
}

/** @param {Given} tool */
function declaration(tool) {
  if (typeof tool === "string") return h("p", { class: "declared" }, h("code", {}, visible(tool)));
  const known = tool.function ?? tool;
  return h("article", { class: "declared" }, h("h4", {}, h("bdi", {}, visible(known.name ?? tool.type ?? "tool"))), known.description ? h("p", {}, visible(known.description)) : null,
    jsonBlock(JSON.stringify(known.parameters ?? tool), null, { label: "Schema" }));
}

/** @param {Detail} detail */
export function messageSection({ messages }) {
  if (!messages) return null;
  const kinds = /** @type {const} */ ([["system", "System instructions"], ["input", "Input messages"], ["output", "Output messages"]]).filter(([kind]) => messages[kind]);
  if (!kinds.length) return null;
  return h("section", { "aria-labelledby": "messages-title" }, h("h3", { id: "messages-title" }, "Messages"),
    kinds.map(([kind, title]) => folded(title, [messages[kind]].flat().map(message), { open: kind === "output" })));
}

/** @param {Given} one */
function message(one) {
  if (one === null || typeof one !== "object") return h("p", { class: "message" }, visible(one));
  /** @type {Given[]} */
  const parts = [one.parts ?? one.content ?? one].flat();
  return h("article", { class: "message" }, one.role ? h("h5", {}, visible(one.role)) : null, parts.map((part) => {
    const text = typeof part === "string" ? part : (part?.content ?? part?.text);
    return typeof text === "string" ? h("p", { class: "said" }, visible(text)) : jsonBlock(JSON.stringify(part), null, { label: "Part" });
  }));
}

/** @param {Detail} detail */
export function rawSection({ attributes, resource, events, status }) {
  /** @type {[string, [string, Given][]][]} */
  const all = [
    ["Attributes", Object.entries(attributes)],
    ["Resource", Object.entries(resource)],
    ["Status", status.code || status.message ? Object.entries(status) : []],
  ];
  const sections = all.filter(([, entries]) => entries.length);
  return h("section", { "aria-labelledby": "raw-title" }, h("h3", { id: "raw-title" }, "Raw data"),
    sections.map(([title, entries]) => folded(`${title} (${entries.length})`, table(entries, title))),
    events.length ? folded(`Other events (${events.length})`, events.map((event) => h("article", { class: "declared" }, h("h4", {}, visible(event.name)), table([["at_ms", event.at_ms], ...Object.entries(event.attributes)], event.name)))) : null);
}
