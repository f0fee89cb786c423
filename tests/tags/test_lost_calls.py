"""Calls that are written otherwise than their syntax wants, and calls that are streamed before their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from otel_llm.tags.declared import declared_tools
from otel_llm.tags.scanner import Scanner
from tests.helpers.scanned import CLOSING, cut_up, detect, rewrite, scan
from tests.helpers.written_calls import Call

BODY = '{"name": "f", "arguments": {"a": 1}}'
ONE = [Call("f", {"a": 1})]
KIMI = '<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>'
SECTION = f"<|tool_calls_section_begin|>{KIMI}<|tool_calls_section_end|>"
GLM = "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>"
Q = '<|"|>'


def read(text: str, tools: Sequence[str] | None = ("f", "g")) -> tuple[list[Call], str]:
    seen = scan(text, tools)
    for chunks in ([*text], cut_up(text, [2, 5, 11])):
        assert scan(chunks, tools) == seen
        assert rewrite(chunks, tools) == rewrite(text, tools)
    return [one.call for one in seen.calls if one.complete], seen.text


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<|START_ACTION|>", "<|END_ACTION|>"),
        ("<TOOLCALL>", "</TOOLCALL>"),
        ("[TOOL_CALLS]", ""),
        ("<|tool_call_start|>", "<|tool_call_end|>"),
        ("<function_call>", "</function_call>"),
        ("<longcat_tool_call>", "</longcat_tool_call>"),
        ("<|action_start|><|plugin|>", "<|action_end|>"),
        ("<|python_tag|>", "<|eom_id|>"),
        ("<|function_call|>", ""),
        ("<tool_call>", "</tool_call>"),
        ("<tool_calls>", "</tool_calls>"),
        ("<|tool_call|>", "<|/tool_call|>"),
        # In place of the family's own syntax.
        ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
        ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        ("<minimax:tool_call>", "</minimax:tool_call>"),
        ("<seed:tool_call>", "</seed:tool_call>"),
        ("<function_calls>", "</function_calls>"),
        ("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
        ("<|tool_call>", "<tool_call|>"),
        ("<|python_start|>", "<|python_end|>"),
        ("<|tools_prefix|>", "<|tools_suffix|>"),
    ],
)
def test_one_object_or_an_array_of_them(opening: str, closing: str) -> None:
    for body, count in ((BODY, 1), (f"[{BODY}]", 1), (f"[{BODY}, {BODY}]", 2), (f"\n{BODY}\n", 1)):
        for tools in (None, ["f"]):
            assert read(f"Well: {opening}{body}{closing}", tools) == (
                ONE * count,
                "Well: " + "\n" * (not closing and body[-1] == "\n"),
            )


@pytest.mark.parametrize("block", ["tool_calls", "function_calls"])
@pytest.mark.parametrize(("outer", "inner"), [("｜DSML｜", "|DSML|"), ("|DSML|", "｜DSML｜"), ("｜DSML｜", "||DSML||")])
def test_invokes_with_another_prefix_than_their_wrapper(block: str, outer: str, inner: str) -> None:
    one = f'<{inner}invoke name="f">\n<{inner}parameter name="a" string="true">x</{inner}parameter>\n</{inner}invoke>\n'
    assert read(f"Well: <{outer}{block}>\n{one}{one}</{outer}{block}>", ["f"]) == (
        [Call("f", {"a": "x"})] * 2,
        "Well: ",
    )


def test_an_object_in_place_of_an_array_must_come_to_its_end() -> None:
    for text in (f"<|START_ACTION|>{BODY[:-2]}", '<|START_ACTION|>{"name": "f", "arguments": {"a": "x<|END_ACTION|>'):
        assert read(text) == ([], text)


@pytest.mark.parametrize(
    ("text", "calls", "rest"),
    [
        # A name before the body.
        ('<tool_call>f\n{"a": 1}</tool_call>.', ONE, "."),
        ('<tool_call>f{"a": 1}</tool_call>\n<tool_call>f {"a": 1}</tool_call>', ONE * 2, "\n"),
        ('<tool_call>Sure: {"name": "f"}</tool_call>', [], '<tool_call>Sure: {"name": "f"}</tool_call>'),
        ('<tool_call>h {"a": 1}</tool_call>', [], '<tool_call>h {"a": 1}</tool_call>'),
        # No arguments.
        ("[TOOL_CALLS]f[ARGS]", [Call("f", {})], ""),
        ("[TOOL_CALLS]f[ARGS]</s>", [Call("f", {})], "</s>"),
        ('[TOOL_CALLS]f[ARGS][TOOL_CALLS]f[ARGS]{"a": 1}', [Call("f", {}), *ONE], ""),
        ("[TOOL_CALLS]f[ARGS] and so on", [], "[TOOL_CALLS]f[ARGS] and so on"),
        # Inkling without a name before the body.
        ('<|content_invoke_tool_json|>{"name":"f","args":{"a":1}}<|end_message|>.', ONE, "."),
        (
            '<|content_invoke_tool_json|>{"name":"h","args":{}}<|end_message|>',
            [],
            '<|content_invoke_tool_json|>{"name":"h","args":{}}<|end_message|>',
        ),
        # A fence within a line.
        ("Sure: ```tool_code\nf(a=1)\n``` Done.", ONE, "Sure:  Done."),
        ("Sure: ```tool_code f(a=1)``` Done.", ONE, "Sure:  Done."),
        (f"Sure: ```tool_code {BODY}```", ONE, "Sure: "),
        ("Say ```tool_code x``` now", [], "Say ```tool_code x``` now"),
        ("Say ```tool_codes f(a=1)``` now", [], "Say ```tool_codes f(a=1)``` now"),
    ],
)
def test_calls_beside_their_syntax(text: str, calls: list[Call], rest: str) -> None:
    assert read(text) == (calls, rest)


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        (f"{{a:{Q}x{Q},b:2}}", {"a": "x", "b": 2}),
        ('{a:"raw \\"q\\"",b:"é\\n"}', {"a": 'raw "q"', "b": "é\n"}),
        (f'{{"a b": 1,{Q}c:d{Q}:null,key with space:1.5e-05}}', {"a b": 1, "c:d": None, "key with space": 1.5e-05}),
        (f'{{o:{{A key:{{l:[[{{n:{Q}}}{Q}, "t":"]"}}]]}}}}}}', {"o": {"A key": {"l": [[{"n": "}", "t": "]"}]]}}}),
        ("{a:Buenos Aires, b:12:30,c:true}", {"a": "Buenos Aires", "b": "12:30", "c": True}),
        ("{}", {}),
    ],
)
def test_arguments_of_gemma(body: str, arguments: dict[str, Any]) -> None:
    assert read(f"<|tool_call>call:f{body}<tool_call|>.") == ([Call("f", arguments)], ".")
    several = f"<|tool_call>call:f{body}call:g{body}\ncall:f{{}}<tool_call|>."
    assert read(several) == ([Call("f", arguments), Call("g", arguments), Call("f", {})], ".")


def test_calls_end_thoughts_that_are_never_closed() -> None:
    for calls in (SECTION, KIMI, f"{SECTION}\n", GLM, '<tool_call>f {"a": 1}</tool_call>'):
        found, shown = read(f"<think>I call {calls}")
        assert (found, shown.strip()) == (ONE, "<think>I call")
        for behind in ("</think>", "</think>No.", " perhaps", " or not.</think>"):
            text = f"<think>I call {calls}{behind}"
            assert read(text) == ([], text)
    assert read(f"<think>{GLM}\n{GLM}")[0] == ONE * 2
    assert read(f"<think>{SECTION}, no: {SECTION}")[0] == ONE
    for text in (
        f"<think>I call <tool_call>{BODY}</tool_call>",
        "<think>a <tool_call>f or so",
        "<think><|tool_call_begin|>",
    ):
        assert read(text) == ([], text)


# -- early --

LONG = "word and word, " * 20


@pytest.mark.parametrize(
    "text",
    [
        f'<|tool_call_start|>[f(a="{LONG}", b=1)]<|tool_call_end|>',
        f"<function_calls>\nf(a='''{LONG}''', b=1)\n</function_calls>",
        f'<|python_start|>[f(a="{LONG[:150]}" "{LONG[150:]}", b=1)]<|python_end|>',
        f"<|tool_call>call:f{{a:{Q}{LONG}{Q},b:1}}<tool_call|>",
        f"<start_function_call>call:f{{a:<escape>{LONG}<escape>,b:1}}<end_function_call>",
    ],
)
def test_a_string_is_emitted_while_it_comes(text: str) -> None:
    assert read(text) == ([Call("f", {"a": LONG, "b": 1})], "")
    scanner, said = Scanner(declared_tools(["f"])), ""
    for place, char in enumerate(text):
        said += "".join(piece.text for piece in scanner.feed(char) if piece.kind == "arguments")
        if text.index("word") + 50 < place < text.index("word") + 150:
            assert said == f'{{"a": "{text[text.index("word") : place + 1]}'


@pytest.mark.parametrize(
    ("opening", "equals", "closing"), [("<|tool_call_start|>[f(", "=", ")]"), ("<|tool_call>call:f{", ":", "}")]
)
def test_each_argument_is_emitted_when_it_is_whole(opening: str, equals: str, closing: str) -> None:
    scanner = Scanner()
    said = [
        "".join(piece.text for piece in scanner.feed(text) if piece.kind == "arguments")
        for text in (f"{opening}a{equals}12", ",", f" b{equals}[1, [2]]", f",c{equals}true", closing)
    ]
    assert said == ["", '{"a": 12', ', "b": [1, [2]]', ', "c": ', "true}"]


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('<|tool_call_start|>[f(a="x", b=y)]<|tool_call_end|>.', '{"a": "x", "b": y'),
        ("<|tool_call_start|>[f(a=1, a=2)]<|tool_call_end|>.", '{"a": 1a=2'),
        (f'<|tool_call_start|>[f(a="{LONG}" + 1)]<|tool_call_end|>.', f'{{"a": "{LONG}"+ 1'),
        ("<|tool_call>call:f{a:1,b:}<tool_call|>.", '{"a": 1, "b": }'),
        ("<|tool_call>call:f{a:1,b:[1}}<tool_call|>.", '{"a": 1, "b": [1}}'),
    ],
)
def test_what_cannot_be_read_later_on_is_no_json(text: str, arguments: str) -> None:
    seen = scan(text)
    assert scan([*text]) == scan(cut_up(text, [4, 7])) == seen
    assert [(one.name, one.arguments, one.complete, one.understood) for one in seen.calls] == [
        ("f", arguments, True, False)
    ]
    assert seen.text == "."
    assert rewrite([*text]) == rewrite(text)


@pytest.mark.parametrize(
    "text",
    [
        '<|tool_call_start|>[f(a="x" + y)]<|tool_call_end|>',
        '<|tool_call_start|>[f(a="x"]<|tool_call_end|>',
        "<|tool_call_start|>[f(a=b)]<|tool_call_end|>",
        "<|tool_call_start|>[f(1)]<|tool_call_end|>",
        "<|tool_call>call:f{a:}<tool_call|>",
        "<|tool_call>call:f{a:1<tool_call|>",
        f"<|tool_call>call:f{{a:{Q}x",
    ],
)
def test_what_cannot_be_read_at_first_is_text(text: str) -> None:
    assert read(text) == ([], text)


# -- parts of closing markers --


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>{BODY}</tool_call>",
        f"<|START_ACTION|>[{BODY}]<|END_ACTION|>",
        '<tool_call>f {"a": 1}</tool_call>',
        SECTION,
        "<|tool_call_start|>[f(a=1)]<|tool_call_end|>",
        "<|tool_call>call:f{a:1}<tool_call|>",
        f"<function_call>{BODY[:-1]}</function_call>",
    ],
)
def test_a_closing_marker_that_is_cut_is_dropped(text: str) -> None:
    last = max(text.rindex("<"), text.rindex("]") if text.endswith("]") else 0)
    for end in range(last, len(text)):
        seen = scan(text[:end], ["f"])
        assert scan([*text[:end]], ["f"]) == seen
        assert seen.text == ""
        assert [one.name for one in seen.calls] == ["f"]
        assert "<" not in rewrite(text[:end], ["f"])[1:].removesuffix(CLOSING)
        assert detect(text[:end], ["f"])[0] == ""
