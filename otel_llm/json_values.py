"""JSON texts as models write them: is it one value, several, or none (RFC 8259), and do two mean the same.

Python's own reader is stricter and laxer than the RFC in places; the differences are settled here: NaN and
Infinity are no JSON, an integer may have any number of digits, and nesting that Python cannot follow is told
apart from text that is wrong.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Any, NamedTuple

_WHITE_SPACE = " \t\n\r"
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
    """A text's shape, its value where it is exactly one, and what is wrong with it where it is not JSON."""

    shape: Shape
    value: Any = None
    error: str = ""


def _no_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) < _LONGEST_INT else digits


def _number(text: str) -> float | int | str:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        return text
    # 1.0 and 1 are the same number, so they compare and print the same.
    return int(value) if value.is_integer() else value


_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer, parse_float=_number)


def _next_position(text: str, position: int) -> int:
    while position < len(text) and text[position] in _WHITE_SPACE:
        position += 1
    return position


def read(text: str) -> Reading:
    """Read a whole text. Never raises."""
    position = _next_position(text, 0)
    if position == len(text):
        return Reading(Shape.NOTHING)
    count = 0
    value: Any = None
    try:
        while position < len(text):
            value, position = _decoder.raw_decode(text, position)
            position = _next_position(text, position)
            count += 1
    except json.JSONDecodeError as error:
        where = error.pos if error.doc is text else position
        return Reading(Shape.INVALID, error=f"{error.msg} at character {where} of {len(text)}")
    except RecursionError:
        return Reading(Shape.TOO_DEEP)
    except ValueError as error:
        return Reading(Shape.INVALID, error=f"{error} at character {position} of {len(text)}")
    if count > 1:
        return Reading(Shape.SEVERAL)
    return Reading(Shape.OBJECT if isinstance(value, dict) else Shape.OTHER, value)


def canonical(value: Any) -> str:
    """One spelling for all texts with the same meaning. Raises RecursionError for values nested too deep."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


_OUTSIDE_STRING = re.compile(r'["{}\[\]]')
_INSIDE_STRING = re.compile(r'["\\]')


class GrowingText:
    """Answers, while a text grows, whether it is one whole JSON value so far.

    Each character is looked at once, however often the question is asked: a server that makes us ask at every
    delta must not make us read everything again at every delta.
    """

    __slots__ = ("_depth", "_escaped", "_in_string", "_never", "_pieces", "_whole")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._whole = False
        self._never = False

    def feed(self, text: str) -> None:
        if self._never or not text.strip(_WHITE_SPACE):
            return
        if self._whole:
            self._never, self._whole = True, False
            return
        if not self._pieces:
            text = text.lstrip(_WHITE_SPACE)
            # Arguments that are a bare string, number or literal are rare; they are left to the end.
            if text[0] not in "{[":
                self._never = True
                return
        self._pieces.append(text)
        end = self._scan(text)
        if end is None:
            return
        whole = "".join(self._pieces)
        self._pieces = []
        rest = text[end:].strip(_WHITE_SPACE)
        self._whole = not rest and read(whole).shape in {Shape.OBJECT, Shape.OTHER}
        self._never = not self._whole

    def _scan(self, text: str) -> int | None:
        """The position behind the bracket that closes the value, or None where it is still open."""
        position = 0
        if self._escaped:
            position, self._escaped = 1, False
        while True:
            match = (_INSIDE_STRING if self._in_string else _OUTSIDE_STRING).search(text, position)
            if match is None:
                return None
            position = match.end()
            mark = match.group()
            if mark == '"':
                self._in_string = not self._in_string
            elif mark == "\\":
                self._escaped = position == len(text)
                position += 1
            else:
                self._depth += 1 if mark in "{[" else -1
                if self._depth <= 0:
                    return position

    @property
    def whole(self) -> bool:
        return self._whole
