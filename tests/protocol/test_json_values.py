"""The shape of a text by RFC 8259, and whether a growing text is one whole value."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.json_values import GrowingText, Shape, canonical, is_closed, parse_json, read


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("", Shape.NOTHING),
        (" \t\r\n", Shape.NOTHING),
        ("{}", Shape.OBJECT),
        (' {"a": [1, {"b": null}]} ', Shape.OBJECT),
        ('{"a":1,"a":2}', Shape.OBJECT),
        ("[]", Shape.OTHER),
        ("null", Shape.OTHER),
        ("true", Shape.OTHER),
        ("-0", Shape.OTHER),
        ("1e5", Shape.OTHER),
        ("1E+5", Shape.OTHER),
        ('"\\u00e9\\n"', Shape.OTHER),
        ('"\\ud83d"', Shape.OTHER),
        ("9" * 100_000, Shape.OTHER),
        ("1e999999", Shape.OTHER),
        ("{}{}", Shape.SEVERAL),
        ("{} \n{}", Shape.SEVERAL),
        ("1 2", Shape.SEVERAL),
        ('"a"1', Shape.SEVERAL),
        ('1"a"', Shape.SEVERAL),
        ("null{}", Shape.SEVERAL),
        ("[][]", Shape.SEVERAL),
        ("{", Shape.INVALID),
        ("}", Shape.INVALID),
        ("{}}", Shape.INVALID),
        ("{},", Shape.INVALID),
        ("{}x", Shape.INVALID),
        ("x{}", Shape.INVALID),
        ("01", Shape.INVALID),
        ("-", Shape.INVALID),
        ("1.", Shape.INVALID),
        (".5", Shape.INVALID),
        ("+1", Shape.INVALID),
        ("1-2", Shape.INVALID),
        ("1e", Shape.INVALID),
        ("0x10", Shape.INVALID),
        ("1_000", Shape.INVALID),
        ("truefalse", Shape.INVALID),
        ("null1", Shape.INVALID),
        ("True", Shape.INVALID),
        ("NaN", Shape.INVALID),
        ("[-Infinity]", Shape.INVALID),
        ('{"a":Infinity}', Shape.INVALID),
        ("'a'", Shape.INVALID),
        ('"a\nb"', Shape.INVALID),
        ('"\\x"', Shape.INVALID),
        ('"\\u12"', Shape.INVALID),
        ("[1,]", Shape.INVALID),
        ("{a:1}", Shape.INVALID),
        ("/* */{}", Shape.INVALID),
        ("\ufeff{}", Shape.INVALID),
        ("\u00a0", Shape.INVALID),
        ("\x0b", Shape.INVALID),
        ("\u0663", Shape.INVALID),
        ("[" * 200_000, Shape.TOO_DEEP),
        ("[" * 200_000 + "]" * 200_000, Shape.TOO_DEEP),
        ('{"a":' * 200_000, Shape.TOO_DEEP),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, str) else value.name,
)
def test_a_text_has_one_shape(text: str, shape: Shape) -> None:
    assert read(text).shape is shape


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"a":1', "Expecting ',' delimiter at character 6 of 6"),
        ("{} x", "Expecting value at character 3 of 4"),
        ("01", "Extra data at character 1 of 2"),
        ('{"a":NaN}', "NaN is not JSON at character 0 of 9"),
        ('{"title": "buy', "Unterminated string starting at character 10 of 14"),
        ('{"a": "\n"}', "Invalid control character at character 7 of 10"),
        ('{"a": "\\x"}', "Invalid \\escape at character 7 of 11"),
    ],
)
def test_an_error_has_the_position_and_repeats_no_text(text: str, error: str) -> None:
    assert read(text).error == error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"a": "b', "it is not JSON (Unterminated string starting at character 6 of 8)"),
        ('{\n "a": "b', "it is not JSON (Unterminated string starting at line 2, column 7)"),
        ("", "it is not JSON (Expecting value at character 0 of 0)"),
    ],
)
def test_a_document_that_cannot_be_read(text: str, error: str) -> None:
    with pytest.raises(UnreadableError) as raised:
        parse_json(text)
    assert str(raised.value) == error


@given(st.text())
@example('{"a":1}}')
@example("1 2 3")
def test_reading_never_raises_and_agrees_with_the_standard_library(text: str) -> None:
    reading = read(text)
    try:
        value = json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        assert reading.shape in {Shape.NOTHING, Shape.SEVERAL, Shape.INVALID}
    else:
        assert reading.shape is (Shape.OBJECT if isinstance(value, dict) else Shape.OTHER)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


@given(values, st.sampled_from([{"indent": 2}, {"ensure_ascii": False}, {"sort_keys": True}]))
def test_spellings_of_one_value_have_the_same_canonical_spelling(value: Any, spelling: dict[str, Any]) -> None:
    one, other = json.dumps(value), json.dumps(value, **spelling)
    assert canonical(read(one).value) == canonical(read(other).value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1", "1.0", True),
        ("100", "1e2", True),
        ("0", "-0.0", True),
        ('{"a":1,"b":2}', '{"b":2,"a":1}', True),
        ('"\\u0041"', '"A"', True),
        ("[1,2]", "[2,1]", False),
        ("1", '"1"', False),
        ("1", "true", False),
        ("0", "false", False),
        ("null", '"null"', False),
        ("9" * 5000, '"' + "9" * 5000 + '"', False),
        ("9" * 5000, "9" * 5001, False),
        ("1e999", '"1e999"', False),
        ("1e999", "-1e999", False),
    ],
    ids=lambda value: str(value)[:14],
)
def test_texts_are_compared_by_meaning(one: str, other: str, same: bool) -> None:
    assert (canonical(read(one).value) == canonical(read(other).value)) is same


def whole_after(pieces: list[str]) -> bool:
    """The answer of a growing text that is asked after every piece."""
    growing, so_far, answer = GrowingText(), "", False
    for piece in pieces:
        growing.feed(piece)
        so_far += piece
        answer = growing.whole(partial(str, so_far))
    return answer


bits = st.lists(
    st.sampled_from(["{", "}", "[", "]", '"', "\\", '"a":', "1", ",", " ", "null", "x", "{}", '"}"', "\\u0022"]),
    max_size=10,
)


@given(bits)
@example(['{"a":"\\', '"}"}'])
@example(['"', "\\", "", '"', '"'])
@example(["1", "2"])
@example(["{}", " ", "{}"])
@example([" ", "{", "]"])
def test_a_growing_text_is_whole_when_it_reads_as_one_value(pieces: list[str]) -> None:
    expected = read("".join(pieces)).shape in {Shape.OBJECT, Shape.OTHER}
    assert whole_after(pieces) == expected
    # The answer is the same if it is asked once.
    growing = GrowingText()
    for piece in pieces:
        growing.feed(piece)
    assert growing.whole(lambda: "".join(pieces)) == expected


@given(values)
def test_every_json_value_is_whole_at_its_end(value: Any) -> None:
    text = json.dumps(value)
    if len(text) <= 64 or text[0] in '{["':
        assert whole_after(list(text))


def test_a_growing_text_reads_a_long_value_once() -> None:
    reads = 0

    def text_so_far() -> str:
        nonlocal reads
        reads += 1
        return '{"a":1}'

    growing = GrowingText()
    for character in '{"a":1}':
        growing.feed(character)
        growing.whole(text_so_far)
    for _ in range(100):
        growing.feed(" ")
        assert growing.whole(text_so_far)
    assert reads == 1


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("[[]]", True),
        ("[[]", False),
        ("[]]", False),
        ("", False),
        ('{"a":"}', False),
        ("[" * 10**6 + "]" * 10**6, True),
    ],
    ids=lambda value: str(value)[:10],
)
def test_brackets_close_at_the_end_of_the_text(text: str, closed: bool) -> None:
    assert is_closed(text) is closed
