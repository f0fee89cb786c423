"""A call whose name stands before its arguments, which hold the whole call once more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers.scanned import detect, rewrite, scan
from tests.helpers.written_calls import Call

SYNTAXES = {
    "harmony": "<|channel|>commentary to=functions.f <|constrain|>json<|message|>%s<|call|>",
    "harmony, in the role": "<|start|>assistant to=functions.f<|channel|>commentary json<|message|>%s<|call|>",
    "deepseek_v31": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>%s<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "kimi_k2": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>%s<|tool_call_end|>"
        "<|tool_calls_section_end|>"
    ),
    "mistral_v13": "[TOOL_CALLS]f[ARGS]%s",
}
REPEATED = [
    ('{"name": "f", "arguments": {"a": 1}}', {"a": 1}),
    (
        '{"name":"f","arguments":{"a":{"name":"f","arguments":{}}},"call_id":null}',
        {"a": {"name": "f", "arguments": {}}},
    ),
    ('{ "name" : "f" , "arguments" : {"a": 1}, "call_id": "c1" }', {"a": 1}),
    ('{"name": "f", "parameters": {"a": 1}}', {"a": 1}),
    ('{"name": "f", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
    ('{"name": "f", "arguments": {}}', {}),
    ('{"name": "f", "arguments": null}', {}),
]
ARGUMENTS: list[dict[str, Any]] = [
    {"name": "f"},
    {"name": "g", "arguments": {"a": 1}},
    {"name": "f", "a": 1},
    {"name": "f", "path": "x", "arguments": {"a": 1}},
    {"arguments": {"name": "f", "a": 1}},
    {"name": "f2", "arguments": {}},
    {"name": ["f"], "arguments": {}},
    {"name": "", "arguments": {}},
]


def tools(*parameters: str) -> list[Any]:
    schema = {"type": "object", "properties": {name: {} for name in parameters}}
    return [{"type": "function", "function": {"name": "f", "parameters": schema}}]


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
@pytest.mark.parametrize(("body", "arguments"), REPEATED)
def test_the_inner_arguments_are_those_of_the_call(syntax: str, body: str, arguments: dict[str, Any]) -> None:
    text = f"Hi {syntax % body}"
    for declared in (None, tools("a", "name")):
        for chunks in ([text], [*text]):
            assert detect(chunks, declared) == ("Hi ", [Call("f", arguments)])
            (call,) = scan(chunks, declared).calls
            assert call.complete
            assert call.understood
            output = rewrite(chunks, declared).removeprefix("Hi ")
            assert json.loads(output[output.index("{") : output.rindex("}") + 1]) == {
                "name": "f",
                "arguments": arguments,
            }


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_other_arguments_with_such_keys_are_kept(syntax: str, arguments: dict[str, Any]) -> None:
    text = syntax % json.dumps(arguments)
    for chunks in ([text], [*text]):
        assert detect(chunks) == ("", [Call("f", arguments)])


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_a_tool_that_has_such_a_parameter_gets_it(syntax: str) -> None:
    arguments = {"name": "f", "arguments": {"a": 1}}
    assert detect(syntax % json.dumps(arguments), tools("name", "arguments")) == ("", [Call("f", arguments)])


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_the_inner_arguments_come_as_they_stream(syntax: str) -> None:
    before, _, _ = (syntax % '{"name": "f", "arguments": {"a": "one two').partition("two")
    (call,) = scan([*before], None).calls
    assert (call.complete, call.arguments) == (False, '{"a": "one ')
