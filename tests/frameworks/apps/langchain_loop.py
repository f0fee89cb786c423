"""A loop with a LangChain chat model. usage: BASE_URL {chat,responses} {sync,async}"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

TASKS: list[str] = []


@tool
def add_task(title: str) -> str:
    """Put a task on the list."""
    TASKS.append(title)
    return "added"


@tool
def list_tasks() -> str:
    """Read the list of tasks."""
    return json.dumps(TASKS)


async def streamed(model: Any, messages: list[Any], way: str) -> Any:
    whole = None
    chunks = model.stream(messages) if way == "sync" else model.astream(messages)
    if way == "sync":
        chunks = _each(chunks)
    async for chunk in chunks:
        print(json.dumps({"content": chunk.content, "calls": chunk.tool_call_chunks}))
        whole = chunk if whole is None else whole + chunk
    return whole


async def _each(chunks: Iterable[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


async def main(base_url: str, api: str, way: str) -> None:
    model = ChatOpenAI(
        model="tiny", base_url=base_url, api_key="unused", max_retries=0, use_responses_api=api == "responses"
    ).bind_tools([add_task, list_tasks])
    messages = [HumanMessage("Note that I have to buy milk.")]
    while True:
        answer = await streamed(model, messages, way)
        messages.append(answer)
        if not answer.tool_calls:
            break
        for call in answer.tool_calls:
            run = {"add_task": add_task, "list_tasks": list_tasks}[call["name"]]
            messages.append(ToolMessage(run.invoke(call["args"]), tool_call_id=call["id"]))
    print(json.dumps({"answer": answer.text if isinstance(answer.text, str) else answer.text(), "tasks": TASKS}))


asyncio.run(main(*sys.argv[1:]))
