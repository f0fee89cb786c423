// Indents JSON token by token, so that no number is rounded and no duplicate key is lost.

import { h } from "./dom.js";
import { isPair, unitsOf, visible } from "./text.js";

/** @import { ArgumentsError } from "./api.js" */

const TOKEN = /\s+|"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+|"[\s\S]*$/g;
const SHOWN = 10_000; // characters, until the user asks for the rest

/**
 * The tokens of valid JSON, with white space for an indentation of two: [kind, text].
 * @param {string} text
 * @returns {Generator<[kind: "space" | "sign" | "key" | "string" | "number" | "word", text: string]>}
 */
function* laidOut(text) {
  let depth = 0;
  let before = null;
  const tokens = [...text.matchAll(TOKEN)].map((match) => match[0]).filter((token) => token.trim());
  for (let at = 0; at < tokens.length; at += 1) {
    const token = tokens[at];
    const next = tokens[at + 1];
    if (token === "}" || token === "]") {
      depth -= 1;
      if (before !== "{" && before !== "[") yield ["space", `\n${"  ".repeat(Math.max(0, depth))}`];
      yield ["sign", token];
    } else if (token === "{" || token === "[") {
      depth += 1;
      yield ["sign", token];
      if (next !== "}" && next !== "]") yield ["space", `\n${"  ".repeat(Math.max(0, depth))}`];
    } else if (token === ",") {
      yield ["sign", token];
      yield ["space", `\n${"  ".repeat(Math.max(0, depth))}`];
    } else if (token === ":") {
      yield ["sign", token];
      yield ["space", " "];
    } else if (token[0] === '"') yield [next === ":" ? "key" : "string", token];
    else yield [/^[-\d]/.test(token) ? "number" : "word", token];
    before = token;
  }
}

/**
 * Valid JSON, indented.
 * @param {string} text
 */
export function indented(text) {
  let out = "";
  for (const [, piece] of laidOut(text)) out += piece;
  return out;
}

/** @param {string} text */
function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * A block of JSON. If `error` says where it is invalid, that place is marked; other text that is not JSON stays as it is.
 * @param {string} text
 * @param {ArgumentsError | null} error
 */
export function jsonBlock(text, error = null, { label = "Arguments" } = {}) {
  const block = h("pre", { class: "json", tabindex: "0", "aria-label": label });
  /** @param {number} most */
  const show = (most) => {
    block.replaceChildren();
    const left = text.length - most;
    const shown = left > 0 ? text.slice(0, most) : text;
    if (error) broken(block, text, error, most);
    else if (isJson(text)) pretty(block, shown);
    else block.append(visible(shown));
    if (left > 0 && !error) {
      const all = h("button", { type: "button", class: "button more", on: { click: () => show(Infinity) } }, `Show the remaining ${left.toLocaleString("en")} characters`);
      block.append("\n", all);
    }
  };
  show(SHOWN);
  return block;
}

/**
 * @param {HTMLElement} block
 * @param {string} text
 */
function pretty(block, text) {
  /** @type {Record<string, string>} */
  const kinds = { key: "json-key", string: "json-string", number: "json-number", word: "json-word" };
  let plain = "";
  for (const [kind, piece] of laidOut(text)) {
    if (!(kind in kinds)) {
      plain += piece;
      continue;
    }
    if (plain) block.append(plain);
    plain = "";
    block.append(h("span", { class: kinds[kind] }, visible(piece)));
  }
  if (plain) block.append(plain);
}

/**
 * Invalid JSON, unindented, with the surroundings of the error only.
 * @param {HTMLElement} block
 * @param {string} text
 * @param {ArgumentsError} error
 * @param {number} most
 */
function broken(block, text, error, most) {
  const around = Math.min(most, 2000);
  const at = Math.min(unitsOf(text, Math.max(0, error.position)), text.length);
  const from = Math.max(0, at - around);
  const size = at < text.length && isPair(text, at) ? 2 : 1;
  const to = Math.min(text.length, at + size + around);
  if (from > 0) block.append(`… ${from.toLocaleString("en")} characters before\n`);
  block.append(visible(text.slice(from, at)));
  const marked = at < text.length ? visible(text.slice(at, at + size)).replace("\n", "↵\n") : "end";
  const mark = h("mark", { class: at < text.length ? "broken-at" : "broken-at broken-end" }, h("span", { class: "unseen" }, "error here: "), marked);
  block.append(mark, visible(text.slice(at + size, to)));
  if (to < text.length) block.append(`\n… ${(text.length - to).toLocaleString("en")} characters after`);
}

/**
 * A position in words, as the anomaly's detail has it.
 * @param {string} text
 * @param {number} position in code points
 */
export function place(text, position) {
  const before = text.slice(0, unitsOf(text, position));
  const lines = before.split("\n");
  return lines.length > 1 ? `line ${lines.length}, column ${[...lines[lines.length - 1]].length + 1}` : `character ${position}`;
}
