"""Any text of a model can be exported and printed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm.protocol.unicode_text import (
    ends_with_half,
    exportable,
    has_lone_surrogate,
    join_surrogates,
    one_line,
    starts_with_half,
)

HIGH, LOW = "\ud83d", "\ude00"
any_text = st.text(st.one_of(st.characters(), st.sampled_from([HIGH, LOW, "\ud800", "\udfff", "\n", "\x1b"])))


@pytest.mark.parametrize(
    ("text", "joined", "exported", "lone"),
    [
        ("", "", "", False),
        ("plain", "plain", "plain", False),
        ("é\U0001f600", "é\U0001f600", "é\U0001f600", False),
        (HIGH + LOW, "\U0001f600", "\U0001f600", False),
        ("a" + HIGH + LOW + "b", "a\U0001f600b", "a\U0001f600b", False),
        (HIGH, HIGH, "\\ud83d", True),
        (LOW, LOW, "\\ude00", True),
        (LOW + HIGH, LOW + HIGH, "\\ude00\\ud83d", True),
        (HIGH + HIGH + LOW, HIGH + "\U0001f600", "\\ud83d\U0001f600", True),
        (HIGH + "é" + LOW, HIGH + "é" + LOW, "\\ud83dé\\ude00", True),
        ("\ufffd", "\ufffd", "\ufffd", False),
    ],
    ids=ascii,
)
def test_pairs_are_joined_and_lone_surrogates_escaped(text: str, joined: str, exported: str, lone: bool) -> None:
    assert join_surrogates(text) == joined
    assert exportable(text) == exported
    assert has_lone_surrogate(text) is lone


@given(any_text)
def test_exportable_text_can_be_encoded_and_is_stable(text: str) -> None:
    once = exportable(text)
    once.encode()
    assert exportable(once) == once
    assert has_lone_surrogate(text) == (once != join_surrogates(text))


@given(any_text, any_text)
def test_halves_that_meet_are_joined(one: str, other: str) -> None:
    apart = join_surrogates(one) + join_surrogates(other)
    meets = ends_with_half(one) and starts_with_half(other)
    assert len(join_surrogates(one + other)) == len(apart) - meets


@given(any_text)
def test_one_line_has_no_control_characters(text: str) -> None:
    line = one_line(text)
    line.encode()
    assert len(line.splitlines()) <= 1
    assert not [character for character in line if unicodedata.category(character) == "Cc"]
    assert not [character for character in line if unicodedata.bidirectional(character) in BIDIRECTIONAL_MARKS]


BIDIRECTIONAL_MARKS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain é \U0001f600", "plain é \U0001f600"),
        ("a\nb", "a\\nb"),
        ("a\r\nb", "a\\r\\nb"),
        ("a\tb", "a\\tb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x7f\x85\x9b", "\\x7f\\x85\\x9b"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\u202eabc\u2066\u061c\u200f", "\\u202eabc\\u2066\\u061c\\u200f"),
        ("\x00", "\\x00"),
        (HIGH, "\\ud83d"),
    ],
    ids=ascii,
)
def test_one_line_escapes_visibly(text: str, line: str) -> None:
    assert one_line(text) == line
