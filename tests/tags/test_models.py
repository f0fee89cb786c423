"""Text that models write around their calls, in place of them and in the middle of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_llm.tags import IncrementalToolDetector, ToolCallTagRewriter, UnifiedStreamProcessor
from tests.helpers.scanned import detect
from tests.helpers.streams import call, calls, ends, says, sdk_chunk, tool
from tests.helpers.written_calls import Call

TOOLS = [tool("f", "a")]
CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
REWRITTEN = '<o>{"name": "f", "arguments": {"a": 1}}</c>'


def rewritten(text: str) -> str:
    """The rewritten text; it is the same if the text comes character by character."""
    rewriter = ToolCallTagRewriter("o,c", tools=TOOLS)
    stream = rewriter.stream()
    whole = rewriter.rewrite_text(text)
    assert "".join(map(stream.feed, text)) + stream.flush() == whole
    return whole


def deltas_of(chunks: list[Any]) -> dict[int, tuple[str, str]]:
    found: dict[int, tuple[str, str]] = {}
    for chunk in UnifiedStreamProcessor("m", tool_call_tags="openai").process_stream(chunks, tools=TOOLS):
        for delta in chunk.choices[0].delta.tool_calls or ():
            name, arguments = found.get(delta.index, ("", ""))
            found[delta.index] = (name + (delta.function.name or ""), arguments + (delta.function.arguments or ""))
    return found


# -- code --


@pytest.mark.parametrize(
    "code",
    [
        "```bash\nls\n```",
        "1. first\n   ```bash\n   ls\n   ```",
        "- ```\n  x\n  ```",
        "> ```python\n> x\n> ```",
        "~~~\nx\n~~~",
        "````\n```\nx\n````",
        "three ticks ``` in prose",
        "a `code span` and a stray ` tick",
    ],
)
def test_a_call_behind_code_is_a_call(code: str) -> None:
    assert rewritten(f"{code}\n{CALL}") == f"{code}\n{REWRITTEN}"


@pytest.mark.parametrize(
    "code", ["```\n{}\n```", "  ```xml\n  {}\n  ```", "> ```\n> {}\n> ```", "~~~\n{}\n~~~", "`{}`", "``{}``"]
)
def test_a_call_in_code_is_text(code: str) -> None:
    text = code.format(CALL) + "\nbye"
    assert rewritten(text) == text


@pytest.mark.parametrize("inside", ["f(a=1,", "f(a=g(1))", "f(a", "import os", ""])
def test_a_tool_code_fence_without_a_call_is_text(inside: str) -> None:
    text = f"```tool_code\n{inside}\n```\nbye"
    assert rewritten(text) == text
    detector = IncrementalToolDetector("m", tools=TOOLS)
    assert detector.process_chunk(text)[0] + ((detector.finalize() and "") or detector.text_left) == text


@pytest.mark.parametrize("inside", ["print(f(a=1))", "# the sum\nf(a=1)", "# one\n# two\nprint(f(a=1))"])
def test_a_tool_code_fence_is_a_program(inside: str) -> None:
    assert rewritten(f"Ok.\n```tool_code\n{inside}\n```\n") == f"Ok.\n{REWRITTEN}\n"


# -- reasoning --


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<think>", "</think>"),
        ("<|channel|>analysis<|message|>", "<|end|>"),
        ("<|start|>assistant<|channel|>analysis<|message|>", "<|end|>"),
        ("<|end|><|start|>assistant<|channel|>analysis<|message|>", "<|end|>"),
    ],
)
def test_a_call_in_reasoning_is_text(opening: str, closing: str) -> None:
    thought = f'{opening}Maybe {CALL} or\n{{"name": "f", "arguments": {{"a": 1}}}}{closing}'
    assert rewritten(f"{thought}{CALL}") == f"{thought}{REWRITTEN}"


@pytest.mark.parametrize(
    "header",
    [
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
        "<|start|>assistant to=functions.f<|channel|>commentary<|constrain|>json<|message|>",
        "<|start|>assistant to=functions.f<|channel|>commentary<|message|>",
        "<|start|>assistant to=functions.f<|channel|>analysis json<|message|>",
    ],
)
def test_headers_of_harmony(header: str) -> None:
    assert rewritten(f'{header}{{"a": 1}}<|call|>') == REWRITTEN


# -- bodies --


@pytest.mark.parametrize(
    "body",
    [
        '{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}',
        '{"tool_name": "f", "parameters": {"a": 1}}',
        '{"function": "f", "args": {"a": 1}}',
    ],
)
def test_objects_of_other_shapes_are_calls(body: str) -> None:
    text = f"<tool_call>{body}</tool_call>"
    assert rewritten(text) == REWRITTEN
    assert deltas_of([sdk_chunk(says(text)), sdk_chunk(ends("stop"))]) == {0: ("f", '{"a": 1}')}


def test_two_objects_between_one_pair_of_tags() -> None:
    body = '{"name": "f", "arguments": {"a": 1}}'
    assert rewritten(f"<tool_call>\n{body}\n{body}\n</tool_call>") == REWRITTEN * 2


WHOLE = '<tool_call>{"name": "f", "arguments": {"a": "rm -rf /tmp/x"}}</tool_call>'
ENCODED = '<tool_call>{"name": "f", "arguments": "{\\"a\\": \\"rm -rf /tmp/x\\"}"}</tool_call>'


@pytest.mark.parametrize("text", [WHOLE, ENCODED], ids=["object", "encoded"])
def test_arguments_that_were_cut_off_are_never_complete(text: str) -> None:
    """A truncated call must never be executed."""
    said = '{"a": "rm -rf /tmp/x"}'
    for end in range(len("<tool_call>"), text.index("}")):
        found = deltas_of([sdk_chunk(says(text[:end])), sdk_chunk(ends("length"))])
        for name, arguments in found.values():
            assert name == "f"
            assert said.startswith(arguments)
            assert arguments != said


def test_a_body_that_the_repair_fails_on() -> None:
    text = '[TOOL_CALLS][{"name":{"```json\n'
    detector = IncrementalToolDetector("m")
    assert detector.process_chunk(text)[1] + detector.finalize() == []


# -- with calls of the server --


def test_indexes_of_calls_in_text_and_of_calls_of_the_server() -> None:
    chunks = [
        sdk_chunk(says(CALL)),
        sdk_chunk(calls(call(0, "call_1", "g", "{"))),
        sdk_chunk(calls(call(0, arguments="}"))),
        sdk_chunk(says(CALL)),
        sdk_chunk(ends("stop")),
    ]
    found = deltas_of(chunks)
    assert found == {0: ("f", '{"a": 1}'), 1: ("g", "{}"), 2: ("f", '{"a": 1}')}
    assert all(json.loads(arguments) is not None for _, arguments in found.values())


# -- the name of a tool in place of its tag, as Nemotron 3 may write it --


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("<tool_call><f><parameter=a>x</parameter></function></tool_call>", {"a": "x"}),
        ("<tool_call>\n<f>\n<parameter=a>\nx\n</parameter>\n</function>\n</tool_call>", {"a": "x"}),
        ("<tool_call><f><parameter=a>x</parameter></function>", {"a": "x"}),
        ("<tool_call><f></function></tool_call>", {}),
    ],
)
def test_the_name_of_a_tool_in_place_of_its_tag(text: str, arguments: dict[str, Any]) -> None:
    for chunks in ([text], [*text]):
        assert detect(chunks) == ("", [Call("f", arguments)])


@pytest.mark.parametrize("text", ["<tool_call><b>bold</b></tool_call>", "<tool_call><f>", "Is <tool_call><f> a tag?"])
def test_other_tags_behind_a_marker_are_text(text: str) -> None:
    for chunks in ([text], [*text]):
        assert detect(chunks) == (text, [])
