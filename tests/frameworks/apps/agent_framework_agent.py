"""An agent of Microsoft's Agent Framework. usage: BASE_URL {chat,responses}"""

import asyncio
import json
import sys

import openai
from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient
from opentelemetry import trace

from otel_llm import traced_tool

TASKS: list[str] = []


@traced_tool
def add_task(title: str) -> str:
    """Put a task on the list."""
    TASKS.append(title)
    return "added"


def list_tasks() -> str:
    """Read the list of tasks."""
    # Both tools run at a time, so what it reads is none of the other's business.
    return json.dumps(["write code"])


async def main(base_url: str, api: str) -> None:
    client = openai.AsyncOpenAI(api_key="unused", base_url=base_url, max_retries=0)
    chat_client = {"chat": OpenAIChatCompletionClient, "responses": OpenAIChatClient}[api]
    agent = Agent(client=chat_client("tiny", async_client=client), name="keeper", tools=[add_task, list_tasks])
    stream = agent.run("Note that I have to buy milk.", stream=True)
    async for update in stream:
        print(json.dumps({"text": update.text, "contents": [content.type for content in update.contents]}))
    print(json.dumps({"answer": (await stream.get_final_response()).text, "tasks": TASKS}))
    await client.close()


with trace.get_tracer("app").start_as_current_span("app"):
    asyncio.run(main(*sys.argv[1:]))
