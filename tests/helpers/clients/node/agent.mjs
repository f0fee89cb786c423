// What the agents of this folder share: one tool, and the report of a run, printed as JSON.
export const QUESTION = "Buy milk";
export const MODEL = "m";
export const NAME = "add_task";
export const SCHEMA = { type: "object", properties: { title: { type: "string" } }, required: ["title"] };

export const root = process.argv[2];
const outcome = { texts: [], calls: [], results: [] };

/** Execute a call of the tool. */
export function execute(args) {
  const result = `added ${args.title}`;
  outcome.calls.push(args);
  outcome.results.push(result);
  return result;
}

/** The text of one turn. */
export function said(text) {
  outcome.texts.push(text);
}

export function report() {
  console.log(JSON.stringify(outcome));
}
