"""The words that may begin something in a text: markers of calls, marks of thoughts and answers, brackets, code.  Pure.

What counts where depends on the place: anywhere, at the start of a line, or at the start of the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from otel_llm.tags.formats import FORMATS, Format
from otel_llm.tags.marked_thoughts import MARKS, MARKS_AT_START


def _by_first(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for word in words:
        grouped[word[0]] = (*grouped.get(word[0], ()), word)
    return grouped


def _openers(at: str) -> dict[str, list[Format]]:
    openers: dict[str, list[Format]] = {}
    for entry in FORMATS:
        if entry.at == at and entry.grammar is not None:
            for opener in entry.openers:
                # A grammar that reads no call does not read one under another name.
                if not opener.startswith("`") and all(
                    entry.grammar is not one.grammar for one in openers.get(opener, ())
                ):
                    openers.setdefault(opener, []).append(entry)
    return openers


_ANYWHERE, _AT_LINE, _AT_START = _openers("anywhere"), _openers("line"), _openers("start")
CALL_OPENERS = frozenset((*_ANYWHERE, *_AT_LINE, *_AT_START))
"""The opening markers of calls."""

WORDS = _by_first([*_ANYWHERE, *MARKS])
"""Words that count anywhere, by their first characters."""
LINE_WORDS = _by_first([*_ANYWHERE, *MARKS, *_AT_LINE])
"""The same, at the start of a line."""
START_WORDS = _by_first([*_ANYWHERE, *MARKS, *_AT_LINE, *_AT_START, *MARKS_AT_START])
"""The same, at the start of the text."""

_FIRSTS = "".join(sorted({re.escape(opener[0]) for opener in [*_ANYWHERE, *MARKS]} | {"{", "`", r"\["}))
_LINE_FIRSTS = "".join(sorted({re.escape(opener[0]) for opener in _AT_LINE} | {"~"}))
find_other = re.compile(rf"[{_FIRSTS}\n]").search
"""Text in which this finds nothing passes at once, unless it begins a line."""
# Each with the characters that may follow; at the end of what has come, any may.
_PAIRS = "|".join(
    rf"{re.escape(first)}(?:[{''.join(sorted({re.escape(word[1]) for word in words}))}]|\Z)"
    for first, words in WORDS.items()
    if first not in "{[`"
)
TRIGGER = re.compile(rf"[`\[]|\{{(?:[\s\"]|\Z)|{_PAIRS}|\n[^\S\n]*[{_LINE_FIRSTS}]")
# The same without brackets. A marker may begin with one.
_BRACKETED = "".join(sorted({re.escape(word[1]) for word in WORDS["["]}))
MARK_TRIGGER = re.compile(rf"`|\[(?:[{_BRACKETED}]|\Z)|{_PAIRS}|\n[^\S\n]*[{_LINE_FIRSTS}]")
LINE_TRIGGER = re.compile(rf"\s*[{_LINE_FIRSTS}]")


def formats_of(opening: str, *, at_start: bool, at_line_start: bool) -> Sequence[Format]:
    """The formats of calls that an opening marker may begin, in the order in which they are tried."""
    formats = _ANYWHERE.get(opening, [])
    if at_line_start and opening in _AT_LINE:
        formats = [*formats, *_AT_LINE[opening]]
    if at_start and opening in _AT_START:
        formats = [*formats, *_AT_START[opening]]
    return formats
