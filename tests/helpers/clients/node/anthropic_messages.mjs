import Anthropic from "@anthropic-ai/sdk";
import { execute, MODEL, NAME, QUESTION, report, root, said, SCHEMA } from "./agent.mjs";

const client = new Anthropic({ apiKey: "k", baseURL: root, maxRetries: 0 });
const tools = [{ name: NAME, input_schema: SCHEMA }];
const messages = [{ role: "user", content: QUESTION }];
for (let turn = 0; turn < 5; turn++) {
  const message = await client.messages.stream({ model: MODEL, max_tokens: 100, messages, tools }).finalMessage();
  const blocks = message.content;
  said(blocks.flatMap((block) => (block.type === "text" ? [block.text] : [])).join(""));
  if (message.stop_reason !== "tool_use") break;
  messages.push({ role: "assistant", content: blocks });
  const results = blocks
    .filter((block) => block.type === "tool_use")
    .map((block) => ({ type: "tool_result", tool_use_id: block.id, content: execute(block.input) }));
  messages.push({ role: "user", content: results });
}
report();
