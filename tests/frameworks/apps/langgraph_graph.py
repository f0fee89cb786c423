"""A graph of LangGraph: a model's node and a tools' node. usage: BASE_URL {sync,async}"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from opentelemetry import trace

TASKS: list[str] = []


@tool
def add_task(title: str) -> str:
    """Put a task on the list."""
    TASKS.append(title)
    return "added"


@tool
def list_tasks() -> str:
    """Read the list of tasks."""
    # Both tools run at a time, so what it reads is none of the other's business.
    return json.dumps(["write code"])


def graph(base_url: str, way: str) -> Any:
    tools = [add_task, list_tasks]
    model = ChatOpenAI(model="tiny", base_url=base_url, api_key="unused", max_retries=0).bind_tools(tools)

    def call_model(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    async def call_model_async(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", call_model if way == "sync" else call_model_async)
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile()


async def _each(parts: Iterable[Any]) -> AsyncIterator[Any]:
    for part in parts:
        yield part


async def main(base_url: str, way: str) -> None:
    compiled = graph(base_url, way)
    asked = {"messages": [("user", "Note that I have to buy milk.")]}
    # The node asks for a whole message; that somebody reads its tokens makes the model stream.
    modes = {"stream_mode": ["messages", "values"]}
    parts = _each(compiled.stream(asked, **modes)) if way == "sync" else compiled.astream(asked, **modes)
    last: Any = None
    async for mode, part in parts:
        if mode == "values":
            last = part["messages"][-1]
        elif isinstance(part[0], AIMessage):
            print(json.dumps({"content": part[0].content, "calls": part[0].tool_call_chunks}))
    print(json.dumps({"answer": last.content, "tasks": TASKS}))


with trace.get_tracer("app").start_as_current_span("app"):
    asyncio.run(main(*sys.argv[1:]))
