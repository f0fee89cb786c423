// The JSON documents of the backend (summary.py, detail.py, lanes.py, store.py), and its failures as sentences.

/** @import { FilterValues } from "./route.js" */

/**
 * A request as the list shows it. `started`: ms since the epoch.
 * @typedef {object} Summary
 * @property {string} id
 * @property {string} trace_id
 * @property {string} span_id
 * @property {string | null} parent_span_id
 * @property {string} service
 * @property {string} model
 * @property {string} provider
 * @property {string} name
 * @property {number} started
 * @property {number} duration_ms
 * @property {string | null} outcome
 * @property {string | null} error
 * @property {boolean} stream
 * @property {boolean} text_only
 * @property {string[]} tools
 * @property {number} tool_call_count
 * @property {string[]} anomalies
 * @property {number | null} input_tokens
 * @property {number | null} output_tokens
 * @property {number | null} chunk_count
 * @property {string[]} caused_by ids of the requests whose tool results this one sends
 */

/**
 * Where arguments stop being JSON. `position`: in code points.
 * @typedef {{ position: number, message: string }} ArgumentsError
 */

/**
 * A tool call, or the text or reasoning of a choice. Times are ms since the start of the request, lengths are in code points.
 * @typedef {object} LaneFacts
 * @property {"tool_call" | "text" | "reasoning"} kind
 * @property {number} choice
 * @property {number | null} index
 * @property {string | null} call_id
 * @property {string | null} name
 * @property {number | null} detected_ms
 * @property {number | null} named_ms
 * @property {number | null} first_ms
 * @property {number | null} last_ms
 * @property {number | null} completed_ms
 * @property {string | null} arguments
 * @property {number} arguments_length
 * @property {boolean} arguments_cut
 * @property {number} delta_count
 * @property {ArgumentsError | null} arguments_error
 */

/**
 * Time in ms, number of its lane, text, length of the arguments so far, number of deltas that it stands for.
 * @typedef {[number, number, string | null, number | null, number | null]} Delta
 */

/** @typedef {{ choice: number, reason: string, at_ms: number }} Finish */

/**
 * @typedef {object} Anomaly
 * @property {string} type
 * @property {string} detail
 * @property {number | null} choice
 * @property {number | null} index
 * @property {number | null} lane
 * @property {number} at_ms
 * @property {string} meaning
 * @property {string[]} causes
 * @property {string} advice
 */

/** @typedef {{ at_ms: number, name: string | null, format: string, target: string, length: number }} Rewrite */

/**
 * JSON from an application: attributes of a span, messages, tool definitions.
 * @typedef {any} Given
 */

/**
 * @typedef {object} DetailOnly
 * @property {Record<string, Given>} attributes
 * @property {Record<string, Given>} resource
 * @property {string} scope
 * @property {{ code: string, message: string }} status
 * @property {number} dropped_events
 * @property {LaneFacts[]} lanes
 * @property {Delta[]} deltas
 * @property {Finish[]} finish_reasons
 * @property {Anomaly[]} anomalies_explained
 * @property {Rewrite[]} rewrites
 * @property {{ name: string, at_ms: number, attributes: Record<string, Given> }[]} events
 * @property {Record<string, Given>} parameters
 * @property {Given[] | null} declared_tools
 * @property {{ input: Given, output: Given, system: Given } | null} messages
 * @property {{ curl: string, test: string }} copy
 * @property {string[]} leads_to ids of the requests that send the results of this one's calls
 * @property {Summary[]} trace the other requests of its trace
 */

/** Everything about one request. @typedef {Summary & DetailOnly} Detail */

/** The values of a facet, each with its number of requests. @typedef {[string, number][]} Facet */

/** @typedef {"models" | "services" | "outcomes" | "tools" | "anomalies"} FacetName */

/** What went wrong, as a sentence for the reader. `status`: of the response, 0 if there was none. */
export class Failure extends Error {
  /**
   * @param {string} sentence
   * @param {number} status
   */
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/** @type {Record<number, string>} */
const SENTENCES = {
  401: "This view requires its token. Open the address that otel-llm view printed.",
  403: "The view refused this request. Open the page at the address that otel-llm view printed.",
  404: "This request is no longer stored, or never was.",
  413: "This is larger than the view accepts.",
};

/** @param {unknown} error */
export const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";

/** @param {unknown} failure */
export const sentenceOf = (failure) => (failure instanceof Error ? failure.message : String(failure));

/**
 * @param {string} path
 * @param {RequestInit} options
 */
async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Failure("The view does not respond. Is otel-llm view still running?", 0);
  }
  if (answer.ok) return answer;
  let said = null;
  try {
    said = (await answer.json()).error;
  } catch {
    // The response has no JSON body.
  }
  throw new Failure(typeof said === "string" && said ? said : (SENTENCES[answer.status] ?? `The view responded with status ${answer.status}.`), answer.status);
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
const json = async (path, options) => (await ask(path, options)).json();
/** @param {string} id */
const one = (id) => `/api/requests/${encodeURIComponent(id)}`;

/**
 * A page of summaries, newest first. `next` is the `after` of the next page, or null.
 * @param {FilterValues} filters
 * @param {{ limit: number, after?: string | null }} options
 * @returns {Promise<{ requests: Summary[], next: string | null, total: number }>}
 */
export function requests(filters, { limit, after = null }) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (after !== null) query.set("after", after);
  for (const [name, value] of Object.entries(filters)) if (value) query.set(name, value);
  return json(`/api/requests?${query}`);
}

/**
 * @param {string} id
 * @param {AbortSignal} [signal]
 * @returns {Promise<Detail>}
 */
export const request = (id, signal) => json(one(id), { signal });

/** @returns {Promise<Record<FacetName, Facet>>} */
export const facets = () => json("/api/facets");

/** @param {string} id */
export const exported = async (id) => (await ask(`${one(id)}/export`)).text();

/** @param {string} id */
export const exportAddress = (id) => `${one(id)}/export`;

export const clear = () => ask("/api/requests", { method: "DELETE" });

/**
 * Store the requests of a file; returns their ids.
 * @param {File} body
 * @returns {Promise<{ requests: string[] }>}
 */
export const imported = (body) =>
  json("/api/import", { method: "POST", body, headers: { Accept: "application/json", "Content-Type": "application/json" } });

/**
 * Follow what arrives. The browser reconnects by itself, and `connected` gets each change of the connection.
 * @param {{ request: (summary: Summary) => void, cleared: () => void, connected: (isThere: boolean) => void }} listeners
 */
export function live({ request, cleared, connected }) {
  const source = new EventSource("/api/live");
  source.addEventListener("open", () => connected(true));
  source.addEventListener("error", () => connected(false));
  source.addEventListener("request", (event) => request(JSON.parse(event.data)));
  source.addEventListener("cleared", () => cleared());
  return source;
}
