// The lines of the list: requests as they are, or those of one trace together.

/**
 * Lines: {kind: "trace", trace, requests} and {kind: "request", request, turn, last}. `turn` is 0 for a request that stands
 * alone, else its number in its trace, oldest first; a trace stands where its newest request does.
 */
export function linesOf(requests, isGrouped) {
  if (!isGrouped) return requests.map((request) => ({ kind: "request", request, turn: 0, last: false }));
  const traces = new Map();
  for (const request of requests) {
    const trace = traces.get(request.trace_id);
    if (trace) trace.push(request);
    else traces.set(request.trace_id, [request]);
  }
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

/** The turns (numbers) whose calls' results this line's request carries, as far as they are in the same trace. */
export function causesOf({ request, turns }) {
  if (!turns) return [];
  return request.caused_by.map((id) => turns.findIndex((other) => other.id === id) + 1).filter((turn) => turn > 0);
}
