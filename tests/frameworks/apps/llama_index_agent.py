"""An agent of LlamaIndex. usage: BASE_URL"""

import asyncio
import json
import sys

from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult
from llama_index.llms.openai_like import OpenAILike
from opentelemetry import trace

TASKS: list[str] = []


def add_task(title: str) -> str:
    """Put a task on the list."""
    TASKS.append(title)
    return "added"


def list_tasks() -> str:
    """Read the list of tasks."""
    # Both tools run at a time, so what it reads is none of the other's business.
    return json.dumps(["write code"])


async def main(base_url: str) -> None:
    model = OpenAILike(
        model="tiny",
        api_base=base_url,
        api_key="unused",
        max_retries=0,
        is_chat_model=True,
        is_function_calling_model=True,
        additional_kwargs={"stream_options": {"include_usage": True}},
    )
    handler = FunctionAgent(tools=[add_task, list_tasks], llm=model).run("Note that I have to buy milk.")
    results = []
    async for event in handler.stream_events():
        if isinstance(event, AgentStream):
            calls = [call.model_dump(mode="json") for call in event.tool_calls]
            print(json.dumps({"delta": event.delta, "calls": calls}))
        elif isinstance(event, ToolCallResult):
            results.append([event.tool_id, event.tool_name, str(event.tool_output)])
    # The tools run at a time.
    print(json.dumps(sorted(results)))
    print(json.dumps({"answer": str(await handler), "tasks": TASKS}))


with trace.get_tracer("app").start_as_current_span("app"):
    asyncio.run(main(*sys.argv[1:]))
