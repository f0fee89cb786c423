"""An agent of the OpenAI Agents SDK. usage: BASE_URL {chat,responses} [SETTINGS SETTINGS-AFTER-THE-TOOLS]"""

import asyncio
import json
import sys
from typing import Literal

import openai
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from agents.tracing import set_tracing_disabled

TASKS: list[str] = []


@function_tool
def add_task(title: Literal["buy milk", "write code"]) -> str:
    """Put a task on the list."""
    TASKS.append(title)
    return "added"


@function_tool
def list_tasks() -> str:
    """Read the list of tasks."""
    # Both tools run at a time, so what it reads is none of the other's business.
    return json.dumps(["write code"])


async def main(base_url: str, api: str, settings: str = "{}", later: str | None = None) -> None:
    set_tracing_disabled(True)
    client = openai.AsyncOpenAI(api_key="unused", base_url=base_url, max_retries=0)
    model = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}[api]("tiny", openai_client=client)
    agent = Agent(
        name="tasks",
        instructions="Keep the list.",
        model=model,
        tools=[add_task, list_tasks],
        model_settings=ModelSettings(**json.loads(settings)),
    )
    result = Runner.run_streamed(agent, "Note that I have to buy milk.", max_turns=4)
    async for event in result.stream_events():
        if later is not None and event.type == "run_item_stream_event" and event.name == "tool_output":
            agent.model_settings, agent.tools = ModelSettings(**json.loads(later)), []
        told = {"event": event.type}
        if event.type == "raw_response_event":
            told["data"] = event.data.model_dump(mode="json")
        elif event.type == "run_item_stream_event":
            told["name"], told["item"] = event.name, event.item.type
        print(json.dumps(told))
    print(json.dumps({"answer": result.final_output, "tasks": TASKS}))
    await client.close()


asyncio.run(main(*sys.argv[1:]))
