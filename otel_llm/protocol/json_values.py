"""JSON texts as models write them: is it one value, several, or none (RFC 8259), and do two mean the same.

Python's own reader is stricter and laxer than the RFC in places; the differences are settled here: NaN and
Infinity are no JSON, a number may have any number of digits, and nesting that Python cannot follow is told
apart from text that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from otel_llm.protocol.errors import UnreadableError

_WHITE_SPACE = " \t\n\r"
_NOT_WHITE_SPACE = re.compile(r"[^ \t\n\r]")
# Python refuses to read longer integers as numbers (sys.get_int_max_str_digits is 4300 by default).
_LONGEST_INT = 4000


class Shape(Enum):
    """What a text is. Exactly one of them fits any text."""

    NOTHING = "nothing"
    OBJECT = "object"
    OTHER = "other value"
    SEVERAL = "several values"
    INVALID = "not JSON"
    TOO_DEEP = "too deep to read"


class Reading(NamedTuple):
    """A text's shape, its value (the list of them where they are several), and what is wrong with it."""

    shape: Shape
    value: Any = None
    error: str = ""


class LongNumber:
    """A number that Python's own cannot hold: too many digits, or too large for a float."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _no_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def _integer(digits: str) -> int | LongNumber:
    return int(digits) if len(digits) < _LONGEST_INT else LongNumber(digits)


def _number(text: str) -> float | int | LongNumber:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        return LongNumber(text)
    # 1.0 and 1 are the same number, so they compare and print the same.
    return int(value) if value.is_integer() else value


_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer, parse_float=_number)


def _skip_white_space(text: str, position: int) -> int:
    match = _NOT_WHITE_SPACE.search(text, position)
    return len(text) if match is None else match.start()


def _runs_on(text: str, position: int) -> bool:
    """Whether a number or word goes on behind `position` as no JSON value can: `01`, `1-2`, `truefalse`."""
    before, behind = text[position - 1], text[position]
    return (before.isalnum() or before == ".") and (behind.isalnum() or behind in "+-._")


def read(text: str) -> Reading:
    """Read a whole text. Never raises."""
    position = _skip_white_space(text, 0)
    if position == len(text):
        return Reading(Shape.NOTHING)
    values: list[Any] = []
    try:
        while position < len(text):
            value, end = _decoder.raw_decode(text, position)
            values.append(value)
            if end < len(text) and _runs_on(text, end):
                return _invalid("Extra data", text, end)
            position = _skip_white_space(text, end)
    except json.JSONDecodeError as error:
        return _invalid(error.msg, text, error.pos if error.doc is text else position)
    except RecursionError:
        return Reading(Shape.TOO_DEEP)
    except ValueError as error:
        return _invalid(str(error), text, position)
    if len(values) > 1:
        return Reading(Shape.SEVERAL, values)
    return Reading(Shape.OBJECT if isinstance(values[0], dict) else Shape.OTHER, values[0])


def _invalid(message: str, text: str, position: int) -> Reading:
    return Reading(Shape.INVALID, error=f"{message} at character {position} of {len(text)}")


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises UnreadableError, with a sentence that says why."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UnreadableError("it is nested too deep") from None
    except ValueError as error:
        raise UnreadableError(f"it is no JSON ({error})") from None


def canonical(value: Any) -> str:
    """One spelling for all texts with the same meaning. Raises RecursionError for values nested too deep."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_spell)


def _spell(value: Any) -> Any:
    # No text of a model reads as this, short of one that was written to.
    return {"\x00number": value.text}


_OUTSIDE_STRING = re.compile(r'["{}\[\]]')
_INSIDE_STRING = re.compile(r'["\\]')


class GrowingText:
    """Answers, while a text grows, whether it is one whole JSON value so far.

    Each character is looked at once, and once more when the value closes, however often the question is asked:
    a server that makes us ask at every delta must not make us read everything again at every delta. No text is
    kept here.
    """

    __slots__ = ("_bare", "_depth", "_escaped", "_in_string", "_state")

    # A number or a word has no end to look for; it is read anew whenever asked, up to this length.
    _LONGEST_BARE = 64

    def __init__(self) -> None:
        self._state: _State = _State.EMPTY
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._bare = 0

    def feed(self, text: str) -> None:
        state = self._state
        if state is _State.NEVER:
            return
        if state is _State.BARE:
            self._feed_bare(text)
            return
        start = 0
        if state is not _State.OPEN:
            start = _skip_white_space(text, 0)
            if start == len(text):
                return
            if state is not _State.EMPTY:
                # More text behind a value that was closed.
                self._state = _State.NEVER
                return
            if text[start] not in '{["':
                self._state = _State.BARE
                self._feed_bare(text[start:])
                return
            self._state = _State.OPEN
        end = self._end_in(text, start)
        if end is not None:
            behind = _skip_white_space(text, end)
            self._state = _State.CLOSED if behind == len(text) else _State.NEVER

    def whole(self, text_so_far: Callable[[], str]) -> bool:
        """`text_so_far` gives all that was fed; it is asked for only where brackets do not decide."""
        if self._state is _State.CLOSED:
            is_value = read(text_so_far()).shape in {Shape.OBJECT, Shape.OTHER}
            self._state = _State.WHOLE if is_value else _State.NEVER
        elif self._state is _State.BARE:
            return read(text_so_far()).shape is Shape.OTHER
        return self._state is _State.WHOLE

    @property
    def closed(self) -> bool:
        """Whether the brackets or the quotes that opened have closed, with nothing behind them."""
        return self._state in {_State.CLOSED, _State.WHOLE}

    def _feed_bare(self, text: str) -> None:
        self._bare += len(text)
        if self._bare > self._LONGEST_BARE:
            self._state = _State.NEVER

    def _end_in(self, text: str, position: int) -> int | None:
        """The position behind the mark that closes the value, or None where it is still open."""
        if self._escaped and position < len(text):
            position, self._escaped = position + 1, False
        while True:
            match = (_INSIDE_STRING if self._in_string else _OUTSIDE_STRING).search(text, position)
            if match is None:
                return None
            position = match.end()
            mark = match.group()
            if mark == '"':
                self._in_string = not self._in_string
                if not self._in_string and not self._depth:
                    return position
            elif mark == "\\":
                self._escaped = position == len(text)
                position += 1
            else:
                self._depth += 1 if mark in "{[" else -1
                if self._depth <= 0:
                    return position


def is_closed(text: str) -> bool:
    """Whether the brackets of `text` close where it ends: all that can be said where it is too deep to read."""
    scanner = GrowingText()
    scanner.feed(text)
    return scanner.closed


class _State(Enum):
    EMPTY = "nothing but white space yet"
    OPEN = "an object, an array or a string that is not closed"
    BARE = "a number or a word, perhaps"
    CLOSED = "closed, and not read yet"
    WHOLE = "one whole value"
    NEVER = "whatever comes, no whole value"
