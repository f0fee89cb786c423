"""Reads JSON as models write it: whether a text is one value, several or none (RFC 8259), and what it means.  Pure.

Python's `json` differs from the RFC in places, which is corrected here: NaN and Infinity are not JSON, a number may
have any number of digits, and nesting too deep for Python is not the same as invalid text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NamedTuple

from otel_llm.protocol.errors import UnreadableError

_WHITE_SPACE = " \t\n\r"
_NOT_WHITE_SPACE = re.compile(r"[^ \t\n\r]")
# Python refuses to read longer integers as numbers (sys.get_int_max_str_digits is 4300 by default).
_LONGEST_INT = 4000


class Shape(Enum):
    """What a text is. Exactly one of these fits each text."""

    NOTHING = "nothing"
    OBJECT = "object"
    OTHER = "other value"
    SEVERAL = "several values"
    INVALID = "not JSON"
    TOO_DEEP = "too deep to read"


class Reading(NamedTuple):
    """The shape of a text, its value (a list if there are several), and the error if it is invalid."""

    shape: Shape
    value: Any = None
    error: str = ""


class LongNumber:
    """A number that Python does not convert: it has too many digits, or is too large for a float."""

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
    # 1.0 and 1 are the same number, so they have to compare and print alike.
    return int(value) if value.is_integer() else value


_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer, parse_float=_number)


def _skip_white_space(text: str, position: int) -> int:
    match = _NOT_WHITE_SPACE.search(text, position)
    return len(text) if match is None else match.start()


def _runs_on(text: str, position: int) -> bool:
    """Whether a number or word continues after `position`, as no JSON value does: `01`, `1-2`, `truefalse`."""
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
    # Some of Python's messages expect a position to follow.
    return Reading(Shape.INVALID, error=f"{message.removesuffix(' at')} at character {position} of {len(text)}")


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises UnreadableError with the reason as a sentence."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        message = error.msg.removesuffix(" at")
        # A person finds a place in a long document by its line, which editors count from 1.
        where = (
            f"line {error.lineno}, column {error.colno}"
            if "\n" in text.strip()
            else f"character {error.pos} of {len(text)}"
        )
        raise UnreadableError(f"it is not JSON ({message} at {where})") from None
    except ValueError as error:
        raise UnreadableError(f"it is not JSON ({error})") from None


def parse_strictly(text: str) -> Any:
    """The value of a text that is JSON by the RFC, without NaN and Infinity. Raises ValueError or RecursionError."""
    return json.loads(text, parse_constant=_no_constant)


def strict_value(text: str) -> Any:
    """The same, None for anything but such JSON."""
    try:
        return parse_strictly(text)
    except (ValueError, RecursionError):
        return None


def strings_in(value: object) -> Iterator[str]:
    """Every string in a value, names of members too. In no order."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            pending.extend(value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def canonical(value: Any) -> str:
    """The same spelling for all values with the same meaning. Raises RecursionError for values nested too deeply."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_spell)


def _spell(value: Any) -> Any:
    # A key that no model writes by chance.
    return {"\x00number": value.text}


_OUTSIDE_STRING = re.compile(r'["{}\[\]]')
_INSIDE_STRING = re.compile(r'["\\]')


class GrowingText:
    """Tells whether a text that still grows is one whole JSON value so far.

    Each character is read once, and once more when the value closes, however often `whole` is called. A server that
    makes us ask at every delta must not make us read the whole text at every delta. No text is kept here.
    """

    __slots__ = ("_bare", "_depth", "_escaped", "_in_string", "_state")

    # A number or a word has no closing mark, so it is read anew each time, up to this length.
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
                # Text after a value that was closed.
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
        """Whether the text is one whole JSON value. `text_so_far` returns all text, and is called only if needed."""
        if self._state is _State.CLOSED:
            is_value = read(text_so_far()).shape in {Shape.OBJECT, Shape.OTHER}
            self._state = _State.WHOLE if is_value else _State.NEVER
        elif self._state is _State.BARE:
            return read(text_so_far()).shape is Shape.OTHER
        return self._state is _State.WHOLE

    @property
    def closed(self) -> bool:
        """Whether the first bracket or quote has been closed, with nothing after it."""
        return self._state in {_State.CLOSED, _State.WHOLE}

    def _feed_bare(self, text: str) -> None:
        self._bare += len(text)
        if self._bare > self._LONGEST_BARE:
            self._state = _State.NEVER

    def _end_in(self, text: str, position: int) -> int | None:
        """The position after the bracket or quote that closes the value, or None if it is still open."""
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
    """Whether the brackets of `text` close at its end: all that can be known of a text too deep to read."""
    scanner = GrowingText()
    scanner.feed(text)
    return scanner.closed


class _State(Enum):
    EMPTY = "only white space so far"
    OPEN = "an object, an array or a string that is not closed"
    BARE = "perhaps a number or a word"
    CLOSED = "closed, and not read yet"
    WHOLE = "one whole value"
    NEVER = "not one whole value, whatever comes"
