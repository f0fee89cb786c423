import OpenAI from "openai";
import { execute, MODEL, NAME, QUESTION, report, root, said, SCHEMA } from "./agent.mjs";

const client = new OpenAI({ apiKey: "k", baseURL: `${root}/v1`, maxRetries: 0 });
const tools = [{ type: "function", name: NAME, parameters: SCHEMA, strict: false }];
const input = [{ role: "user", content: QUESTION }];
for (let turn = 0; turn < 5; turn++) {
  const stream = await client.responses.create({ model: MODEL, input, tools, stream: true });
  let text = "";
  const calls = [];
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") text += event.delta;
    if (event.type === "response.output_item.done" && event.item.type === "function_call") calls.push(event.item);
  }
  said(text);
  if (!calls.length) break;
  for (const call of calls) {
    const { type, call_id, name } = call;
    input.push({ type, call_id, name, arguments: call.arguments });
    input.push({ type: "function_call_output", call_id, output: execute(JSON.parse(call.arguments)) });
  }
}
report();
