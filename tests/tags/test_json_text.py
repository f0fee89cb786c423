"""Bodies that are JSON stay as they are to the byte; those that are almost JSON come out as JSON, in any cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm.tags.cursor import Cursor
from otel_llm.tags.json_text import as_json, container
from tests.helpers.scanned import CLOSING, OPENING, cut_up, cuts, rewrite, scan
from tests.helpers.written_calls import Call

STOPS = ("</tool_call>", "<|end|>")


def read(chunks: Sequence[str], stops: Sequence[str] = STOPS) -> tuple[str, str, str | None]:
    """What is emitted, what is left unread, and how the value ended."""
    cursor, pieces = Cursor(), list[str]()
    steps = container(cursor, pieces.append, stops)
    end: str | None = None
    try:
        for chunk in chunks:
            cursor.feed(chunk)
            next(steps)
        cursor.ended = True
        while True:
            next(steps)
    except StopIteration as stopped:
        end = stopped.value
    fed = "".join(chunks)
    # Chunks behind the end were not fed.
    return "".join(pieces), fed[cursor.settled :], end


def any_cut(text: str, stops: Sequence[str] = STOPS) -> tuple[str, str, str | None]:
    found = read([text], stops)
    for sizes in ([1], [2, 3], [7]):
        assert read(cut_up(text, sizes), stops) == found
    return found


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4), cuts, st.sampled_from([None, 1]), st.booleans())
def test_json_is_kept_to_the_byte(
    value: dict[str, Any], sizes: list[int], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    for chunks in ([text + " and"], cut_up(text + " and", sizes)):
        assert read(chunks, ()) == (text, " and", "closed")


@given(st.dictionaries(st.text(max_size=5), values, max_size=4), cuts)
def test_literals_of_python_become_json(value: dict[str, Any], sizes: list[int]) -> None:
    text = repr(value)
    emitted, left, end = read([text])
    assert (left, end) == ("", "closed")
    assert json.loads(emitted) == value
    assert read(cut_up(text, sizes)) == (emitted, left, end)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': True, 'b': False, 'c': None}", {"a": True, "b": False, "c": None}),
        ('{"v": NaN, "w": -Infinity, "x": [undefined]}', {"v": None, "w": None, "x": [None]}),
        ("{'a': 'it\\'s \"so\"', \"b\": \"it's\"}", {"a": 'it\'s "so"', "b": "it's"}),
        ("{'a': (1, ('x',), ())}", {"a": [1, ["x"], []]}),
        ('{"a": [1, 2,], "b": {"c": 3 , } ,}', {"a": [1, 2], "b": {"c": 3}}),
        ("{a: 1, b_2: {c-d: 'x'}}", {"a": 1, "b_2": {"c-d": "x"}}),
        ("{'a': 0x1F, 'b': 1_000, 'c': .5, 'd': +2, 'e': 5.}", {"a": 31, "b": 1000, "c": 0.5, "d": 2, "e": 5.0}),
        ('{"a": "one\ntwo\tthree"}', {"a": "one\ntwo\tthree"}),
        ('{"a": "\\d+ \\x41 \\u12 \\u00e9"}', {"a": "\\d+ A \\u12 é"}),
        ("[{'a': None}]", [{"a": None}]),
    ],
)
def test_almost_json_is_mended(text: str, value: Any) -> None:
    emitted, left, end = any_cut(f"{text} and")
    assert (json.loads(emitted), left, end) == (value, " and", "closed")
    if isinstance(value, dict):
        body = f"{{'name': 'f', 'arguments': {text}}}"
        for whole in (f"<tool_call>{body}</tool_call>", f"[TOOL_CALLS][{body}]", f"[TOOL_CALLS]f{text}"):
            (seen,) = scan(whole).calls
            assert (seen.call, seen.complete, seen.understood) == (Call("f", value), True, True)
            written = rewrite([*whole])
            assert written == rewrite(whole)
            assert json.loads(written.removeprefix(OPENING).removesuffix(CLOSING)) == {"name": "f", "arguments": value}


@pytest.mark.parametrize("text", ['{"a": 1', '{"a": [1, "x"', '{"a": {"b": []}', '{"a": {"b": [],'])
def test_brackets_that_are_missing_before_a_closing_marker_are_added(text: str) -> None:
    emitted, left, end = any_cut(f"{text}\n</tool_call> and")
    assert (left, end) == ("</tool_call> and", "stopped")
    assert isinstance(json.loads(emitted), dict)
    assert emitted.startswith(text.rstrip(","))


@pytest.mark.parametrize(
    "text", ['{"a": fasle}', '{"a": "b" "c"}', '{"a" 1}', '{"a": [1}, 2}', "{: 1}", '{"a": @}', "{1: 2}"]
)
def test_from_a_fault_on_the_text_is_kept(text: str) -> None:
    emitted, left, end = any_cut(f"{text} and")
    assert emitted + left == f"{text} and"
    assert end == "closed" or text == '{"a": [1}, 2}'


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a": "x\\u00e9\\n"}', "{'a': [True, 'x']}"])
def test_a_cut_adds_nothing(text: str) -> None:
    whole = as_json(text)
    for end in range(1, len(text)):
        emitted, left, how = any_cut(text[:end])
        assert whole.startswith(emitted)
        assert (left, how) == ("", "cut")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ("{'a': True}", '{"a": true}'),
        (" [1,] ", "[1]"),
        ("hello", '"hello"'),
        ("12", "12"),
        ("None", "null"),
        ("  ", ""),
    ],
)
def test_a_text_that_holds_a_value(text: str, written: str) -> None:
    assert as_json(text) == written


def test_encoded_arguments_come_out_as_an_object() -> None:
    for encoded in ('{"a": true}', "{'a': True}"):
        body = json.dumps({"name": "f", "arguments": encoded})
        assert json.loads(rewrite(f"<tool_call>{body}</tool_call>")[len(OPENING) : -len(CLOSING)]) == {
            "name": "f",
            "arguments": {"a": True},
        }


def test_keys_that_custom_tags_do_not_want_are_written_anew() -> None:
    for opened in ("<|message_model|>f<|content_invoke_tool_json|>", "<|content_invoke_tool_json|>"):
        text = opened + '{"name":"f","args":{"a":NaN}}<|end_message|>'
        assert rewrite(text) == rewrite([*text]) == f'{OPENING}{{"name": "f", "arguments": {{"a":null}}}}{CLOSING}'
