"""An agent of Agno. usage: BASE_URL {sync,async}"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

from agno.agent import Agent
from agno.models.openai import OpenAIChat
from opentelemetry import trace

TASKS: list[str] = []


def add_task(title: str) -> str:
    """Put a task on the list."""
    TASKS.append(title)
    return "added"


def list_tasks() -> str:
    """Read the list of tasks."""
    # Where both tools run at a time, what it reads is none of the other's business.
    return json.dumps(["write code"])


async def _each(parts: Iterable[Any]) -> AsyncIterator[Any]:
    for part in parts:
        yield part


async def main(base_url: str, way: str) -> None:
    model = OpenAIChat(id="tiny", base_url=base_url, api_key="unused", max_retries=0)
    agent = Agent(model=model, tools=[add_task, list_tasks], telemetry=False)
    asked = {"input": "Note that I have to buy milk.", "stream": True, "stream_events": True}
    answer = ""
    async for event in _each(agent.run(**asked)) if way == "sync" else agent.arun(**asked):
        told = {"event": event.event}
        if event.event == "RunContent":
            told["content"] = event.content
            answer += event.content or ""
        elif event.event == "ToolCallCompleted":
            told["tool"], told["result"] = event.tool.tool_name, event.tool.result
        print(json.dumps(told))
    print(json.dumps({"answer": answer, "tasks": TASKS}))


with trace.get_tracer("app").start_as_current_span("app"):
    asyncio.run(main(*sys.argv[1:]))
