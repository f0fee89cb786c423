"""An agent of AutoGen. usage: BASE_URL"""

import asyncio
import json
import sys

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import TaskResult
from autogen_ext.models.openai import OpenAIChatCompletionClient
from opentelemetry import trace

from otel_llm import traced_tool

TASKS: list[str] = []


@traced_tool
async def add_task(title: str) -> str:
    """Put a task on the list."""
    TASKS.append(title)
    return "added"


def list_tasks() -> str:
    """Read the list of tasks."""
    # Both tools run at a time, so what it reads is none of the other's business.
    return json.dumps(["write code"])


async def main(base_url: str) -> None:
    client = OpenAIChatCompletionClient(
        model="tiny",
        base_url=base_url,
        api_key="unused",
        max_retries=0,
        stream_options={"include_usage": True},
        model_info={
            "vision": False,
            "function_calling": True,
            "json_output": False,
            "family": "unknown",
            "structured_output": False,
        },
    )
    agent = AssistantAgent(
        "keeper", client, tools=[add_task, list_tasks], model_client_stream=True, max_tool_iterations=2
    )
    async for event in agent.run_stream(task="Note that I have to buy milk."):
        if isinstance(event, TaskResult):
            answer = event.messages[-1].to_model_text()
        else:
            print(json.dumps({"type": event.type, "content": event.to_text()}))
    print(json.dumps({"answer": answer, "tasks": TASKS}))
    await client.close()


with trace.get_tracer("app").start_as_current_span("app"):
    asyncio.run(main(*sys.argv[1:]))
