"""Headers of messages: one to a tool is a call, and one to the user is an answer, whatever stands in it."""

from __future__ import annotations

import pytest

from tests.helpers.scanned import cut_up, rewrite, scan
from tests.helpers.written_calls import Call

BODY = '{"name": "f", "arguments": {"a": 1}}'
ATEM = (
    '<atem:function_calls>\n<atem:invoke name="{}">\n<atem:parameter name="a">1</atem:parameter>\n</atem:invoke>\n'
    "</atem:function_calls>"
)
QUOTED = ATEM.format("f")


def calls_in(text: str, tools: list[str] | None) -> list[Call]:
    seen = scan(text, tools)
    for chunks in ([*text], cut_up(text, [3, 7])):
        assert scan(chunks, tools) == seen
        assert rewrite(chunks, tools) == rewrite(text, tools)
    if not seen.calls:
        assert seen.text == text
    return [one.call for one in seen.calls]


@pytest.mark.parametrize("tools", [None, ["f"]])
@pytest.mark.parametrize(
    "text",
    [
        f"<|channel|>final<|message|>{BODY}",
        f"<|channel|>final <|constrain|>json<|message|>{BODY}<|return|>",
        f"<|channel|>final json<|message|>[{BODY}]",
        f"<|start|>assistant<|channel|>final<|message|>Write this:\n{BODY}\n<|end|>",
        f"<|channel|>final<|message|><tool_call>{BODY}</tool_call>",
        f"<|channel|>commentary<|message|>I will write {BODY} then.<|end|>",
        f"<|start|>assistant to=user<|message|>Like this:\n{QUOTED}<|eot|>",
        f"<|start|>assistant to=user<|message|>{QUOTED} is how.",
        f" to=user<|message|>So: {QUOTED}<|eot|>",
        f" to=user<|message|>{BODY}",
        ' to=user<|message|>{"a": 1}',
        f" to=user<|message|>one\n<|start|>assistant to=f<|message|>{QUOTED}",
        ' to=self<|message|>{"a": 1}',
        '<|start|>assistant to=user<|channel|>final<|message|>{"a": 1}',
    ],
)
def test_a_message_to_the_user_holds_no_calls(text: str, tools: list[str] | None) -> None:
    assert calls_in(text, tools) == []


@pytest.mark.parametrize("tools", [None, ["f"]])
@pytest.mark.parametrize(
    "text",
    [
        ' to=functions.f<|channel|>analysis<|message|>{"a": 1}',
        ' to=functions.f<|channel|>commentary <|constrain|>json<|message|>{"a": 1}<|call|>',
        ' to=f<|channel|>analysis <|constrain|>json<|message|>{"a": 1}',
        '<|start|>assistant to=functions.f<|channel|>analysis<|message|>{"a": 1}<|call|>',
        '<|start|>assistant to=functions.f<|channel|>analysis<|constrain|>json<|message|>{"a": 1}',
        '<|start|>assistant<|channel|>final to=functions.f json<|message|>{"a": 1}',
        '<|channel|>analysis to=functions.f code<|message|>{"a": 1}<|call|>',
        f"<|start|>assistant to=f.f<|message|>{ATEM.format('f.f')}<|eom|>",
        f" to=f<|message|>{ATEM.format('f.f')}<|eot|>",
        f"<|channel|>final<|message|>Hello<|end|>\n{BODY}",
        '<|channel|>final<|message|>Hello<|start|>assistant to=functions.f<|message|>{"a": 1}<|call|>',
        f" to=user<|message|>I look.<|eom|><|start|>assistant to=f<|message|>{QUOTED}<|eom|>",
    ],
)
def test_a_message_to_a_tool_is_a_call(text: str, tools: list[str] | None) -> None:
    assert calls_in(text, tools) == [Call("f", {"a": 1})]


@pytest.mark.parametrize("header", ["<|start|>assistant to=user<|message|>", " to=user<|message|>"])
@pytest.mark.parametrize("end", ["", "\n", "<|eot|>", "\n<|eom|>"])
def test_calls_of_declared_tools_may_be_the_whole_of_a_message_to_the_user(header: str, end: str) -> None:
    text = header + QUOTED + end
    assert calls_in(text, ["f"]) == [Call("f", {"a": 1})]
    assert calls_in(header + QUOTED + "\nDone." + end, ["f"]) == []
    assert calls_in(text, ["g"]) == []
    assert calls_in(text, None) == []


def test_names_that_are_not_doubled_stay() -> None:
    for name in ("f.g", "f", "f.f.f", "a.b.a.b"):
        wanted = "a.b" if name == "a.b.a.b" else name
        assert calls_in(f" to={name}<|message|>{ATEM.format(name)}<|eot|>", None) == [Call(wanted, {"a": 1})]
