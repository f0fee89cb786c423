"""`tool_calls` and `anomalies` of a tracker: what the stream said so far, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any
from unittest.mock import MagicMock

import pytest

from otel_llm import StreamingToolCallTracker, SyncStreamingToolCallTracker
from otel_llm.demo.scripted_responses import function_call, response_events
from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, text, tool_call_chunks
from otel_llm.testing import ToolCall
from tests.helpers.callers import SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.sdks import SDK
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

STEPS = [
    *tool_call_chunks("add_task", '{"title": "a"}'),
    *tool_call_chunks("unknown", '{"limit', id="call_2", index=1),
    chunk(finish_reason="tool_calls"),
    DONE,
]


async def test_calls_grow_with_the_stream(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*STEPS))
    stream = await caller.stream()
    assert stream.tool_calls == []
    await caller.read(stream, 3)
    (so_far,) = stream.tool_calls
    assert (so_far.name, so_far.id, so_far.index, so_far.choice) == ("add_task", "call_1", 0, 0)
    assert '{"title": "a"}'.startswith(so_far.arguments)
    await caller.read(stream)
    assert stream.tool_calls == [
        ToolCall("add_task", '{"title": "a"}', "call_1"),
        ToolCall("unknown", '{"limit', "call_2", 1),
    ]
    assert stream.tool_calls[0].parsed == {"title": "a"}


async def test_a_call_is_a_copy_that_cannot_be_changed(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*STEPS))
    stream = await caller.stream()
    await caller.read(stream, 2)
    (before,) = stream.tool_calls
    with pytest.raises(FrozenInstanceError):
        before.name = "other"
    stream.tool_calls.clear()
    await caller.read(stream)
    assert before != stream.tool_calls[0]
    assert len(stream.tool_calls) == 2


async def test_a_second_call_at_an_index_in_use(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """`_tool_calls` moves it to a free index; `tool_calls` keeps the index that the server sent."""
    twice = [step for call_id in ("call_1", "call_2") for step in tool_call_chunks("add_task", "{}", id=call_id)]
    caller = connect(serve(*twice, chunk(finish_reason="tool_calls"), DONE))
    stream = await caller.stream()
    await caller.read(stream)
    assert [(call.id, call.index) for call in stream.tool_calls] == [("call_1", 0), ("call_2", 0)]
    assert sorted(stream._tool_calls) == [0, 1]


async def test_calls_of_several_choices(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    steps = [{**step, "choices": [{**step["choices"][0], "index": 1}]} for step in tool_call_chunks("b", "{}", id="b")]
    caller = connect(serve(*tool_call_chunks("a", "{}", id="a")[:1], *steps, DONE))
    stream = await caller.stream(n=2)
    await caller.read(stream)
    assert [(call.name, call.choice) for call in stream.tool_calls] == [("a", 0), ("b", 1)]


async def test_anomalies_are_known_at_the_end(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*STEPS))
    stream = await caller.stream()
    await caller.read(stream, len(STEPS) - 2)
    assert stream.anomalies == []
    await caller.read(stream)
    assert sorted(anomaly.type for anomaly in stream.anomalies) == ["invalid_json", "unknown_tool"]
    assert all(anomaly.detail for anomaly in stream.anomalies)
    assert [anomaly.type for anomaly in stream.anomalies] == instrumented.anomalies


async def test_a_healthy_stream(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(chunk(text("Hello")), chunk(finish_reason="stop"), DONE))
    stream = await caller.stream()
    await caller.read(stream)
    assert (stream.tool_calls, stream.anomalies) == ([], [])


@needs_responses
async def test_calls_of_the_responses_api(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(function_call("add_task", '{"title": "a"}'))))
    stream = await caller.respond(stream=True)
    await caller.read(stream)
    assert [(call.name, call.parsed) for call in stream.tool_calls] == [("add_task", {"title": "a"})]
    assert stream.anomalies == []


def test_by_itself() -> None:
    tracker = SyncStreamingToolCallTracker(iter([]))
    assert (tracker.tool_calls, tracker.anomalies) == ([], [])
    assert list(tracker) == []
    assert tracker.tool_calls == []
    assert [anomaly.type for anomaly in tracker.anomalies] == ["missing_finish_reason"]


@pytest.mark.parametrize("tracker_class", [StreamingToolCallTracker, SyncStreamingToolCallTracker])
@pytest.mark.parametrize("name", ["tool_calls", "anomalies"])
def test_they_are_read_only(tracker_class: Any, name: str) -> None:
    tracker = tracker_class(MagicMock())
    with pytest.raises(AttributeError):
        setattr(tracker, name, [])
    assert getattr(tracker, name) == []


@pytest.mark.swallows("the calls so far")
def test_a_fault_does_not_reach_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_recording: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr("otel_llm.wrappers.stream.calls_in", broken)
    assert SyncStreamingToolCallTracker(iter([])).tool_calls == []


@pytest.mark.parametrize("sdk_name", ["openai", "groq", "cerebras"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("name", ["tool_calls", "anomalies"])
async def test_they_hide_nothing_of_an_sdks_stream(sdk_name: str, asynchronous: bool, name: str, serve: Serve) -> None:
    sdk = SDK(sdk_name, asynchronous=asynchronous)
    completions = sdk.client(serve(*STEPS)).chat.completions
    stream = await sdk.result(completions.create(model="m", messages=[], stream=True))
    assert not hasattr(stream, name), f"{sdk}: a stream has `{name}` itself, which the tracker's property hides"
    await sdk.result(stream.close())
    await sdk.close()
