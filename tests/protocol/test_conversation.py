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


# Items of the Responses API -----------------------------------------------------------------------------------

SAID: dict[str, Any] = {"role": "assistant", "type": "message", "content": [{"type": "output_text", "text": "So."}]}
X_SEARCH = {"type": "custom_tool_call", "call_id": "x", "name": "x_search", "input": "{}", "status": "completed"}
CONTAINER = {"type": "container_reference", "container_id": "c"}
TOOL_SEARCH = {"type": "tool_search_call", "call_id": "a", "execution": "client", "arguments": {}}
FOUND_BY_SERVER: dict[str, Any] = {"type": "tool_search_output", "call_id": None, "execution": "server", "tools": []}
BY_SERVER: dict[str, Any] = {"type": "tool_search_call", "call_id": None, "execution": "server", "arguments": {}}
KINDS = {
    "computer_call": "computer",
    "local_shell_call": "local_shell",
    "shell_call": "shell",
    "apply_patch_call": "apply_patch",
}


def faults(turn: Turn | None) -> tuple[Any, ...]:
    return () if turn is None else (turn.unanswered, turn.without_call, turn.repeated)


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_a_call_of_a_tool_of_the_api(kind: str, name: str) -> None:
    call, answer = {"type": kind, "call_id": "a"}, {"type": f"{kind}_output", "call_id": "a", "output": "done"}
    assert read_turn({"input": [USER, call, answer]}) == Turn(("a",), tools=(("a", name),))
    assert faults(read_turn({"input": [USER, call]})) == (("a",), (), ())
    assert faults(read_turn({"input": [USER, answer]})) == ((), ("a",), ())
    assert faults(read_turn({"input": [USER, call, answer, answer]})) == ((), (), ("a",))


@pytest.mark.parametrize("named", [{"id": "a"}, {"id": "lsh_1"}, {"id": "other", "call_id": "a"}])
def test_the_result_of_a_local_shell_names_its_call_or_the_item(named: dict[str, str]) -> None:
    call = {"type": "local_shell_call", "id": "lsh_1", "call_id": "a"}
    answer = {"type": "local_shell_call_output", "output": "done", **named}
    assert read_turn({"input": [USER, call, answer]}) == Turn(("a",), tools=(("a", "local_shell"),))
    other = {"type": "local_shell_call", "id": "lsh_2", "call_id": "b"}
    assert faults(read_turn({"input": [USER, call, other, answer]})) == (("b",), (), ())
    assert faults(read_turn({"input": [USER, call, answer, answer]})) == ((), (), ("a",))
    assert faults(read_turn({"input": [USER, other, answer]})) == (("b",), (named.get("call_id") or named["id"],), ())
    hidden = read_turn({"input": [answer], "previous_response_id": "resp_1"})
    assert hidden is not None
    assert hidden.by_item == (() if "call_id" in named else (named["id"],))


@pytest.mark.parametrize("kind", ["tool_search_output", "function_call_output"])
def test_the_result_of_a_search_for_tools(kind: str) -> None:
    answer = {"type": kind, "call_id": "a", "tools": [], "output": "[]"}
    assert read_turn({"input": [USER, TOOL_SEARCH, answer]}) == Turn(("a",), tools=(("a", "tool_search"),))
    assert faults(read_turn({"input": [TOOL_SEARCH, answer, item("b"), output("a"), output("b")]})) == ((), (), ("a",))


@pytest.mark.parametrize(
    ("items", "tools", "has_server_tools"),
    [
        pytest.param([USER, X_SEARCH], {"f"}, True, id="it-has-others-of-the-server"),
        pytest.param([X_SEARCH, item("a"), output("a")], {"f"}, True, id="beside-a-call-of-the-application"),
        pytest.param([X_SEARCH, SAID, USER], set(), True, id="in-an-earlier-turn"),
        pytest.param([USER, X_SEARCH, SAID, item("a"), output("a")], {"f"}, False, id="the-model-went-on"),
        pytest.param([USER, X_SEARCH, SAID], set(), False, id="no-tools-now"),
        pytest.param([USER, BY_SERVER, FOUND_BY_SERVER, item("a"), output("a")], {"f"}, False, id="tool-search"),
        pytest.param(
            [USER, {"type": "shell_call", "call_id": "s", "environment": CONTAINER}], {"f"}, False, id="a-container"
        ),
        pytest.param([USER, {"type": "shell_call", "call_id": "s"}], {"f"}, True, id="a-shell-of-the-server"),
        pytest.param(
            [USER, item("a"), {"type": "mcp_list_tools", "id": "m"}, item("b"), output("a"), output("b")],
            {"f"},
            True,
            id="among-the-calls",
        ),
    ],
)
def test_what_the_server_ran_needs_no_result(items: list[Any], tools: set[str], has_server_tools: bool) -> None:
    assert not any(faults(read_turn({"input": items}, tools, has_server_tools=has_server_tools)))


@pytest.mark.parametrize(
    ("items", "tools", "has_server_tools"),
    [
        pytest.param([USER, X_SEARCH], {"x_search"}, True, id="declared"),
        pytest.param([USER, X_SEARCH, SAID], {"x_search"}, False, id="declared-and-the-model-went-on"),
        pytest.param([USER, X_SEARCH], {"f"}, False, id="no-tools-of-the-server"),
        pytest.param([USER, X_SEARCH], None, True, id="nobody-knows-the-tools"),
    ],
)
def test_a_custom_tool_call_without_a_result(items: list[Any], tools: set[str] | None, has_server_tools: bool) -> None:
    assert faults(read_turn({"input": items}, tools, has_server_tools=has_server_tools)) == (("x",), (), ())
