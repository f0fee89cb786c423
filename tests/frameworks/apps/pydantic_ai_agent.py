"""An agent of pydantic-ai. usage: BASE_URL {chat,responses}"""

import asyncio
import json
import sys

import openai
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

TASKS: list[str] = []


async def main(base_url: str, api: str) -> None:
    client = openai.AsyncOpenAI(api_key="unused", base_url=base_url, max_retries=0)
    model = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}[api]
    agent = Agent(model("tiny", provider=OpenAIProvider(openai_client=client)))

    @agent.tool_plain
    def add_task(title: str) -> str:
        """Put a task on the list."""
        TASKS.append(title)
        return "added"

    @agent.tool_plain
    def list_tasks() -> str:
        """Read the list of tasks."""
        # Both tools run at a time, so what it reads is none of the other's business.
        return json.dumps(["write code"])

    async with agent.run_stream("Note that I have to buy milk.") as result:
        async for text in result.stream_text(delta=True, debounce_by=None):
            print(json.dumps({"text": text}))
        print(json.dumps({"answer": await result.get_output(), "tasks": TASKS}))
    for message in result.all_messages():
        print(json.dumps([part.part_kind for part in message.parts]))
    await client.close()


asyncio.run(main(*sys.argv[1:]))
