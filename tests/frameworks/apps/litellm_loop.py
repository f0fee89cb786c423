"""A loop with LiteLLM. usage: BASE_URL {sync,async}"""

import asyncio
import json
import sys

import litellm

# It writes advertisements on the standard output.
litellm.suppress_debug_info = True

TASKS: list[str] = []
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add_task",
            "parameters": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
        },
    },
    {"type": "function", "function": {"name": "list_tasks", "parameters": {"type": "object", "properties": {}}}},
]


def run(name: str, arguments: str) -> str:
    if name == "list_tasks":
        return json.dumps(TASKS)
    TASKS.append(json.loads(arguments)["title"])
    return "added"


async def main(base_url: str, way: str) -> None:
    asked = {"model": "openai/tiny", "api_base": base_url, "api_key": "unused", "tools": TOOLS, "stream": True}
    messages = [{"role": "user", "content": "Note that I have to buy milk."}]
    while True:
        if way == "sync":
            chunks = list(litellm.completion(messages=messages, **asked))
        else:
            chunks = [chunk async for chunk in await litellm.acompletion(messages=messages, **asked)]
        for chunk in chunks:
            print(json.dumps(chunk.choices[0].delta.model_dump(mode="json")))
        answer = litellm.stream_chunk_builder(chunks).choices[0].message
        messages.append(answer)
        if not answer.tool_calls:
            break
        for call in answer.tool_calls:
            result = run(call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    print(json.dumps({"answer": answer.content, "tasks": TASKS}))


asyncio.run(main(*sys.argv[1:]))
