"""An agent of Strands. usage: BASE_URL"""

import asyncio
import json
import sys

from opentelemetry import trace
from strands import Agent, tool
from strands.models.openai import OpenAIModel

from otel_llm import traced_tool

TASKS: list[str] = []


@tool
@traced_tool
def add_task(title: str) -> str:
    """Put a task on the list."""
    TASKS.append(title)
    return "added"


@tool
def list_tasks() -> str:
    """Read the list of tasks."""
    # Both tools run at a time, so what it reads is none of the other's business.
    return json.dumps(["write code"])


async def main(base_url: str) -> None:
    model = OpenAIModel(client_args={"api_key": "unused", "base_url": base_url, "max_retries": 0}, model_id="tiny")
    agent = Agent(model=model, tools=[add_task, list_tasks], callback_handler=None)
    async for event in agent.stream_async("Note that I have to buy milk."):
        if "event" in event and "metadata" not in event["event"]:
            print(json.dumps(event["event"]))
        elif "result" in event:
            answer = str(event["result"]).strip()
    print(json.dumps({"answer": answer, "tasks": TASKS}))


with trace.get_tracer("app").start_as_current_span("app"):
    asyncio.run(main(*sys.argv[1:]))
