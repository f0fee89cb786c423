"""The last turn of the conversation that a request sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm.protocol.conversation import Turn, read_turn
from tests.helpers.nonsense import nonsense_of

USER = {"role": "user", "content": "Hi"}
PREFILL = {"role": "assistant", "content": "{"}
REFERENCE = {"type": "item_reference", "id": "msg_1"}


def makes(*ids: str) -> dict[str, Any]:
    calls = [{"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for call_id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def answers(call_id: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "done"}


def item(call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def output(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "done"}


@pytest.mark.parametrize(
    ("messages", "turn"),
    [
        ([], None),
        ([USER], None),
        ([USER, PREFILL], None),
        ([USER, makes("a"), answers("a"), PREFILL, USER], None),
        ([USER, makes("a"), answers("a")], Turn(("a",), tools=(("a", "f"),))),
        ([USER, makes("a"), answers("a"), PREFILL], Turn(("a",), tools=(("a", "f"),))),
        ([USER, makes("a"), answers("a"), USER], Turn(("a",), tools=(("a", "f"),))),
        ([USER, makes("a", "b"), answers("b"), answers("a")], Turn(("b", "a"), tools=(("a", "f"), ("b", "f")))),
        ([USER, makes("a", "b"), answers("b")], Turn(("b",), unanswered=("a",), tools=(("a", "f"), ("b", "f")))),
        ([USER, makes("a", "b")], Turn(unanswered=("a", "b"))),
        ([USER, answers("a")], Turn(("a",), without_call=("a",))),
        ([USER, makes("a"), answers(None)], Turn((), without_call=("",), unanswered=("a",), tools=(("a", "f"),))),
        ([makes("a"), answers("a"), answers("a")], Turn(("a",), repeated=("a",), tools=(("a", "f"),))),
        # Calls that share an id have a result each.
        ([makes("a", "a"), answers("a"), answers("a")], Turn(("a",), tools=(("a", "f"), ("a", "f")))),
        (
            [makes("a"), answers("a"), makes("b"), answers("a"), answers("b")],
            Turn(("a", "b"), earlier=("a",), repeated=("a",), tools=(("b", "f"),)),
        ),
        ([makes("a"), answers("a"), USER, makes("b"), answers("b")], Turn(("b",), tools=(("b", "f"),))),
    ],
)
def test_messages(messages: list[Any], turn: Turn | None) -> None:
    assert read_turn({"messages": messages}) == turn


def test_items_of_a_response_are_one_message() -> None:
    items = [USER, {"type": "reasoning"}, item("a"), item("b"), output("a"), output("b")]
    turn = read_turn({"input": items})
    assert turn is not None
    assert (turn.results, turn.unanswered, turn.without_call) == (("a", "b"), (), ())
    assert sorted(turn.tools) == [("a", "f"), ("b", "f")]


@pytest.mark.parametrize(
    "hidden",
    [
        {"input": [output("a")], "previous_response_id": "resp_1"},
        {"input": [USER, output("a")], "conversation": "conv_1"},
        {"input": [USER, REFERENCE, output("a")]},
        {"input": [REFERENCE, USER, item("b"), output("a"), output("b")]},
    ],
    ids=["previous-response", "conversation", "reference", "earlier-reference"],
)
def test_a_call_that_only_the_server_has_is_not_missing(hidden: dict[str, Any]) -> None:
    turn = read_turn(hidden)
    assert turn is not None
    assert "a" in turn.results
    assert turn.without_call == ()
    assert turn.previous_response == hidden.get("previous_response_id")


def test_a_request_that_sends_its_calls_itself_does_not_continue_a_response() -> None:
    turn = read_turn({"input": [item("a"), output("a")], "previous_response_id": "resp_1"})
    assert turn is not None
    assert turn.previous_response is None


def test_an_iterator_is_not_consumed() -> None:
    def messages() -> Iterator[Any]:
        yield makes("a")

    given_messages = messages()
    assert read_turn({"messages": given_messages}) is None
    assert list(given_messages) == [makes("a")]


def test_many_faults_are_not_all_named() -> None:
    turn = read_turn({"messages": [makes("a"), *(answers(str(number)) for number in range(1000))]})
    assert turn is not None
    assert len(turn.without_call) == 256


FIELDS = ("messages", "input", "role", "tool_calls", "tool_call_id", "id", "type", "call_id", "function", "name")
nonsense = nonsense_of(FIELDS)


@given(st.fixed_dictionaries({}, optional={name: st.lists(nonsense) | nonsense for name in ("messages", "input")}))
def test_no_conversation_raises(kwargs: dict[str, Any]) -> None:
    read_turn(kwargs)
