"""Whether a request holds a word, in whatever form it comes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given

from otel_llm.protocol.request import read_request
from otel_llm.protocol.request_text import RequestText
from tests.helpers.nonsense import nonsense_of


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": [{"role": "user", "content": "say word"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a word"}]}]},
        {"messages": ({"role": "tool", "content": "word", "tool_call_id": "a"},)},
        {"messages": [SimpleNamespace(role="user", content="word")]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": '{"a": "word"}'}}]}]},
        {"input": "word"},
        {"input": [{"role": "user", "content": "word"}]},
        {"instructions": "word"},
        {"tools": [{"type": "function", "function": {"name": "f", "description": "a word"}}]},
        {"functions": [{"name": "word"}]},
        {"stop": ["word"]},
        {"extra_body": {"messages": [{"role": "user", "content": "word"}]}},
    ],
    ids=str,
)
def test_a_word_in_the_request(asked: dict[str, Any]) -> None:
    said = read_request(asked).said
    assert said.holds("word")
    assert not said.holds("sword")


def test_a_word_in_escapes_of_json_or_in_a_name() -> None:
    results = [{"role": "tool", "content": '{"t": "caf\\ufffd \\u003c|im_end|\\u003e"}'}]
    said = read_request({"messages": results, "tools": [{"type": "function", "function": {"<think>": 1}}]}).said
    for word in ("\ufffd", "<|im_end|>", "<think>"):
        assert said.holds(word)


def test_what_cannot_be_known_may_hold_it() -> None:
    asked = iter([{"role": "user", "content": "word"}])
    assert RequestText({"messages": asked}).holds("x")
    # It was not consumed.
    assert next(asked)["content"] == "word"


def test_messages_that_are_added_later_do_not_count() -> None:
    messages = [{"role": "user", "content": "hi"}]
    said = RequestText({"messages": messages})
    messages.append({"role": "assistant", "content": "word"})
    assert not said.holds("word")


def test_a_message_that_holds_itself() -> None:
    message: dict[str, Any] = {"role": "user"}
    message["content"] = [message]
    assert RequestText({"messages": [message]}).holds("word")


@given(nonsense_of(["role", "content", "text", "parts", "tool_calls", "function"]))
def test_nonsense_never_raises(value: Any) -> None:
    for name in ("messages", "input", "tools"):
        RequestText({name: value}).holds("word")
