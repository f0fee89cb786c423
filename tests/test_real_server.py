"""Against llama.cpp's own server: what is healthy is accused of nothing, and nothing of it is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from otel_llm.demo.llama_server import WELL_FORMED_CALLS
from tests.helpers.callers import SyncCaller
from tests.helpers.seen import Seen, sum_of_delta_counts

TITLES = ["buy milk", "write code"]
TOOL = {
    "type": "function",
    "function": {
        "name": "add_task",
        "description": "add a task",
        "parameters": {
            "type": "object",
            "required": ["title"],
            "properties": {"title": {"type": "string", "enum": TITLES}},
        },
    },
}
CALLING: dict[str, Any] = {
    "tools": [TOOL],
    "tool_choice": "required",
    "max_tokens": 400,
    "logit_bias": WELL_FORMED_CALLS,
    "stream_options": {"include_usage": True},
}


@pytest.fixture
def caller(llama: str, connect: Callable[..., SyncCaller]) -> SyncCaller:
    return connect(SimpleNamespace(base_url=llama), timeout=60)


async def test_tool_calls(instrumented: Seen, caller: SyncCaller) -> None:
    chunks = await caller.read(await caller.stream(**CALLING, seed=3))
    deltas = [delta for item in chunks for choice in item.choices for delta in choice.delta.tool_calls or ()]
    by_index: dict[int, str] = {}
    for delta in deltas:
        by_index[delta.index] = by_index.get(delta.index, "") + (delta.function.arguments or "")
    assert by_index
    assert instrumented.anomalies == [name for name in instrumented.anomalies if name == "duplicate_call"]
    completed = [dict(event.attributes or {}) for event in instrumented.events("otel_llm.tool_call.completed")]
    assert {entry["otel_llm.tool_call.index"]: entry["gen_ai.tool.call.arguments"] for entry in completed} == by_index
    assert all(json.loads(arguments)["title"] in TITLES for arguments in by_index.values())
    assert sum_of_delta_counts(instrumented.events()).total() == len(deltas)
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == len(chunks)
    assert instrumented.attributes["gen_ai.usage.output_tokens"] > 0
    assert instrumented.outcome == "completed"


async def test_text(instrumented: Seen, caller: SyncCaller) -> None:
    grammar = 'root ::= "All done."'
    chunks = await caller.read(await caller.stream(tools=[], extra_body={"grammar": grammar}, max_tokens=50))
    assert "".join(item.choices[0].delta.content or "" for item in chunks if item.choices) == "All done."
    assert instrumented.attributes["otel_llm.stream.text_only"] is True
    assert instrumented.anomalies == []


async def test_a_call_cut_by_max_tokens(instrumented: Seen, caller: SyncCaller) -> None:
    await caller.read(await caller.stream(**{**CALLING, "max_tokens": 25}))
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert set(instrumented.anomalies) <= {"truncated"}


async def test_whole_response(instrumented: Seen, caller: SyncCaller) -> None:
    asked = {name: value for name, value in CALLING.items() if name != "stream_options"}
    response = await caller.create(**asked, seed=3)
    assert response.choices[0].message.tool_calls
    assert set(instrumented.anomalies) <= {"duplicate_call"}
    count = len(response.choices[0].message.tool_calls)
    assert instrumented.attributes["otel_llm.stream.tool_call_count"] == count
    assert len(instrumented.events("otel_llm.tool_call.completed")) == count


async def test_refused_request(instrumented: Seen, caller: SyncCaller) -> None:
    with pytest.raises(Exception, match=r"400|500"):
        await caller.stream(messages=[{"role": "nobody"}], max_tokens=5)
    assert instrumented.outcome == "error"
