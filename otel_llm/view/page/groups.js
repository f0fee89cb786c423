// The lines of the list, optionally grouped by trace.

/** @import { Summary } from "./api.js" */

/**
 * `requests`: oldest first.
 * @typedef {{ kind: "trace", trace: string, requests: Summary[] }} TraceLine
 */

/**
 * `turn`: the number of the request in its trace, starting at 1 with the oldest; 0 outside a group. `turns`: all requests of
 * its group, oldest first.
 * @typedef {{ kind: "request", request: Summary, turn: number, last: boolean, turns?: Summary[] }} RequestLine
 */

/** @typedef {TraceLine | RequestLine} Line */

/**
 * The lines for `requests`, which are sorted newest first. A group takes the position of its newest request.
 * @param {Summary[]} requests
 * @param {boolean} isGrouped
 * @returns {Line[]}
 */
export function linesOf(requests, isGrouped) {
  if (!isGrouped) return requests.map((request) => ({ kind: "request", request, turn: 0, last: false }));
  /** @type {Map<string, Summary[]>} */
  const traces = new Map();
  for (const request of requests) {
    const trace = traces.get(request.trace_id);
    if (trace) trace.push(request);
    else traces.set(request.trace_id, [request]);
  }
  /** @type {Line[]} */
  const lines = [];
  for (const [trace, newestFirst] of traces) {
    if (newestFirst.length === 1) {
      lines.push({ kind: "request", request: newestFirst[0], turn: 0, last: false });
      continue;
    }
    const turns = newestFirst.slice().reverse();
    lines.push({ kind: "trace", trace, requests: turns });
    turns.forEach((request, at) => lines.push({ kind: "request", request, turn: at + 1, last: at + 1 === turns.length, turns }));
  }
  return lines;
}

/**
 * The turns of the same trace whose tool results this request sends.
 * @param {RequestLine} line
 */
export function causesOf({ request, turns }) {
  if (!turns) return [];
  return request.caused_by.map((id) => turns.findIndex((other) => other.id === id) + 1).filter((turn) => turn > 0);
}
