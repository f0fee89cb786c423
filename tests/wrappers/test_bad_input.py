"""Malformed responses: the caller gets what the bare SDK returns, and the span is complete and can be exported."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanLimits

from otel_llm.demo.scripted_server import (
    ABSENT,
    DONE,
    ScriptedServer,
    chunk,
    data,
    text,
    tool_call_delta,
    usage_chunk,
)
from tests.helpers.callers import ADD_TASK, SyncCaller
from tests.helpers.seen import Seen, sum_of_delta_counts

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

WHOLE = '{"title": "x"}'
END = [chunk(finish_reason="tool_calls"), DONE]


def call(**fields: Any) -> dict[str, Any]:
    return chunk(tool_call_delta(**{"index": 0, "id": "call_1", "name": "add_task", "arguments": WHOLE, **fields}))


def no_function(**fields: Any) -> dict[str, Any]:
    return chunk({"tool_calls": [{"index": 0, "id": "call_1", **fields}]})


CASES: dict[str, tuple[list[Any], set[str]]] = {
    "null choices": ([chunk(choices=None), call(), *END], set()),
    "choices that are no list": ([chunk(choices="no"), chunk(choices={"a": 1}), chunk(choices=7), call(), *END], set()),
    "null choice": ([chunk(choices=[None]), call(), *END], set()),
    "nothing but null choices": ([chunk(choices=None), DONE], {"missing_finish_reason"}),
    "null delta": ([chunk(choices=[{"index": 0, "delta": None}]), call(), *END], set()),
    "no delta": ([chunk(choices=[{"index": 0}]), call(), *END], set()),
    "delta that is a string": ([chunk(choices=[{"index": 0, "delta": "x"}]), call(), *END], set()),
    "tool_calls that are no list": ([chunk({"tool_calls": {"index": 0}}), call(), *END], set()),
    "null tool call": ([chunk({"tool_calls": [None]}), *END], {"missing_index", "missing_name", "missing_id"}),
    "null index": ([call(index=None), *END], {"missing_index"}),
    "missing index": ([call(index=ABSENT), *END], {"missing_index"}),
    "negative index": ([call(index=-1), *END], {"missing_index"}),
    "index that is a string": ([call(index="zero"), *END], {"missing_index"}),
    "gigantic index": ([call(index=10**9), *END], set()),
    "index beyond 64 bits": ([call(index=10**30), *END], {"missing_index"}),
    "dict arguments": ([call(arguments={"title": "x"}), *END], {"arguments_not_string"}),
    "list arguments": ([call(arguments=[1]), *END], {"arguments_not_string", "arguments_not_object"}),
    "number as arguments": ([call(arguments=5), *END], {"arguments_not_string", "arguments_not_object"}),
    "call without a function": ([no_function(), *END], {"missing_name"}),
    "null function": ([no_function(function=None), *END], {"missing_name"}),
    "function that is a string": ([no_function(function="add_task"), *END], {"missing_name"}),
    "no finish reason": ([call(), DONE], {"missing_finish_reason"}),
    "finish reason that is a number": (
        [call(), chunk(choices=[{"index": 0, "delta": {}, "finish_reason": 7}]), DONE],
        {"missing_finish_reason"},
    ),
    "surrogate pair split over two deltas": (
        [call(arguments='{"title": "\ud83d'), call(name=ABSENT, arguments='\ude00"}'), *END],
        set(),
    ),
    "lone surrogate in arguments": ([call(arguments='{"title": "\ud83d"}'), *END], {"invalid_unicode"}),
    "escaped lone surrogate": ([call(arguments='{"title": "\\ud83d"}'), *END], {"invalid_unicode"}),
    "lone surrogate in name and id": (
        [call(id="a\udc00", name="add\ud83d"), *END],
        {"invalid_unicode", "unknown_tool"},
    ),
    "lone surrogate everywhere else": (
        [chunk(text("\udc00"), id="\udc00", model="\udc00", system_fingerprint="\udc00"), call(), *END],
        set(),
    ),
    "string as a chunk": ([data("hello"), call(), *END], set()),
    "list as a chunk": ([data([1, 2]), call(), *END], set()),
    "number as a chunk": ([data(5), call(), *END], set()),
    "object that is no chunk": ([{"hello": "world"}, call(), *END], set()),
    "line breaks in names": ([call(name="add_task\n[LLM STREAM] forged"), *END], {"unknown_tool"}),
    "gigantic usage": ([call(), chunk(finish_reason="tool_calls"), usage_chunk(10**30, 10**30), DONE], set()),
    "largest usage": ([call(), chunk(finish_reason="tool_calls"), usage_chunk(2**63 - 1, 2**63 - 1), DONE], set()),
    "empty stream": ([DONE], {"missing_finish_reason"}),
}


@pytest.mark.parametrize(("steps", "anomalies"), CASES.values(), ids=CASES.keys())
async def test_case(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, steps: list[Any], anomalies: set[str]
) -> None:
    caller = connect(serve(*steps))
    bare = await caller.read(await caller.stream())
    seen = instrument(events="span,log")
    watched = await caller.read(await caller.stream())
    assert [repr(item) for item in watched] == [repr(item) for item in bare]
    assert seen.outcome == "completed"
    assert set(seen.anomalies) == anomalies
    assert len(seen.log_records) == len(seen.events())
    seen.encode()


async def test_ten_megabytes_of_arguments(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    piece = "x" * 100_000
    steps = [call(arguments='{"title": "'), *[call(id=ABSENT, name=ABSENT, arguments=piece)] * 100, *END]
    caller = connect(serve(*steps))
    chunks = await caller.read(await caller.stream())
    assert sum(len(item.choices[0].delta.tool_calls[0].function.arguments) for item in chunks[1:-1]) == 10_000_000
    (completed,) = instrumented.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["otel_llm.arguments.length"] == 10_000_011
    assert instrumented.anomalies == ["limit_exceeded"]
    assert sum_of_delta_counts(instrumented.events()) == {0: 101}
    instrumented.encode()


async def test_twenty_thousand_calls(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    def many(first: int) -> dict[str, Any]:
        deltas = [
            tool_call_delta(index=n, id=f"c{n}", name="add_task", arguments=json.dumps({"title": str(n)}))
            for n in range(first, first + 1000)
        ]
        return chunk({"tool_calls": [delta["tool_calls"][0] for delta in deltas]})

    caller = connect(serve(*[many(first) for first in range(0, 20_000, 1000)], *END))
    chunks = await caller.read(await caller.stream())
    assert len(chunks) == 21
    assert instrumented.attributes["otel_llm.stream.tool_call_count"] == 20_000
    assert set(instrumented.anomalies) == {"limit_exceeded"}
    assert len(instrumented.events()) == 128
    instrumented.encode()
    (point,) = [
        value
        for attributes, value in instrumented.metric("otel_llm.tool_call.count")
        if attributes["gen_ai.tool.name"] == "_OTHER"
    ]
    assert point == 20_000 - 256


async def test_deltas_are_folded_to_fit_the_span(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    arguments = json.dumps({"title": "x" * 2000})
    caller = connect(serve(call(arguments=""), *[call(id=ABSENT, name=ABSENT, arguments=c) for c in arguments], *END))
    await caller.read(await caller.stream())
    events = instrumented.events()
    deltas = len(events) - 4
    assert 60 <= deltas <= 62  # half of the span's room
    assert instrumented.span.dropped_events == 0
    assert sum_of_delta_counts(events) == {0: len(arguments) + 1}
    assert instrumented.attributes["otel_llm.stream.coalesced_delta_count"] == len(arguments) + 1 - deltas
    assert [event.name for event in (*events[:2], *events[-2:])] == [
        "otel_llm.tool_call.detected",
        "otel_llm.tool_call.name",
        "otel_llm.tool_call.completed",
        "otel_llm.finish_reason",
    ]
    assert all(len(str((event.attributes or {}).get("gen_ai.tool.call.arguments", ""))) <= 200 for event in events)
    assert instrumented.anomalies == []


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 20, 300])
async def test_other_limits_of_the_span(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, limit: int
) -> None:
    seen = instrument(SpanLimits(max_events=limit))
    caller = connect(serve(call(arguments=""), *[call(id=ABSENT, name=ABSENT, arguments=" ")] * 250, *END))
    await caller.read(await caller.stream())
    assert seen.span.dropped_events == 0
    assert len(seen.events()) <= limit
    assert len(seen.events()) == {0: 0, 1: 1, 2: 2, 5: 5, 20: 12, 300: 256}[limit]
    if limit >= 20:
        assert sum_of_delta_counts(seen.events()) == {0: 251}


async def test_nested_too_deep(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    deep = '{"title":' + "[" * 200_000 + "]" * 200_000 + "}"
    caller = connect(serve(call(arguments=deep), *END))
    await caller.read(await caller.stream())
    assert instrumented.anomalies == ["limit_exceeded"]


async def test_malformed_tools(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(call(), *END))
    await caller.read(await caller.stream(tools=[ADD_TASK, None, 5, "x", {}], tool_choice={"type": 7}))
    assert instrumented.outcome == "completed"
