"""Bedrock's Converse API, read without its SDK: cuts, hostile events, whole answers beside streamed ones, usage."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.demo.scripted_converse import converse_events, event_values, reasoning, response, text_block, tool_use
from otel_llm.protocol.converse_request import chat_arguments
from otel_llm.protocol.dialects import EitherEvents, reader_of
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.event_stream import MessageReader
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import read_request
from tests.helpers.nonsense import leaves, misplaced, nonsense_of

BLOCKS = (reasoning("Let me see."), text_block("Sure. "), tool_use("add_task", {"title": "Müsli 🥣"}))


def recorded(events: list[Any], *, whole: Any = None) -> Recording:
    recording = Recording()
    reader = reader_of("converse", recording)
    if whole is None:
        for number, event in enumerate(events):
            reader.feed(event, number, number + 1)
    else:
        reader.read_response(whole, 1)
    recording.end("completed", 99)
    return recording


def story(recording: Recording) -> Any:
    (choice,) = recording.choices
    calls = [(call.name, call.id, json.loads(call.arguments)) for call in choice.calls]
    return choice.text.whole, choice.reasoning.whole, calls, choice.finish_reason


@given(st.integers(1, 9))
@settings(max_examples=9)
def test_cut_anywhere_it_says_what_the_whole_says(size: int) -> None:
    streamed = recorded(event_values(*BLOCKS, size=size))
    assert story(streamed) == story(recorded([], whole=response(*BLOCKS)))
    assert streamed.calls[0].index == 2


def test_the_first_event_tells_the_api() -> None:
    recording = Recording()
    either = EitherEvents(recording)
    for event in event_values(*BLOCKS):
        either.feed(event, 1, 2)
    recording.end("completed", 3)
    assert story(recording) == story(recorded(event_values(*BLOCKS)))
    again = Recording()
    EitherEvents(again).read_response(response(*BLOCKS), 1)
    again.end("completed", 3)
    assert story(again) == story(recording)


EVENTS = event_values(*BLOCKS)
nonsense = nonsense_of(
    [
        *(
            "delta",
            "start",
            "toolUse",
            "toolUseId",
            "name",
            "text",
            "input",
            "contentBlockIndex",
            "usage",
            "stopReason",
        ),
        *("content", "role", "toolResult", "image", "source", "output", "message", "throttlingException"),
    ]
)


@given(st.lists(st.one_of(nonsense, st.sampled_from(EVENTS).flatmap(lambda one: misplaced(one, leaves))), max_size=8))
@settings(max_examples=50)
def test_nonsense_raises_nothing(events: list[Any]) -> None:
    recorded(events)


@given(nonsense)
@settings(max_examples=50)
def test_a_nonsense_response_raises_nothing(value: Any) -> None:
    recorded([], whole=value)
    message = {"content": [value, {"toolUse": value}]}
    recorded([], whole={"output": {"message": message}, "stopReason": value, "usage": value, "trace": value})


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("modelId", "messages", "system", "toolConfig", "inferenceConfig", "outputConfig", "guardrailConfig"),
                *("additionalModelRequestFields", "stream"),
            ]
        ),
        st.one_of(nonsense, st.lists(nonsense, max_size=2)),
    )
)
@settings(max_examples=50)
def test_a_nonsense_request_raises_nothing(kwargs: dict[str, Any]) -> None:
    read_request(chat_arguments(kwargs), "converse")


@given(st.binary(max_size=200), st.integers(0, 400))
@settings(max_examples=40)
def test_bytes_that_are_no_message(hostile: bytes, place: int) -> None:
    stream = b"".join(converse_events(*BLOCKS))
    with suppress(UnreadableError):
        list(MessageReader().feed(stream[:place] + hostile + stream[place:]))


def test_a_lot_of_hostile_events_is_bounded() -> None:
    many = [
        {"contentBlockStart": {"start": {"toolUse": {"name": "f", "type": "server_tool_use"}}, "contentBlockIndex": n}}
        for n in range(5000)
    ]
    recording = recorded([*many, *event_values(*BLOCKS)])
    assert len(recording.calls) <= recording.limits.calls


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, 3),
        # The documented sum, and one that counts the cached tokens among the input.
        ({"inputTokens": 3, "outputTokens": 4, "totalTokens": 107, "cacheReadInputTokens": 100}, 103),
        ({"inputTokens": 103, "outputTokens": 4, "totalTokens": 107, "cacheReadInputTokens": 100}, 103),
        ({"inputTokens": 3, "outputTokens": 4, "cacheWriteInputTokens": 10}, 13),
        ({"inputTokens": None, "outputTokens": 4}, None),
    ],
)
def test_usage(usage: Any, tokens: int | None) -> None:
    assert recorded(event_values(text_block("x"), usage=usage)).usage["prompt_tokens"] == tokens


def test_the_model_that_a_router_chose() -> None:
    trace = {"promptRouter": {"invokedModelId": "arn:aws:bedrock:us-east-1::foundation-model/m"}}
    for recording in (
        recorded(event_values(text_block("x"), trace=trace)),
        recorded([], whole=response(text_block("x"), trace=trace)),
    ):
        assert recording.response_model == "arn:aws:bedrock:us-east-1::foundation-model/m"


def test_an_exception_as_an_event() -> None:
    failure = recorded([{"modelStreamErrorException": {"message": "lost"}}]).failure
    assert failure is not None
    assert (failure.type, failure.message) == ("modelStreamErrorException", "lost")


def test_iterators_are_not_read() -> None:
    messages, tools = iter([{"role": "user"}]), iter([{"toolSpec": {"name": "f"}}])
    request = read_request(chat_arguments({"messages": messages, "toolConfig": {"tools": tools}}), "converse")
    assert request.tools is None
    assert (len(list(messages)), len(list(tools))) == (1, 1)
