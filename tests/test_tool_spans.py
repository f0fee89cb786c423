"""Spans for the execution of an application's own tools."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import openai
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import StatusCode
from opentelemetry.util.genai.handler import TelemetryHandler

from otel_llm import intercept_llm_requests, tool_execution, tool_spans, traced_tool
from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, tool_call_chunks
from tests.helpers.callers import SyncCaller
from tests.helpers.seen import Seen

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


async def test_a_plain_function_that_returns_a_coroutine(instrumented: Seen) -> None:
    tracer = instrumented.tracer_provider.get_tracer("tools")

    async def work(title: str) -> str:
        await asyncio.sleep(0)
        with tracer.start_as_current_span("inside"):
            if not title:
                raise ValueError("no title")
        return title

    @traced_tool
    def add_task(title: str) -> Any:
        return work(title)

    pending = add_task("a")
    assert not trace.get_current_span().is_recording()
    assert instrumented.spans == []
    assert await pending == "a"
    inside, span = instrumented.spans
    assert (inside.name, span.name) == ("inside", "execute_tool add_task")
    assert inside.parent is not None
    assert inside.parent.span_id == span.context.span_id
    with pytest.raises(ValueError, match="no title"):
        await add_task("")
    assert (instrumented.spans[-1].attributes or {})["error.type"] == "ValueError"


def test_a_function_that_raises(instrumented: Seen) -> None:
    with pytest.raises(LookupError, match="no such task"):
        broken()
    assert instrumented.span.status.status_code is StatusCode.ERROR
    assert instrumented.attributes["error.type"] == "LookupError"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [
        ValueError("half \ud800"),
        ValueError("long" * 1000),
        pytest.param(Unspeakable(), marks=pytest.mark.swallows("an error's message", "an error's type")),
    ],
)
def test_errors_with_unexportable_messages(instrumented: Seen, error: Exception) -> None:
    with pytest.raises(type(error)), tool_execution("add_task"):
        raise error
    assert instrumented.span.status.status_code is StatusCode.ERROR
    assert len(instrumented.span.status.description or "") <= 1000
    assert not trace.get_current_span().is_recording()
    instrumented.encode()


def test_frameworks_read_the_signature() -> None:
    assert list(inspect.signature(add_task).parameters) == ["title", "urgent"]
    assert add_task.__doc__ == "Put a task on the list."
    assert add_task.__name__ == "add_task"


def is_current(name: str) -> bool:
    return getattr(trace.get_current_span(), "name", None) == f"execute_tool {name}"


@traced_tool
def steps(fails: bool = False) -> Iterator[Any]:
    try:
        received = yield is_current("steps")
    except KeyError:
        received = "thrown"
    yield received, is_current("steps")
    if fails:
        raise LookupError
    return


@traced_tool
async def steps_async(fails: bool = False) -> AsyncIterator[Any]:
    try:
        received = yield is_current("steps_async")
    except KeyError:
        received = "thrown"
    await asyncio.sleep(0)
    yield received, is_current("steps_async")
    if fails:
        raise LookupError


def test_a_generator(instrumented: Seen) -> None:
    assert inspect.isgeneratorfunction(steps)
    generator: Any = steps()
    assert next(generator) is True
    assert not is_current("steps")
    assert generator.send("hello") == ("hello", True)
    assert instrumented.spans == []
    assert list(generator) == []
    assert instrumented.span.name == "execute_tool steps"
    assert instrumented.span.status.is_unset


async def test_an_asynchronous_generator(instrumented: Seen) -> None:
    assert inspect.isasyncgenfunction(steps_async)
    generator: Any = steps_async()
    assert await anext(generator) is True
    assert not is_current("steps_async")
    assert await generator.asend("hello") == ("hello", True)
    assert instrumented.spans == []
    assert [part async for part in generator] == []
    assert instrumented.span.name == "execute_tool steps_async"
    assert instrumented.span.status.is_unset


async def test_generators_that_end_early_or_fail(instrumented: Seen) -> None:
    left: Any = steps()
    next(left)
    left.close()
    left = steps_async()
    await anext(left)
    await left.aclose()
    assert [span.status.status_code for span in instrumented.spans] == [StatusCode.UNSET] * 2
    thrown: Any = steps()
    next(thrown)
    assert thrown.throw(KeyError()) == ("thrown", True)
    thrown = steps_async()
    await anext(thrown)
    assert await thrown.athrow(KeyError()) == ("thrown", True)
    await thrown.aclose()
    with pytest.raises(LookupError):
        list(steps(fails=True))
    with pytest.raises(LookupError):
        [part async for part in steps_async(fails=True)]
    assert [span.status.status_code for span in instrumented.spans[-2:]] == [StatusCode.ERROR] * 2
    assert not trace.get_current_span().is_recording()


class Toolbox:
    @traced_tool
    def method(self, title: str) -> str:
        return title

    @traced_tool
    @staticmethod
    def static(title: str) -> str:
        return title

    @traced_tool(name="of_class")
    @classmethod
    def of_the_class(cls, title: str) -> str:
        return cls.__name__ + title

    async def __call__(self, title: str) -> str:
        await asyncio.sleep(0)
        return f"{title} {is_current('boxed')}"


async def test_methods_and_other_callables(instrumented: Seen) -> None:
    box = Toolbox()
    assert [box.method("a"), box.static("a"), Toolbox.static("a")] == ["a"] * 3
    assert [box.of_the_class("a"), Toolbox.of_the_class("a")] == ["Toolboxa"] * 2
    assert await traced_tool(box, name="boxed")("a") == "a True"
    assert traced_tool(partial(box.method, "a"))() == "a"
    names = [span.name.partition(" ")[2] for span in instrumented.spans]
    assert names == ["method", *["static"] * 2, *["of_class"] * 2, "boxed", "method", "method"]


async def test_a_link_to_the_call(instrumented: Seen, serve: Serve, connect: Connect) -> None:
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


async def test_a_framework_s_span_of_the_same_tool_gets_the_link(
    instrumented: Seen, serve: Serve, connect: Connect
) -> None:
    """It says what ours would say. Another tool that this one runs has a span of its own."""
    caller = connect(serve(*CALLING))
    await caller.read(await caller.stream())
    request = instrumented.span.context
    for name in ("execute_tool add_task", "execute_tool Tasks-add_task"):
        with trace.get_tracer("framework", tracer_provider=instrumented.tracer_provider).start_as_current_span(name):
            with tool_execution("add_task", call_id="call_1"):
                assert await listed(1) == [0]
            assert add_task("milk") == "added milk False True"
    inner, around = instrumented.spans[1::2], instrumented.spans[2::2]
    assert [span.name for span in inner] == ["execute_tool list_tasks"] * 2
    assert [span.name for span in around] == ["execute_tool add_task", "execute_tool Tasks-add_task"]
    assert [span.parent for span in inner] == [span.context for span in around]
    assert [[link.context for link in span.links] for span in around] == [[request]] * 2


def test_other_spans_around_a_tool_do_not_replace_its_own(instrumented: Seen) -> None:
    for name in ("execute_tool readd_task", "invoke_agent add_task", "add_task"):
        with trace.get_tracer("framework", tracer_provider=instrumented.tracer_provider).start_as_current_span(name):
            add_task("milk")
    assert [span.name for span in instrumented.spans[::2]] == ["execute_tool add_task"] * 3


async def test_a_link_to_the_call_of_an_intercepted_client(
    seen: Seen, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = TelemetryHandler(tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider)
    monkeypatch.setattr(tool_spans, "_global", handler)
    caller, other = connect(serve(*CALLING)), connect(serve(*CALLING))
    for one in (caller, other):
        intercept_llm_requests(one.client, **seen.providers)
    with seen.tracer_provider.get_tracer("app").start_as_current_span("turn"):
        await caller.read(await caller.stream())
        with tool_execution("add_task", call_id="call_1"):
            pass
    # Another client's server uses the same id: outside a trace, it is unknown whose call is meant.
    await other.read(await other.stream())
    with tool_execution("add_task", call_id="call_1"):
        pass
    made, executed, _turn, _made, unknown = seen.spans
    assert made.context is not None
    assert [link.context.span_id for link in executed.links] == [made.context.span_id]
    assert unknown.links == ()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The telemetry that goes to the global providers."""
    seen = Seen()
    handler = TelemetryHandler(tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider)
    monkeypatch.setattr(tool_spans, "_global", handler)
    # Clients of other tests may still be alive.
    monkeypatch.setattr(tool_spans, "client_telemetries", WeakKeyDictionary())
    return seen


def client(server: ScriptedServer, seen: Seen) -> openai.OpenAI:
    return intercept_llm_requests(openai.OpenAI(api_key="unused", base_url=server.base_url), **seen.providers)


def test_spans_go_to_the_providers_of_an_intercepted_client(seen: Seen, elsewhere: Seen, serve: Serve) -> None:
    clients = [client(serve(), seen) for _ in range(2)]
    add_task("a")
    assert seen.span.name == "execute_tool add_task"
    for one in clients:
        one.close()
    del clients, one
    gc.collect()
    add_task("a")
    assert (len(seen.spans), len(elsewhere.spans)) == (1, 1)


def test_spans_of_several_clients_are_told_apart_by_the_call(seen: Seen, elsewhere: Seen, serve: Serve) -> None:
    """Without a call of theirs, spans go to the global providers."""
    other = Seen()
    ours, theirs = client(serve(*CALLING), seen), client(serve(), other)
    for _ in ours.chat.completions.create(model="m", messages=[], stream=True):
        pass
    with tool_execution("add_task", call_id="call_1"):
        pass
    add_task("a")
    with tool_execution("add_task", call_id="call_of_another_process"):
        pass
    assert (len(seen.spans), len(other.spans), len(elsewhere.spans)) == (2, 0, 2)
    for one in (ours, theirs):
        one.close()


def test_entered_again_while_it_is_running(instrumented: Seen) -> None:
    execution = tool_execution("add_task")
    with execution:
        outer = trace.get_current_span()
        with execution:
            assert trace.get_current_span() is not outer
        assert trace.get_current_span() is outer
    assert not trace.get_current_span().is_recording()
    inner, ended = instrumented.spans
    assert ended.context == outer.get_span_context()
    assert inner.parent == ended.context


def test_a_tool_that_calls_itself(instrumented: Seen) -> None:
    @traced_tool
    def count(left: int) -> int:
        return count(left - 1) + 1 if left else 0

    assert count(2) == 2
    innermost, middle, outer = instrumented.spans
    assert (innermost.parent, middle.parent, outer.parent) == (middle.context, outer.context, None)


@pytest.mark.parametrize("value", ["x" * 2_000_000, ["x" * 1_000_000] * 2])
def test_content_is_cut(instrument: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    seen = instrument()
    with tool_execution("add_task", arguments=value) as execution:
        execution.result = value
    for name in ("arguments", "result"):
        assert len(seen.attributes[f"gen_ai.tool.call.{name}"]) == 1_048_576


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


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("tool", marks=pytest.mark.swallows("the start of a tool's span")),
        pytest.param("should_capture_content", marks=pytest.mark.swallows("a tool's arguments")),
    ],
)
def test_a_fault_of_telemetry_does_not_affect_the_tool(
    instrumented: Seen, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(TelemetryHandler, name, fail)
    assert add_task("a").startswith("added a")
    with pytest.raises(LookupError):
        broken()


@pytest.mark.swallows("a tool's arguments")
def test_a_signature_that_raises(monkeypatch: pytest.MonkeyPatch, instrument: Callable[..., Seen]) -> None:
    class Odd:
        @property
        def __signature__(self) -> inspect.Signature:
            raise RuntimeError("no signature")

        def __call__(self, title: str) -> str:
            return f"added {title}"

    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    seen = instrument()
    odd: Any = traced_tool(Odd(), name="odd")
    assert odd("a") == "added a"
    assert seen.span.name == "execute_tool odd"


def test_the_function_itself_rejects_wrong_arguments(instrumented: Seen) -> None:
    with pytest.raises(TypeError, match="title"):
        add_task()  # type: ignore[call-arg]
