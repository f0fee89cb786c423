"""An agent of Google's ADK, over LiteLLM or over Google's SDK. usage: BASE_URL {litellm,gemini}"""

import asyncio
import json
import os
import sys

from google.adk.agents import Agent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.models import BaseLlm, Gemini
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai import types
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


def model_of(base_url: str, sdk: str) -> BaseLlm:
    if sdk == "litellm":
        return LiteLlm(model="openai/tiny", api_base=base_url, api_key="unused", max_retries=0)
    os.environ["GOOGLE_API_KEY"] = "unused"
    return Gemini(model="tiny", base_url=base_url.removesuffix("/v1"))


async def main(base_url: str, sdk: str) -> None:
    model = model_of(base_url, sdk)
    agent = Agent(name="keeper", model=model, instruction="Keep the list.", tools=[add_task, list_tasks])
    runner = InMemoryRunner(agent=agent, app_name="tasks")
    session = await runner.session_service.create_session(app_name="tasks", user_id="u")
    answer = ""
    async for event in runner.run_async(
        user_id="u",
        session_id=session.id,
        new_message=types.Content(role="user", parts=[types.Part(text="Note that I have to buy milk.")]),
        run_config=RunConfig(streaming_mode=StreamingMode.SSE),
    ):
        content = event.content.model_dump(mode="json", exclude_none=True) if event.content else None
        print(json.dumps({"partial": event.partial, "content": content}))
        if event.is_final_response() and event.content:
            answer = "".join(part.text or "" for part in event.content.parts or [])
    print(json.dumps({"answer": answer, "tasks": TASKS}))


with trace.get_tracer("app").start_as_current_span("app"):
    asyncio.run(main(*sys.argv[1:]))
