"""The lines of docs/frameworks.md run, streamed and observed, where the framework is installed."""

from __future__ import annotations

import asyncio
import json
import re
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from otel_llm.demo.scripted_server import ScriptedServer
from otel_llm.demo.tools import TOOLS
from otel_llm.instrumentor import LiteLLMInstrumentor, OpenAIInstrumentor
from otel_llm.telemetry import semconv
from tests.frameworks.test_frameworks import CHAT, needs
from tests.helpers.seen import Seen

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text(encoding="utf-8")
SERVER_OF_PAGE = "http://127.0.0.1:8000/v1"
TOOL = '''
def add_task(title: str) -> str:
    """Put a task on the list."""
    return "added"

def list_tasks() -> str:
    """Read the list of tasks."""
    return "buy milk"
'''


class Lines(NamedTuple):
    """What stands before the lines of a section, and how many requests these make."""

    before: str
    requests: int


SECTIONS = {
    "LangChain": ("langchain_openai", Lines(f"from langchain_openai import ChatOpenAI\n{TOOL}", 1)),
    "OpenAI Agents SDK": (
        "agents",
        Lines(
            "from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool\n"
            "from openai import AsyncOpenAI\n"
            f"from agents.tracing import set_tracing_disabled\nset_tracing_disabled(True)\n{TOOL}"
            "add_task = function_tool(add_task)",
            2,
        ),
    ),
    "pydantic-ai": (
        "pydantic_ai",
        Lines(
            "from pydantic_ai import Agent\nfrom pydantic_ai.models.openai import OpenAIChatModel\n"
            f"from pydantic_ai.providers.openai import OpenAIProvider\n{TOOL}",
            2,
        ),
    ),
    "instructor": (
        "instructor",
        Lines(
            "import instructor\nfrom openai import OpenAI\nfrom pydantic import BaseModel\n"
            "class Task(BaseModel):\n    title: str\n",
            1,
        ),
    ),
    "LiteLLM": ("litellm", Lines("import litellm\n", 1)),
}


def lines_of(section: str) -> str:
    found = re.search(rf"^## {re.escape(section)}\n+```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"{section} has no lines"
    return found.group(1)


@pytest.mark.parametrize("section", re.findall(r"^## (.+)$", PAGE, re.MULTILINE))
def test_each_framework_has_its_lines(section: str) -> None:
    compile(f"async def f():\n{textwrap.indent(lines_of(section), '    ')}", section, "exec")


@pytest.mark.parametrize(
    ("section", "lines"),
    [pytest.param(section, lines, marks=needs(package)) for section, (package, lines) in SECTIONS.items()],
    ids=list(SECTIONS),
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_lines_run(section: str, lines: Lines, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    # One tool, so one call; instructor asks for a tool of its own.
    name = "Task" if section == "instructor" else "add_task"
    script = [[_only_call(step, name) for step in CHAT[0] if _only_call(step, name) is not None], CHAT[1]]
    instrumentors: list[Any] = [OpenAIInstrumentor(), LiteLLMInstrumentor()]
    for one in instrumentors:
        one.instrument(**seen.providers, log=False)
    try:
        with ScriptedServer(script) as server:
            body = lines_of(section).replace(SERVER_OF_PAGE, server.base_url)
            scope: dict[str, Any] = {"messages": [{"role": "user", "content": "Note it."}], "tools": TOOLS}
            exec(lines.before, scope)
            exec(f"async def run():\n{textwrap.indent(body, '    ')}", scope)
            asyncio.run(scope["run"]())
    finally:
        for one in instrumentors:
            one.uninstrument()
    spans: Any = [span for span in seen.spans if semconv.OTEL_LLM_STREAM_OUTCOME in (span.attributes or {})]
    assert len(spans) == lines.requests
    assert {span.attributes[semconv.OTEL_LLM_STREAM_OUTCOME] for span in spans} == {"completed"}
    first = spans[0]
    assert first.attributes[semconv.OTEL_LLM_STREAM_TOOL_CALL_COUNT] == 1
    assert first.attributes[semconv.OTEL_LLM_STREAM_CHUNK_COUNT] > 1


def _only_call(step: Any, name: str) -> Any:
    """A chunk of the stream with the first call only, by another name; None if it belongs to the second."""
    if not isinstance(step, dict) or not step["choices"]:
        return step
    step = json.loads(json.dumps(step))
    for delta in step["choices"][0]["delta"].get("tool_calls", ()):
        if delta["index"] != 0:
            return None
        if "name" in delta["function"]:
            delta["function"]["name"] = name
    return step
