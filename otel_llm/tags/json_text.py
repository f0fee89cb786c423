"""Reads a JSON value, or one that is almost JSON, while it comes, and emits it as JSON.  Pure.

What is valid JSON is emitted to the byte. What Python and JavaScript write otherwise is mended: single quotes, `True`,
`None` and `NaN`, tuples, bare keys, their escapes and numbers, commas before a closing bracket, and line breaks in
strings. If a closing marker comes behind a whole value, the brackets that are missing are added. From anything else on,
the rest of the value is emitted as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Literal

from otel_llm.tags.cursor import Cursor, Step
from otel_llm.tags.python_syntax import NotACall, read_literal

# `closed`: read to its end. `stopped`: a closing marker came first. `cut`: the text ended first.
End = Literal["closed", "stopped", "cut"]

_IN_STRING = {'"': re.compile(r'["\\\x00-\x1f]'), "'": re.compile(r"['\"\\\x00-\x1f]")}
_FIND_IN_STRING = {quote: pattern.search for quote, pattern in _IN_STRING.items()}
_IN_RAW_STRING = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"[^\s,\]}\[{()<\"':]*")
_JSON_SCALAR = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null", re.ASCII)
_PYTHON_NUMBER = re.compile(r"[-+]?[\d.][\w.+\-]*", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$.\-]*")
_WORDS = {
    "True": "true",
    "False": "false",
    "None": "null",
    "NaN": "null",
    "nan": "null",
    "Infinity": "null",
    "-Infinity": "null",
    "undefined": "null",
}
_ESCAPES = frozenset('"\\/bfnrt')
_HEX = re.compile(r"[0-9a-fA-F]*")
_HEX_DIGITS = {"u": 4, "x": 2, "U": 8}
_CLOSING = {"{": "}", "[": "]", "(": "]"}
# Longer than any number or word, and more white space than anyone writes behind a comma.
_LONGEST_SCALAR = 512
# What may come next: a key, a colon, a value or a comma. After an opening bracket, its closing one may too.
_FIRST_KEY, _KEY, _COLON, _VALUE, _FIRST_ITEM, _ITEM, _END = range(7)
_KEYS = frozenset({_FIRST_KEY, _KEY})
_VALUES = frozenset({_VALUE, _FIRST_ITEM, _ITEM})
_NO_STRINGS = frozenset({_COLON, _END})
_CLOSABLE = frozenset({_FIRST_KEY, _FIRST_ITEM, _END})


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


_STRICT = json.JSONDecoder(parse_constant=_refuse)
_SHORTEST_WHOLE = 16


def container(
    cursor: Cursor, emit: Callable[[str], None], stops: Sequence[str], depth: int = 0, *, is_arguments: bool = False
) -> Step[End]:
    """Read an object or array and emit it as it comes. With `depth`, the rest of a malformed one that is open so far.

    `is_arguments`: it is the arguments of a call, so what `Cursor.find_other` does not find may be passed on.

    One of `stops` (closing markers) outside of a string ends it too, and is left unread; inside a string it is text.
    """
    if not depth and cursor.waiting >= _SHORTEST_WHOLE and cursor.text.find("}", cursor.position) >= 0:
        # All of it may be there, and be JSON.
        try:
            _, end = _STRICT.raw_decode(cursor.text, cursor.position)
        except (ValueError, RecursionError):
            pass
        else:
            emit(cursor.take(end - cursor.position))
            return "closed"
    return (yield from _read(cursor, emit, _Reader(tuple(stops), depth), is_arguments=is_arguments))


def string(
    cursor: Cursor, emit: Callable[[str], None], emit_cut: Callable[[str], None] | None = None
) -> Step[str | None]:
    """Read a quoted string and emit it as it comes, quotes included. Returns its value.

    If the text ends first it returns None, and passes the value so far to `emit_cut`.
    """
    pieces: list[str] = []

    def take(piece: str) -> None:
        pieces.append(piece)
        emit(piece)

    end = yield from _read(cursor, take, _Reader(()))
    if end == "closed":
        return str(json.loads("".join(pieces)))
    if emit_cut is not None:
        emit_cut(str(json.loads("".join((*pieces, '"')))))
    return None


def in_string(text: str) -> str:
    """The text as it is written within a string of JSON."""
    return encode_basestring(text)[1:-1]


def scalar_as_json(text: str) -> str | None:
    """The JSON of a number or a word of JSON or Python. None for other text."""
    if _JSON_SCALAR.fullmatch(text):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _PYTHON_NUMBER.fullmatch(text):
        try:
            return json.dumps(read_literal(text))
        except NotACall:
            return None
    return None


def as_json(text: str) -> str:
    """The JSON of a text that holds a value, as far as it came. Text that is no value becomes a string."""
    bare = text.strip()
    if bare[:1] not in {"{", "["}:
        return "" if not bare else scalar_as_json(bare) or json.dumps(text, ensure_ascii=False)
    held = Cursor()
    held.feed(bare)
    held.ended = True
    pieces: list[str] = []
    for _ in container(held, pieces.append, ()):
        pass
    return "".join(pieces)


def _read(cursor: Cursor, emit: Callable[[str], None], reader: _Reader, *, is_arguments: bool = False) -> Step[End]:
    while True:
        start = cursor.position
        place, piece, end = reader.read(cursor.text, start, ended=cursor.ended)
        cursor.position = place
        if piece:
            emit(piece)
        if end is not None:
            return end
        if cursor.ended:
            cursor.position = len(cursor.text)
            return "cut"
        if is_arguments and reader.quote and not reader.raw_depth:
            cursor.find_other = _FIND_IN_STRING[reader.quote]
            yield
            cursor.find_other = None
        else:
            yield


class _Reader:
    """Reads one value from a text that comes in pieces. What more text may change is left unread."""

    __slots__ = ("_expected", "_open", "_stops", "quote", "raw_depth")

    def __init__(self, stops: tuple[str, ...], raw_depth: int = 0) -> None:
        self._stops = stops
        self._open: list[str] = []
        """The brackets that are missing so far."""
        self._expected = _VALUE
        self.quote = ""
        """That of the string that is being read."""
        self.raw_depth = raw_depth
        """From a fault on: how many brackets are open."""

    def read(self, text: str, start: int, *, ended: bool) -> tuple[int, str, End | None]:
        """Read on at `start`. Returns where it stopped, what it emits, and how the value ended if it did."""
        if self.raw_depth:
            return self._read_raw(text, start, ended=ended)
        size = len(text)
        if self.quote and _IN_STRING[self.quote].search(text, start) is None:
            return size, text[start:] if start else text, None
        place = copied = start
        parts: list[str] = []
        end: End | None = None
        while place < size:
            if self.quote:
                match = _IN_STRING[self.quote].search(text, place)
                if match is None:
                    place = size
                    break
                place, mark = match.start(), match.group()
                if mark == self.quote:
                    self.quote = ""
                    place += 1
                    if mark == "'":
                        parts += (text[copied : place - 1], '"')
                        copied = place
                    if not self._open:
                        end = "closed"
                        break
                    continue
                if mark == "\\":
                    length, written = _escape(text, place)
                    if not length:
                        if ended:
                            parts.append(text[copied:place])
                            copied = place = size
                        break
                else:
                    length, written = 1, in_string(mark)
                if written:
                    parts += (text[copied:place], written)
                    copied = place + length
                place += length
                continue
            space = _SPACE.match(text, place)
            place = space.end() if space else place
            if place == size:
                break
            mark = text[place]
            stop = _stop_at(text, place, self._stops) if self._stops else False
            if stop is None:
                if ended:
                    parts.append(text[copied:place])
                    copied = place = size
                break
            if stop:
                if self._expected == _END:
                    parts += (text[copied:place], "".join(reversed(self._open)))
                    copied = place
                end = "stopped"
                break
            expected = self._expected
            if mark in "\"'" and expected not in _NO_STRINGS:
                self.quote = mark
                self._expected = _COLON if expected in _KEYS else _END
                if mark == "'":
                    parts += (text[copied:place], '"')
                    copied = place + 1
                place += 1
            elif mark == ":" and expected == _COLON:
                self._expected = _VALUE
                place += 1
            elif mark == "," and expected == _END:
                behind = self._behind_comma(text, place + 1, ended=ended)
                if behind is None:
                    break
                if behind:
                    self._expected = _KEY if self._open[-1] == "}" else _ITEM
                else:
                    parts.append(text[copied:place])
                    copied = place + 1
                place += 1
            elif mark in _CLOSING and expected in _VALUES:
                self._open.append(_CLOSING[mark])
                self._expected = _FIRST_KEY if mark == "{" else _FIRST_ITEM
                if mark == "(":
                    parts += (text[copied:place], "[")
                    copied = place + 1
                place += 1
            elif mark in "}])" and expected in _CLOSABLE and self._open[-1] == ("]" if mark == ")" else mark):
                if mark == ")":
                    parts += (text[copied:place], "]")
                    copied = place + 1
                place += 1
                self._open.pop()
                self._expected = _END
                if not self._open:
                    end = "closed"
                    break
            else:
                word = _SCALAR.match(text, place)
                found = word.group() if word else ""
                if place + len(found) == size and not ended and len(found) < _LONGEST_SCALAR:
                    break
                written_as = self._scalar(found)
                if written_as is None and ended and place + len(found) == size and _is_cut(found):
                    # A word of Python that was cut off.
                    parts.append(text[copied:place])
                    copied = place = size
                    break
                if written_as is None:
                    self.raw_depth = max(len(self._open), 1)
                    before = "".join((*parts, text[copied:place]))
                    place, piece, end = self._read_raw(text, place, ended=ended)
                    return place, before + piece, end
                if written_as != found:
                    parts += (text[copied:place], written_as)
                    copied = place + len(found)
                place += len(found)
        parts.append(text[copied:place])
        return place, "".join(parts), end

    def _scalar(self, text: str) -> str | None:
        if self._expected in _VALUES:
            written = scalar_as_json(text)
            if written is not None:
                self._expected = _END
            return written
        if self._expected in _KEYS and _IDENTIFIER.fullmatch(text):
            self._expected = _COLON
            return f'"{text}"'
        return None

    def _behind_comma(self, text: str, place: int, *, ended: bool) -> bool | None:
        """Whether anything comes behind a comma but a closing bracket or marker. None if more text decides."""
        space = _SPACE.match(text, place)
        behind = space.end() if space else place
        if behind == len(text):
            return True if ended or behind - place > _LONGEST_SCALAR else None
        stop = _stop_at(text, behind, self._stops)
        if stop is None:
            return False if ended else None
        return not stop and text[behind] not in "}])"

    def _read_raw(self, text: str, start: int, *, ended: bool) -> tuple[int, str, End | None]:
        """Read on behind a fault: only strings and brackets count."""
        outside = _outside(self._stops)
        place, size = start, len(text)
        end: End | None = None
        while place < size:
            match = (_IN_RAW_STRING[self.quote] if self.quote else outside).search(text, place)
            if match is None:
                place = size
                break
            place, mark = match.start(), match.group()
            if mark == "\\":
                if place + 1 == size and not ended:
                    break
                place += 2
                continue
            if self.quote:
                self.quote = ""
            elif mark in "\"'":
                self.quote = mark
            else:
                stop = _stop_at(text, place, self._stops)
                if stop is None:
                    break
                if stop:
                    end = "stopped"
                    break
                self.raw_depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(mark, 0)
                if self.raw_depth <= 0:
                    place += 1
                    end = "closed"
                    break
            place += 1
        place = min(place, size)
        return place, text[start:place], end


def _is_cut(text: str) -> bool:
    return text != "" and any(word.startswith(text) for word in _WORDS)


def _escape(text: str, place: int) -> tuple[int, str]:
    """The length of the escape at `place`, and what it is written as, if not as it came. Zero if more text decides."""
    kind = text[place + 1 : place + 2]
    if not kind:
        return 0, ""
    if kind in _ESCAPES:
        return 2, ""
    if kind == "'":
        return 2, "'"
    if wanted := _HEX_DIGITS.get(kind):
        match = _HEX.match(text, place + 2, place + 2 + wanted)
        digits = match.group() if match else ""
        if len(digits) == wanted:
            code = int(digits, 16)
            if kind == "u":
                return 6, ""
            if code < 0x110000:
                return 2 + wanted, json.dumps(chr(code))[1:-1]
        elif place + 2 + len(digits) == len(text):
            return 0, ""
    # No escape of JSON: the backslash is meant.
    return 1, "\\\\"


@lru_cache(maxsize=256)
def _outside(stops: tuple[str, ...]) -> re.Pattern[str]:
    firsts = "".join(sorted({re.escape(stop[0]) for stop in stops}))
    return re.compile(rf"[\"'{{}}\[\]{firsts}]")


def _stop_at(text: str, place: int, stops: Sequence[str]) -> bool | None:
    """Whether one of `stops` comes at `place`. None if more text decides, or if the end of the text cut it."""
    if any(text.startswith(stop, place) for stop in stops):
        return True
    return None if is_cut_word(text, place, stops) else False


def is_cut_word(text: str, place: int, words: Sequence[str]) -> bool:
    """Whether all that is left of a text, which is not nothing, is the beginning of one of `words`."""
    rest = len(text) - place
    return rest > 0 and any(rest < len(word) and word.startswith(text[place:]) for word in words)
