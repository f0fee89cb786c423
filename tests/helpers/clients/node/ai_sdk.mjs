import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { jsonSchema, stepCountIs, streamText, tool } from "ai";
import { execute, MODEL, NAME, QUESTION, report, root, said, SCHEMA } from "./agent.mjs";

const provider = createOpenAICompatible({ name: "through", apiKey: "k", baseURL: `${root}/v1` });
const result = streamText({
  model: provider(MODEL),
  prompt: QUESTION,
  tools: { [NAME]: tool({ inputSchema: jsonSchema(SCHEMA), execute: async (args) => execute(args) }) },
  stopWhen: stepCountIs(5),
  maxRetries: 0,
  onError: ({ error }) => {
    throw error;
  },
});
let text = "";
for await (const part of result.fullStream) {
  if (part.type === "text-delta") text += part.text;
  if (part.type === "finish-step") {
    said(text);
    text = "";
  }
}
report();
