// The backend's JSON, and its failures as sentences.

/** What went wrong, as a sentence for the reader. `status` is 0 where there was no answer at all. */
export class Failure extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

const SENTENCES = {
  401: "This view wants its token: open the address that otel-llm view printed.",
  403: "This view refused the request: open the page by the address that otel-llm view printed.",
  404: "This request is not kept here any more, or never was.",
  413: "This is larger than the view takes.",
};

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The view does not answer. Does otel-llm view still run?", 0);
  }
  if (answer.ok) return answer;
  let said = null;
  try {
    said = (await answer.json()).error;
  } catch {
    // Not every failure comes with words.
  }
  throw new Failure(typeof said === "string" && said ? said : (SENTENCES[answer.status] ?? `The view answered with status ${answer.status}.`), answer.status);
}

const json = async (path, options) => (await ask(path, options)).json();
const one = (id) => `/api/requests/${encodeURIComponent(id)}`;

/** A page of summaries, newest first. `filters`: q, model, service, tool, anomaly, outcome, trace; empty ones are no filter. */
export function requests(filters, { limit, after = null, signal } = {}) {
  const query = new URLSearchParams({ limit });
  if (after !== null) query.set("after", after);
  for (const [name, value] of Object.entries(filters)) if (value) query.set(name, value);
  return json(`/api/requests?${query}`, { signal });
}

export const request = (id, signal) => json(one(id), { signal });
export const facets = () => json("/api/facets");
export const exported = async (id) => (await ask(`${one(id)}/export`)).text();
export const exportAddress = (id) => `${one(id)}/export`;
export const clear = () => ask("/api/requests", { method: "DELETE" });
export const imported = (body) =>
  json("/api/import", { method: "POST", body, headers: { Accept: "application/json", "Content-Type": "application/json" } });

/** Follow what arrives. The browser connects again by itself; `connected` is told how it stands. */
export function live({ request, cleared, connected }) {
  const source = new EventSource("/api/live");
  source.addEventListener("open", () => connected(true));
  source.addEventListener("error", () => connected(false));
  source.addEventListener("request", (event) => request(JSON.parse(event.data)));
  source.addEventListener("cleared", () => cleared());
  return source;
}
