// JSON for reading. It is laid out as it was written, token by token: no number is rounded, no key that came twice is lost.

import { h } from "./dom.js";
import { unitsOf, visible } from "./text.js";

const TOKEN = /\s+|"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+|"[\s\S]*$/g;
const SHOWN = 10_000; // characters, until somebody asks for all of them

/** The tokens of valid JSON with the white space of two-space indentation: [kind, text]. */
export function* laidOut(text) {
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

/** Valid JSON as one text, indented. */
export function indented(text) {
  let out = "";
  for (const [, piece] of laidOut(text)) out += piece;
  return out;
}

export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Arguments as a block. `error`: {position (in characters), message} where they are not JSON: the place is marked. Anything
 * else that is no JSON is shown as it is.
 */
export function jsonBlock(text, error = null, { label = "Arguments" } = {}) {
  const block = h("pre", { class: "json", tabindex: "0", "aria-label": label });
  const show = (most) => {
    block.replaceChildren();
    const left = text.length - most;
    const shown = left > 0 ? text.slice(0, most) : text;
    if (error) broken(block, text, error, most);
    else if (isJson(text)) pretty(block, shown);
    else block.append(visible(shown));
    if (left > 0 && !error) {
      const all = h("button", { type: "button", class: "button more", on: { click: () => show(Infinity) } }, `Show the other ${left.toLocaleString("en")} characters`);
      block.append("\n", all);
    }
  };
  show(SHOWN);
  return block;
}

function pretty(block, text) {
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

// What is broken is shown as it came; far away from the error it is left out.
function broken(block, text, error, most) {
  const around = Math.min(most, 2000);
  const at = Math.min(unitsOf(text, Math.max(0, error.position)), text.length);
  const from = Math.max(0, at - around);
  const size = at < text.length && text.codePointAt(at) > 0xffff ? 2 : 1;
  const to = Math.min(text.length, at + size + around);
  if (from > 0) block.append(`… ${from.toLocaleString("en")} characters before\n`);
  block.append(visible(text.slice(from, at)));
  const marked = at < text.length ? visible(text.slice(at, at + size)).replace("\n", "↵\n") : "end";
  const mark = h("mark", { class: at < text.length ? "broken-at" : "broken-at broken-end" }, h("span", { class: "unseen" }, "error here: "), marked);
  block.append(mark, visible(text.slice(at + size, to)));
  if (to < text.length) block.append(`\n… ${(text.length - to).toLocaleString("en")} characters after`);
}

/** Where a position (in characters) is, as people say it, and as the anomaly's detail does. */
export function place(text, position) {
  const before = text.slice(0, unitsOf(text, position));
  const lines = before.split("\n");
  return lines.length > 1 ? `line ${lines.length}, column ${[...lines[lines.length - 1]].length + 1}` : `character ${position}`;
}
