"""The reader of Anthropic's messages: a stream says what the whole message says, and nonsense raises nothing."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from otel_llm.demo.scripted_messages import event_values, message, text_block, thinking, tool_use
from otel_llm.protocol.anthropic_messages import MessageEvents
from otel_llm.protocol.anthropic_request import chat_arguments
from otel_llm.protocol.dialects import EitherEvents
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import read_request
from tests.helpers.nonsense import leaves, misplaced, nonsense_of
from tests.helpers.plain_text import plain_text

SERVER_BLOCKS = [
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
    {"type": "redacted_thinking", "data": "x"},
]
FIELDS = ["type", "index", "delta", "content_block", "message", "content", "usage", "error", "id", "name", "input"]
nonsense = nonsense_of(FIELDS)
blocks = st.lists(
    st.one_of(
        st.builds(text_block, plain_text(30).filter(bool)),
        st.builds(thinking, plain_text(30).filter(bool)),
        st.builds(tool_use, st.sampled_from(["f", "g"]), st.dictionaries(plain_text(5), st.integers(), max_size=3)),
        st.sampled_from(SERVER_BLOCKS),
    ),
    max_size=6,
)


def facts(recording: Recording) -> Any:
    recording.end("completed", 1000)
    return (
        recording.response_id,
        recording.usage,
        [
            (
                choice.text.whole,
                choice.reasoning.whole,
                choice.finish_reason,
                choice.server_items,
                [(call.id, call.name, json.loads(call.arguments)) for call in choice.calls],
            )
            for choice in recording.choices
        ],
    )


@given(blocks, st.integers(1, 9), st.booleans(), st.sampled_from([MessageEvents, EitherEvents]))
def test_a_stream_says_what_the_whole_message_says(
    made: list[Any], size: int, stops: bool, reader: type[MessageEvents | EitherEvents]
) -> None:
    streamed, whole = Recording(), Recording()
    events = reader(streamed)
    for time, event in enumerate(event_values(*made, size=size)):
        # A block may stop without saying so, if its input came before.
        if stops or event["type"] != "content_block_stop" or not made[event["index"]].get("input", True):
            events.feed(event, time, time)
    reader(whole).read_response(message(*made), 1)
    assert facts(streamed) == facts(whole)


EVENTS = event_values(thinking("hm"), text_block("Sure."), tool_use("f", {"a": 1}))


@given(st.lists(st.one_of(nonsense, st.sampled_from(EVENTS).flatmap(lambda one: misplaced(one, leaves))), max_size=8))
def test_nonsense_raises_nothing(events: list[Any]) -> None:
    recording = Recording()
    reader = MessageEvents(recording)
    for time, event in enumerate(events):
        reader.feed(event, time, time)
    recording.end("completed", 100)


@given(nonsense)
def test_a_nonsense_message_raises_nothing(value: Any) -> None:
    recording = Recording()
    MessageEvents(recording).read_response(value, 1)
    MessageEvents(recording).read_response({"content": [value], "usage": value, "stop_reason": value}, 1)
    recording.end("completed", 2)


@given(
    st.dictionaries(
        st.sampled_from(
            ["model", "messages", "tools", "tool_choice", "system", "output_config", "mcp_servers", "stream"]
        ),
        st.one_of(nonsense, st.lists(nonsense, max_size=2)),
    )
)
def test_a_nonsense_request_raises_nothing(kwargs: dict[str, Any]) -> None:
    read_request(chat_arguments(kwargs), "messages")


def test_a_request() -> None:
    call = tool_use("f", {"a": 1}, call_id="toolu_1")
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
    asked = read_request(
        chat_arguments(
            {
                "model": "m",
                "stream": True,
                "system": "Be brief.",
                "tools": [
                    {"name": "f", "input_schema": {"type": "object", "required": ["a"]}},
                    {"type": "bash_20250124", "name": "bash"},
                    {"type": "web_search_20250305", "name": "web_search"},
                ],
                "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
                "messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": [text_block("ok"), call]},
                    {"role": "user", "content": [result, text_block("thanks")]},
                ],
            }
        ),
        "messages",
    )
    assert asked.tools is not None
    assert set(asked.tools) == {"f", "bash"}
    assert asked.has_server_tools
    assert asked.tool_choice.mode == "required"
    assert asked.parallel_tool_calls is False
    assert asked.turn is not None
    assert (asked.turn.results, asked.turn.tools, asked.turn.unanswered) == (("toolu_1",), (("toolu_1", "f"),), ())
    assert asked.said.holds("Be brief")
