import OpenAI from "openai";
import { execute, MODEL, NAME, QUESTION, report, root, said, SCHEMA } from "./agent.mjs";

const client = new OpenAI({ apiKey: "k", baseURL: `${root}/v1`, maxRetries: 0 });
const tools = [{ type: "function", function: { name: NAME, parameters: SCHEMA } }];
const messages = [{ role: "user", content: QUESTION }];
for (let turn = 0; turn < 5; turn++) {
  const stream = await client.chat.completions.create({ model: MODEL, messages, tools, stream: true });
  let content = "";
  const calls = [];
  for await (const chunk of stream) {
    const delta = chunk.choices[0]?.delta ?? {};
    content += delta.content ?? "";
    for (const piece of delta.tool_calls ?? []) {
      calls[piece.index] ??= { ...piece, function: { ...piece.function, arguments: "" } };
      calls[piece.index].function.arguments += piece.function.arguments ?? "";
    }
  }
  said(content);
  if (!calls.length) break;
  messages.push({ role: "assistant", content, tool_calls: calls });
  for (const call of calls) {
    const result = execute(JSON.parse(call.function.arguments));
    messages.push({ role: "tool", tool_call_id: call.id, content: result });
  }
}
report();
