"""Spans for the execution of a user's own tools."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import StatusCode
from opentelemetry.util.genai.handler import TelemetryHandler

from callers import SyncCaller
from otel_llm import tool_execution, traced_tool
from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, tool_call_chunks
from seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

CALLING = [*tool_call_chunks("add_task", '{"title": "a"}'), chunk(finish_reason="tool_calls"), DONE]


@traced_tool
def add_task(title: str, *, urgent: bool = False) -> str:
    """Put a task on the list."""
    return f"added {title} {urgent} {trace.get_current_span().is_recording()}"


@traced_tool(name="list_tasks")
async def listed(limit: int) -> list[int]:
    return list(range(limit))


@traced_tool
def broken() -> None:
    raise LookupError("no such task")


def test_a_function(instrumented: Seen) -> None:
    assert add_task("milk", urgent=True) == "added milk True True"
    assert instrumented.span.name == "execute_tool add_task"
    assert instrumented.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add_task",
        "gen_ai.tool.type": "function",
    }
    assert not trace.get_current_span().is_recording()


async def test_an_asynchronous_function(instrumented: Seen) -> None:
    assert inspect.iscoroutinefunction(listed)
    pending = listed(2)
    assert instrumented.spans == []
    assert await pending == [0, 1]
    assert instrumented.span.name == "execute_tool list_tasks"


def test_what_it_raises(instrumented: Seen) -> None:
    with pytest.raises(LookupError, match="no such task"):
        broken()
    assert instrumented.span.status.status_code is StatusCode.ERROR
    assert instrumented.attributes["error.type"] == "LookupError"


def test_frameworks_read_the_signature() -> None:
    assert list(inspect.signature(add_task).parameters) == ["title", "urgent"]
    assert add_task.__doc__ == "Put a task on the list."
    assert add_task.__name__ == "add_task"


async def test_it_is_linked_to_the_call(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*CALLING))
    await caller.read(await caller.stream())
    with tool_execution("add_task", call_id="call_1"):
        pass
    with tool_execution("add_task", call_id="call_of_another_process"):
        pass
    made, executed, other = instrumented.spans
    assert made.context is not None
    assert [link.context.span_id for link in executed.links] == [made.context.span_id]
    assert (executed.attributes or {})["gen_ai.tool.call.id"] == "call_1"
    assert other.links == ()


@pytest.mark.parametrize("captures", [True, False])
def test_arguments_and_result_are_content(
    instrument: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch, captures: bool
) -> None:
    if captures:
        monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    seen = instrument()
    add_task("m\ud800")
    attributes = seen.attributes
    assert ("gen_ai.tool.call.arguments" in attributes) is captures
    if captures:
        assert json.loads(attributes["gen_ai.tool.call.arguments"])
        assert attributes["gen_ai.tool.call.result"] == "added m\\ud800 False True"
    seen.encode()


def test_suppressed(instrumented: Seen) -> None:
    with suppress_instrumentation():
        assert add_task("a").endswith("False")
    assert instrumented.spans == []


def test_without_an_instrumentor() -> None:
    assert add_task("a") == "added a False False"


@pytest.mark.parametrize("name", ["tool", "should_capture_content"])
def test_a_fault_of_telemetry_is_not_the_tools(instrumented: Seen, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(TelemetryHandler, name, fail)
    assert add_task("a").startswith("added a")
    with pytest.raises(LookupError):
        broken()


def test_wrong_arguments_are_told_by_the_function(instrumented: Seen) -> None:
    with pytest.raises(TypeError, match="title"):
        add_task()  # type: ignore[call-arg]
