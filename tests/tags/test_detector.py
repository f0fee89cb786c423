"""The detector: each call comes once and complete, the text has no markup, and nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm.tags import IncrementalToolDetector, ToolCall
from otel_llm.tags.lenient_json import parse_leniently
from tests.helpers.scanned import detect
from tests.helpers.written_calls import Call

NEARLY = [
    ("{'name': 'f', 'arguments': {'a': 'x'}}", {"a": "x"}),
    ("{'name': 'f', 'arguments': {'a': True, 'b': None, 'c': False}}", {"a": True, "b": None, "c": False}),
    ('{"name": "f", "arguments": {"a": True, "b": None}}', {"a": True, "b": None}),
    ('{"name": "f", "arguments": {"a": 1}', {"a": 1}),
    ('{"name": "f", "arguments": {"a": [1, 2', {"a": [1, 2]}),
    ('{"name": "f", "arguments": {"a": 1,}}', {"a": 1}),
    ('{"name": "f", "arguments": {"a": 1},}', {"a": 1}),
    ('{"name": "f", "arguments": {"a": [1, 2,],},}', {"a": [1, 2]}),
    ('{"name": "f" "arguments": {"a": 1}}', {"a": 1}),
    ("{'name': 'f', 'arguments': {'a': 'it\\'s \"it\"'}}", {"a": 'it\'s "it"'}),
    ('{"name": "f", "arguments": {a: 1}}', {"a": 1}),
    ('{"name": "f", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
    ('{"name": "f", "arguments": {"a": "line\nbreak"}}', {"a": "line\nbreak"}),
    ('{"name": "f", "arguments": {"a": "tab\t"}}', {"a": "tab\t"}),
    ('{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}', {"a": 1}),
    ('{"name": "f"}', {}),
    ('{"name": "f", "arguments": null}', {}),
]


@pytest.mark.parametrize(("body", "arguments"), NEARLY)
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_bodies_that_are_almost_json(body: str, arguments: dict[str, Any], closed: bool) -> None:
    text = f"Hi <tool_call>{body}" + "</tool_call>" * closed
    for chunks in (text, [*text]):
        assert detect(chunks) == ("Hi ", [Call("f", arguments)])


def test_a_call_comes_once_and_as_soon_as_it_is_complete() -> None:
    detector = IncrementalToolDetector("qwen3")
    text = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    given_at = [place for place, char in enumerate(text) if detector.process_chunk(char)[1]]
    assert given_at == [text.index("</") - 1]
    assert detector.finalize() == []
    assert detector.text_left == ""


def test_the_fields_of_a_call() -> None:
    (call,) = IncrementalToolDetector().process_chunk('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>')[1]
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("f", {"a": 1})
    assert call.call_id
    assert call.call_id.startswith("call_")
    assert call.as_dict() == {"name": "f", "arguments": {"a": 1}, "call_id": call.call_id}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('<tool_call>{"name": "f", "arguments": {"a": "x', {"a": "x"}),
        ('<tool_call>{"name": "f", "arguments": {"a": [1, {"b": 2', {"a": [1, {"b": 2}]}),
        ('<tool_call>{"name": "f"', {}),
        ('[TOOL_CALLS]f{"a": 1', {"a": 1}),
        ('<function=f>{"a": "b"', {"a": "b"}),
        ("<tool_call>f<arg_key>a</arg_key><arg_value>wo", {"a": "wo"}),
        ("<tool_call>f<arg_key>a</arg_key><arg_value>x</arg_value>", {"a": "x"}),
        ("<tool_call>f<arg_key>a</arg_key><arg_value>{", {"a": "{"}),
    ],
)
def test_finalize_returns_calls_that_were_left_open(text: str, arguments: dict[str, Any]) -> None:
    detector = IncrementalToolDetector()
    shown, calls = "", []
    for char in text:
        some, found = detector.process_chunk(char)
        shown += some
        calls += found
    assert (shown, calls) == ("", [])
    assert [(call.name, call.arguments) for call in detector.finalize()] == [("f", arguments)]
    assert detector.text_left == ""


def test_text_that_was_held_back_is_left() -> None:
    detector = IncrementalToolDetector()
    assert detector.process_chunk("Hi <tool_c") == ("Hi ", [])
    assert detector.finalize() == []
    assert detector.text_left == "<tool_c"
    assert detector.process_chunk(None) == ("", [])
    assert detector.process_chunk("") == ("", [])


@pytest.mark.parametrize(
    "begun", ["so <tool_c", "<tool_call>", '<tool_call>{"name": "g", "arguments": {"a": "', "<think>\n", "```json\n"]
)
def test_reset_begins_another_text(begun: str) -> None:
    detector = IncrementalToolDetector(tools=["f"])
    detector.process_chunk(begun)
    detector.reset()
    text, calls = detector.process_chunk('Hi <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>.')
    assert (text, [(call.name, call.arguments) for call in calls]) == ("Hi .", [("f", {"a": 1})])
    assert detector.finalize() == []
    assert detector.text_left == ""


def test_reset_drops_the_text_that_finalize_left() -> None:
    detector = IncrementalToolDetector()
    detector.process_chunk("so <tool_c")
    detector.finalize()
    detector.reset()
    assert detector.text_left == ""


@pytest.mark.parametrize(
    "body",
    [
        '{"name": 42, "arguments": {}}',
        '{"arguments": {"a": "x"}}',
        '{"name": "", "arguments": {}}',
        '{"name": "f", "arguments": [1, 2]}',
        '{"name": "f", "arguments": 7}',
    ],
)
def test_a_body_that_cannot_be_understood_is_shown(body: str) -> None:
    text = f"Hi <tool_call>{body}</tool_call>."
    for chunks in (text, [*text]):
        shown, calls = detect(chunks)
        assert not calls
        assert body in shown
        assert shown.startswith("Hi <tool_call>")
        assert shown.endswith(".")


def test_each_body_that_cannot_be_understood_is_shown_once() -> None:
    body = '{"name": 42, "arguments": {}}'
    assert detect(f"<tool_call>[{body}, {body}]</tool_call>")[0].count("<tool_call>") == 1


def test_a_name_outside_of_the_body_is_shown_too() -> None:
    text = "[TOOL_CALLS]f{" + '{"a":' * 200
    shown, calls = detect(text)
    assert not calls
    assert shown == text


def test_tools_of_a_request() -> None:
    body = '{"name": "f", "arguments": {}}'
    assert detect(f"Now {body}", ["f"])[1] == [Call("f", {})]
    assert detect(f"Now {body}", [])[1] == []

    def f() -> None: ...

    assert detect(f"Now {body}", [f])[1] == [Call("f", {})]
    assert detect(f"Now {body}", {"f": f})[1] == [Call("f", {})]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.booleans())
def test_json_is_parsed_as_json(value: dict[str, Any], ascii_only: bool) -> None:
    assert parse_leniently(json.dumps(value, ensure_ascii=ascii_only)) == value


@given(
    st.dictionaries(st.text("ab'\"\\ \n{}", max_size=5), st.none() | st.booleans() | st.text("ab'\"\\\n}"), max_size=3)
)
def test_literals_of_python_are_parsed(value: dict[str, Any]) -> None:
    assert parse_leniently(repr(value)) == value


@given(st.text("{}[]\",:'\\ ab1tn\n/`", max_size=60))
def test_lenient_parsing_never_raises(text: str) -> None:
    parse_leniently(text)
    parse_leniently('{"a": ' + text)
