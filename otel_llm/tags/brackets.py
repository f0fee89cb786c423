"""Finds the bracket that closes a value, in JSON's syntax or in Python's, in a text that is still coming.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from otel_llm.tags.cursor import Cursor, Step

# Characters of a value that is held back until its last bracket. A longer one is text.
MOST_HELD = 4 * 1_048_576
# Within one digit of a Python integer, whose arithmetic is faster.
_NO_LIMIT = 1 << 29


class Syntax(NamedTuple):
    """What a scan has to stop at.

    `outside`: quotes, brackets and what cannot stand outside of a string. `inside`: for each quote, its end, a
    backslash and what cannot stand in such a string. `brackets`: what each of them adds to the depth.
    """

    outside: re.Pattern[str]
    inside: Mapping[str, re.Pattern[str]]
    brackets: Mapping[str, int]
    triple_quotes: bool = False


# Outside of strings, JSON has its marks, and the letters of numbers and words; inside, a string has no line break.
JSON = Syntax(
    re.compile(r"[^\s0-9,:.+\-aeflnrstuE]"),
    {'"': re.compile(r'["\\\n]')},
    {"[": 1, "{": 1, "]": -1, "}": -1},
)
PYTHON = Syntax(
    re.compile(r"[^\s\w,:;=+\-.#\\]"),
    {quote: re.compile(rf"{quote}|\\") for quote in ('"', "'", '"' * 3, "'" * 3)},
    {"[": 1, "{": 1, "(": 1, "]": -1, "}": -1, ")": -1},
    triple_quotes=True,
)


def balanced(cursor: Cursor, syntax: Syntax, depth: int = 0) -> Step[str | None]:
    """Read up to the bracket that closes the first one, or all that are open to `depth`. Returns what was read.

    None if that bracket does not come within MOST_HELD characters, or if the value ends before it. The cursor keeps
    what was read.
    """
    pieces: list[str] = []
    is_closed = yield from read_to_end(cursor, syntax, pieces.append, depth, MOST_HELD)
    return "".join(pieces) if is_closed else None


def read_to_end(
    cursor: Cursor, syntax: Syntax, emit: Callable[[str], None], depth: int = 0, most: int = _NO_LIMIT
) -> Step[bool]:
    """Read a value that is open to `depth`, emitting it as it comes. Returns whether its last bracket came.

    The value also ends before what the syntax does not have, after `most` characters, and at the end of the text.
    """
    outside, inside, brackets, triple_quotes = syntax
    pattern, quote, escaped = outside, "", False
    while most > 0:
        text, start = cursor.text, cursor.position
        place, stop = start, len(text)
        more = not cursor.ended
        if stop - start > most:
            stop, more = start + most, False
        is_closed: bool | None = None
        if escaped and place < stop:
            place, escaped = place + 1, False
        while place < stop:
            match = pattern.search(text, place, stop)
            if match is None:
                place = _before_quotes(text, place, stop, quote[0]) if more and len(quote) == 3 else stop
                break
            mark, place = match.group(), match.end()
            if mark == quote:
                pattern, quote = outside, ""
            elif mark == "\\":
                escaped = place == stop
                place += 1
            elif mark in brackets:
                depth += brackets[mark]
                if depth <= 0:
                    is_closed = True
                    break
            elif mark in inside and not quote:
                quote = _opening_quote(text, place, stop, mark, more=more) if triple_quotes else mark
                if not quote:
                    place -= 1
                    break
                pattern = inside[quote]
                place += len(quote) - 1
            else:
                is_closed = False
                place -= 1
                break
        if place > start:
            piece = cursor.take(min(place, stop) - start)
            emit(piece)
            most -= len(piece)
        if is_closed is not None or cursor.ended:
            return is_closed or False
        yield
    return False


def _opening_quote(text: str, place: int, stop: int, mark: str, *, more: bool) -> str:
    """One quote or three, the first of which ends at `place`. Empty if more text decides which."""
    triple = mark * 3
    if more and stop - place < 2 and triple.startswith(text[place - 1 : stop]):
        return ""
    return triple if text.startswith(triple, place - 1) else mark


def _before_quotes(text: str, place: int, stop: int, mark: str) -> int:
    """The place before one or two quotes at the end, which may become the three that end a string."""
    rest = text[max(place, stop - 2) : stop]
    return stop - len(rest) + len(rest.rstrip(mark))
