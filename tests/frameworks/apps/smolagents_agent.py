"""A tool-calling agent of smolagents. usage: BASE_URL"""

import json
import sys

from opentelemetry import trace
from rich.console import Console
from smolagents import (
    AgentLogger,
    ChatMessageStreamDelta,
    LogLevel,
    OpenAIServerModel,
    ToolCallingAgent,
    ToolOutput,
    tool,
)

TASKS: list[str] = []


@tool
def add_task(title: str) -> str:
    """Put a task on the list.

    Args:
        title: The task.
    """
    TASKS.append(title)
    return "added"


@tool
def list_tasks() -> str:
    """Read the list of tasks."""
    # Both tools run at a time, so what it reads is none of the other's business.
    return json.dumps(["write code"])


def main(base_url: str) -> None:
    model = OpenAIServerModel("tiny", api_base=base_url, api_key="unused", client_kwargs={"max_retries": 0})
    # It shows the answer as it grows, at any level.
    logger = AgentLogger(LogLevel.OFF, console=Console(stderr=True))
    agent = ToolCallingAgent([add_task, list_tasks], model, stream_outputs=True, logger=logger)
    answer, results = None, []
    for event in agent.run("Note that I have to buy milk.", stream=True, max_steps=3):
        if isinstance(event, ChatMessageStreamDelta):
            calls = [[call.index, call.id] for call in event.tool_calls or []]
            print(json.dumps({"content": event.content, "calls": calls}))
        elif isinstance(event, ToolOutput):
            results.append([event.id, event.observation])
            answer = event.output if event.is_final_answer else answer
    # The tools run at a time.
    print(json.dumps(sorted(results)))
    print(json.dumps({"answer": answer, "tasks": TASKS}))


with trace.get_tracer("app").start_as_current_span("app"):
    main(*sys.argv[1:])
