"""Calls in the shape of the API, and tools named with a namespace, in fences and without any marker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers.scanned import scan

CALL = {"name": "f", "arguments": {"a": "1"}}
ENCODED = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "1"}'}}
ONE = [("f", {"a": "1"})]


def check(text: str, calls: list[tuple[str, dict[str, Any]]], rest: str = "", tools: Any = ("f", "g")) -> None:
    """The calls, and the text besides them, in any cut in two and character by character."""
    whole = scan(text, tools)
    assert [(call.name, json.loads(call.arguments or "{}")) for call in whole.calls] == calls
    assert whole.text.strip() == rest
    for place in range(len(text)):
        assert scan([text[:place], text[place:]], tools) == whole
    assert scan([*text], tools) == whole


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ({"tool_calls": [CALL]}, 1),
        ({"tool_calls": [CALL, ENCODED]}, 2),
        (ENCODED, 1),
        ({"type": "function", "function": CALL}, 1),
        ({"function": CALL}, 1),
        ([ENCODED, CALL], 2),
        ({"type": "function", **CALL}, 1),
    ],
)
def test_shapes_of_the_api(value: Any, count: int) -> None:
    text = json.dumps(value)
    check(f"Now:\n{text}\nDone.", ONE * count, "Now:\n\nDone.")
    check(f"```json\n{text}\n```", ONE * count)
    for whole in (json.dumps(value, indent=2), f"```tool_call\n{text}\n```"):
        assert len(scan(whole, ["f"]).calls) == count
        assert scan(whole, ["another"]).text == whole


@pytest.mark.parametrize(
    "value",
    [
        {"tool_calls": []},
        {"tool_calls": [CALL, {"a": 1}]},
        {"tool_calls": CALL},
        {"tool_calls": [CALL], "content": "Hi"},
        {"function": CALL, "result": 1},
        {"function": {"function": CALL}},
        # A tool is declared, not called.
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}},
        {"type": "function", "function": {"name": "f", "description": "F.", "parameters": {"type": "object"}}},
    ],
)
def test_other_data(value: Any) -> None:
    text = json.dumps(value)
    check(text, [], text)
    check(f"```json\n{text}\n```", [], f"```json\n{text}\n```")


@pytest.mark.parametrize(
    "written",
    [
        '<tool_call>{"name": "NAME", "arguments": {"a": "1"}}</tool_call>',
        '{"name": "NAME", "arguments": {"a": "1"}}',
        '```json\n{"name": "NAME", "arguments": {"a": "1"}}\n```',
        '[NAME(a="1")]',
        '```tool_code\nprint(NAME(a="1"))\n```',
        '<function=NAME>{"a": "1"}</function>',
        "<tool_call><function=NAME><parameter=a>1</parameter></function></tool_call>",
        "<tool_call>NAME\n<arg_key>a</arg_key>\n<arg_value>1</arg_value></tool_call>",
        '[TOOL_CALLS]NAME[ARGS]{"a": "1"}',
        (
            ']<]minimax[>[<tool_call>]<]minimax[>[<invoke name="NAME">]<]minimax[>[<a>1]<]minimax[>[</a>'
            "]<]minimax[>[</invoke>]<]minimax[>[</tool_call>"
        ),
    ],
)
def test_a_namespace_before_the_name(written: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    for name, declared in (("functions.f", "f"), ("default_api.f", "f"), ("functions.f", "functions.f")):
        tools = [{"type": "function", "function": {"name": declared, "parameters": schema}}]
        check(written.replace("NAME", name), [(declared, {"a": "1"})], tools=tools)


def test_a_namespace_where_the_tools_are_not_known() -> None:
    check('<tool_call>{"name": "functions.f", "arguments": {"a": "1"}}</tool_call>', ONE, tools=None)
    text = '<tool_call>{"name": "other.f", "arguments": {"a": "1"}}</tool_call>'
    check(text, [("other.f", {"a": "1"})], tools=None)
    check(text, [("other.f", {"a": "1"})])
