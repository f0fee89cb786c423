"""Tools that a server of chat completions ran by itself are counted, however it tells of them."""

from __future__ import annotations

from typing import Any

import pytest

from otel_llm.demo.scripted_server import chunk, usage_chunk
from otel_llm.protocol.recording import Recording
from tests.helpers.streams import anomalies_of, ends, record, says, sdk_completion, tool, types_of

SEARCH = {"index": 0, "type": "search", "arguments": '{"query": "x"}'}
FOUND = SEARCH | {"output": "a page"}
RUN = {"index": 1, "type": "python", "arguments": '{"code": "1"}', "output": "1"}


def executed(*tools: Any, **delta: Any) -> dict[str, Any]:
    return chunk(delta | {"executed_tools": list(tools)})


@pytest.mark.parametrize(
    ("chunks", "count"),
    [
        pytest.param([executed(SEARCH), executed(FOUND), says("It is 4."), ends("stop")], 1, id="told-twice"),
        pytest.param([executed(FOUND), executed(RUN), says("It is 4."), ends("stop")], 2, id="two"),
        pytest.param(
            [executed({"type": "search"}, {"type": "python"}), says("4"), ends("stop")], 2, id="without-an-index"
        ),
        pytest.param(
            [chunk({"reasoning": "hm"}), executed(FOUND, reasoning="so"), executed(RUN), says("4"), ends("stop")],
            2,
            id="among-thoughts",
        ),
        pytest.param([says("It is "), executed(FOUND, content="4."), ends("stop")], 1, id="beside-text"),
        pytest.param([says("4"), executed(), ends("stop")], 0, id="none"),
        pytest.param([says("4"), chunk({"executed_tools": None}), ends("stop")], 0, id="null"),
        pytest.param([says("4"), chunk({"executed_tools": "search"}), ends("stop")], 0, id="nonsense"),
    ],
)
@pytest.mark.parametrize("form", ["openai", "json"])
def test_streamed(chunks: list[dict[str, Any]], count: int, form: str) -> None:
    if form == "openai":
        recording = record(chunks)
    else:
        recording = Recording()
        for each in chunks:
            recording.feed(each, 0, 1)
        recording.end("completed", 2)
    assert [choice.server_items for choice in recording.choices] == [count]


def test_with_the_last_text_in_the_class_of_another_sdk() -> None:
    groq = pytest.importorskip("groq.types.chat")
    from groq._models import construct_type

    recording = Recording()
    for each in [says("It is "), chunk({"content": "4.", "executed_tools": [FOUND]}, "stop")]:
        recording.feed(construct_type(type_=groq.ChatCompletionChunk, value=each), 0, 1)
    recording.end("completed", 2)
    assert recording.choices[0].server_items == 1


def test_whole() -> None:
    recording = Recording()
    recording.read_response(sdk_completion({"content": "4", "executed_tools": [FOUND, RUN]}), 1)
    assert recording.choices[0].server_items == 2


def test_a_required_call_may_be_one_of_them() -> None:
    asked = {"tools": [tool("add_task")], "tool_choice": "required"}
    assert types_of(anomalies_of([executed(FOUND), says("4"), ends("stop")], asked)) == []
    assert types_of(anomalies_of([says("4"), ends("stop")], asked)) == ["tool_choice_violated"]


@pytest.mark.parametrize(
    ("use", "count"),
    [
        ({"web_search_requests": 2}, 2),
        ({"tool_calls_requested": 3, "tool_calls_executed": 3, "web_search_requests": 2}, 3),
        ({"tool_calls_requested": 1, "tool_calls_executed": 0}, 0),
        ({"web_search_requests": None}, 0),
        ("many", 0),
        (None, 0),
    ],
)
def test_counted_in_the_usage(use: Any, count: int) -> None:
    usage = usage_chunk(1, 2)
    usage["usage"]["server_tool_use"] = use
    chunks = [says("4"), ends("stop"), usage]
    assert record(chunks).choices[0].server_items == count
    asked = {"tools": [tool("add_task")], "tool_choice": "required"}
    assert types_of(anomalies_of(chunks, asked)) == ([] if count else ["tool_choice_violated"])


def test_counted_in_the_usage_of_a_whole_response() -> None:
    recording = Recording()
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "server_tool_use": {"web_search_requests": 1}}
    recording.read_response(sdk_completion({"content": "4"}, usage=usage), 1)
    recording.end("completed", 2)
    assert recording.choices[0].server_items == 1
