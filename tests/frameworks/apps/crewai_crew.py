"""A crew of one agent of CrewAI. usage: BASE_URL"""

import json
import sys

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from opentelemetry import trace

TASKS: list[str] = []


@tool("add_task")
def add_task(title: str) -> str:
    """Put a task on the list."""
    TASKS.append(title)
    return "added"


@tool("list_tasks")
def list_tasks() -> str:
    """Read the list of tasks."""
    # Both tools run at a time, so what it reads is none of the other's business.
    return json.dumps(["write code"])


def main(base_url: str) -> None:
    llm = LLM(model="openai/tiny", base_url=base_url, api_key="unused", custom_openai=True, max_retries=0)
    agent = Agent(role="keeper", goal="Keep the list.", backstory="None.", tools=[add_task, list_tasks], llm=llm)
    task = Task(description="Note that I have to buy milk.", expected_output="One sentence.", agent=agent)
    crew = Crew(agents=[agent], tasks=[task], stream=True)
    streaming = crew.kickoff()
    for chunk in streaming:
        print(json.dumps({"type": chunk.chunk_type.value, "content": chunk.content}))
    print(json.dumps({"answer": streaming.result.raw, "tasks": TASKS}))


with trace.get_tracer("app").start_as_current_span("app"):
    main(*sys.argv[1:])
