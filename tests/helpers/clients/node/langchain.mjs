import { AIMessageChunk, HumanMessage, ToolMessage } from "@langchain/core/messages";
import { concat } from "@langchain/core/utils/stream";
import { ChatOpenAI } from "@langchain/openai";
import { execute, MODEL, NAME, QUESTION, report, root, said, SCHEMA } from "./agent.mjs";

const llm = new ChatOpenAI({ model: MODEL, apiKey: "k", maxRetries: 0, configuration: { baseURL: `${root}/v1` } });
const bound = llm.bindTools([{ type: "function", function: { name: NAME, parameters: SCHEMA } }]);
const messages = [new HumanMessage(QUESTION)];
for (let turn = 0; turn < 5; turn++) {
  let message = new AIMessageChunk("");
  for await (const chunk of await bound.stream(messages)) message = concat(message, chunk);
  said(message.text);
  messages.push(message);
  if (!message.tool_calls.length) break;
  for (const call of message.tool_calls) {
    messages.push(new ToolMessage({ tool_call_id: call.id, content: execute(call.args) }));
  }
}
report();
