"""Reads a call that is written as one JSON object, while it comes.  Pure.

Bodies that are almost JSON are read too: single quotes, `True`, a missing last brace. A body that cannot be understood
is read to its end all the same, so that none of its text is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

from otel_llm.tags.cursor import Cursor, Step, literal, peek, run, white
from otel_llm.tags.pieces import ParsedCall, PieceBuffer

NAME_KEYS = frozenset({"name", "tool_name", "function"})
ARGUMENT_KEYS = frozenset({"arguments", "parameters", "args"})
CALL_KEYS = NAME_KEYS | ARGUMENT_KEYS | {"id", "type", "tool_call_id", "call_id", "index"}

# `closed`: read to its end. `stopped`: a closing marker came first. `cut`: the text ended first.
End = Literal["closed", "stopped", "cut"]

_KEY = re.compile(r"[\w.\-]*")
_IN_STRING = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
_SCALAR = re.compile(r"[^\s,\]}\[{<\"':]*")


def container(cursor: Cursor, emit: Callable[[str], None], stops: Sequence[str], depth: int = 0) -> Step[End]:
    """Read an object or array, or the rest of one that is open to `depth`, and emit it as it comes.

    One of `stops` (closing markers) outside of a string ends it too, and is left unread; inside a string it is text.
    """
    quote = ""
    escaped = False
    outside = _outside(tuple(stops))
    while True:
        text, start = cursor.text, cursor.position
        place, length = start, len(text)
        end: End | None = None
        if escaped and place < length:
            place, escaped = place + 1, False
        while place < length:
            match = (_IN_STRING[quote] if quote else outside).search(text, place)
            if match is None:
                place = length
                break
            mark, place = match.group(), match.end()
            if mark == "\\":
                escaped = place == length
                place += 1
            elif quote:
                quote = ""
            elif mark in "\"'":
                quote = mark
            elif any(text.startswith(stop, place - 1) for stop in stops):
                place -= 1
                end = "stopped"
                break
            elif not cursor.ended and _may_stop(text, place - 1, stops):
                place -= 1
                break
            elif mark in "{[":
                depth += 1
            elif mark in "}]":
                depth -= 1
                if depth <= 0:
                    end = "closed"
                    break
        place = min(place, length)
        if place > start:
            emit(cursor.take(place - start))
        if end is not None:
            return end
        if cursor.ended:
            return "cut"
        yield


@lru_cache(maxsize=256)
def _outside(stops: tuple[str, ...]) -> re.Pattern[str]:
    firsts = "".join(sorted({re.escape(stop[0]) for stop in stops}))
    return re.compile(rf"[\"'{{}}\[\]{firsts}]")


def _may_stop(text: str, place: int, stops: Sequence[str]) -> bool:
    rest = len(text) - place
    return any(rest < len(stop) and stop.startswith(text[place:]) for stop in stops)


def string(
    cursor: Cursor, emit: Callable[[str], None], emit_cut: Callable[[str], None] | None = None
) -> Step[str | None]:
    """Read a quoted string and emit it as it comes, quotes included. Returns its value.

    If the text ends first it returns None, and passes the value so far to `emit_cut`.
    """
    quote = yield from peek(cursor)
    pieces = [cursor.take(1)]
    emit(quote)
    escaped = False
    while True:
        text, start = cursor.text, cursor.position
        place, closed = start, False
        while place < len(text):
            if escaped:
                place, escaped = place + 1, False
                continue
            match = _IN_STRING[quote].search(text, place)
            if match is None:
                place = len(text)
            elif match.group() == "\\":
                place, escaped = match.end(), True
            else:
                place, closed = match.end(), True
                break
        if place > start:
            piece = cursor.take(place - start)
            pieces.append(piece)
            emit(piece)
        if closed:
            return _decode("".join(pieces))
        if cursor.ended:
            if emit_cut is not None:
                emit_cut(_decode(_OPEN_ESCAPE.sub(r"\1", "".join(pieces)) + quote))
            return None
        yield


_OPEN_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:u[0-9a-fA-F]{0,3})?$")


def _decode(quoted: str) -> str:
    if quoted[0] == "'":
        inner = quoted[1:-1].replace("\\'", "'")
        quoted = '"' + re.sub(r'(?<!\\)"', r"\"", inner) + '"'
    try:
        value = json.loads(quoted, strict=False)
    except ValueError:
        return quoted[1:-1]
    return str(value)


def object_begins(cursor: Cursor) -> Step[bool]:
    """Whether an object comes whose first key is one of a call's. It is left unread."""
    place = cursor.mark()
    begins = yield from _first_key_is_of_call(cursor)
    cursor.rewind(place)
    return begins


def _first_key_is_of_call(cursor: Cursor) -> Step[bool]:
    if not (yield from literal(cursor, "{")):
        return False
    yield from white(cursor)
    quote = yield from peek(cursor)
    if not quote or quote not in "\"'":
        return False
    cursor.take(1)
    key = yield from run(cursor, _KEY, 32)
    if key not in CALL_KEYS or not (yield from literal(cursor, quote)):
        return False
    yield from white(cursor)
    return (yield from literal(cursor, ":"))


class ObjectCall:
    """Reads one JSON object that is known to be a call, from its opening brace.

    Emits its text as `body` pieces, its name, and its arguments as they come. Arguments that come before the name wait
    for it.
    """

    def __init__(self, out: PieceBuffer, call: ParsedCall, stops: Sequence[str]) -> None:
        self._out = out
        self._call = call
        self._stops = stops
        self._waiting: list[str] = []
        self.has_arguments = False
        """Whether arguments were emitted, or wait for the name."""

    def read(self, cursor: Cursor) -> Step[End]:
        body = self._body
        body(cursor.take(1))
        key_may_come = True
        while True:
            body((yield from white(cursor)))
            mark = yield from peek(cursor)
            if mark == "}":
                body(cursor.take(1))
                if self._call.name is None:
                    self._call.well_formed = False
                return "closed"
            if mark == "," and not key_may_come:
                body(cursor.take(1))
                key_may_come = True
                continue
            if not key_may_come or not mark or mark not in "\"'":
                return (yield from self._malformed(cursor))
            key = yield from string(cursor, body)
            if key is None:
                return (yield from self._malformed(cursor))
            body((yield from white(cursor)))
            if not (yield from literal(cursor, ":")):
                return (yield from self._malformed(cursor))
            body(":")
            body((yield from white(cursor)))
            end = yield from self._value(cursor, key)
            if end is not None:
                return end
            key_may_come = False

    def _body(self, text: str) -> None:
        self._out.body(self._call, text)

    def _value(self, cursor: Cursor, key: str) -> Step[End | None]:
        """Read the value of `key`. Returns how the object ended, or None if it goes on."""
        is_arguments = key in ARGUMENT_KEYS and not self.has_arguments
        mark = yield from peek(cursor)
        if mark and mark in "\"'":
            value = yield from string(cursor, self._body, self._arguments if is_arguments else None)
            if value is None:
                return (yield from self._malformed(cursor))
            if key in NAME_KEYS and self._call.name is None:
                self._take_name(value)
            elif is_arguments:
                # Some models encode the arguments twice: the string holds the JSON.
                self._arguments(value)
        elif mark == "{" and key == "function" and self._call.name is None:
            # The shape of the API: `{"type": "function", "function": {"name": …, "arguments": …}}`.
            inner = ObjectCall(self._out, self._call, self._stops)
            inner.has_arguments = self.has_arguments
            end = yield from inner.read(cursor)
            self.has_arguments = inner.has_arguments
            return None if end == "closed" else end
        elif mark and mark in "{[":
            end = yield from container(cursor, self._body_and_arguments if is_arguments else self._body, self._stops)
            if end != "closed":
                self._call.well_formed = False
                return end
        else:
            scalar = yield from run(cursor, _SCALAR, 4096)
            self._body(scalar)
            if not scalar:
                return (yield from self._malformed(cursor))
            if is_arguments and scalar not in {"null", "None"}:
                self._arguments(scalar)
        return None

    def _take_name(self, name: str) -> None:
        self._out.name(self._call, name)
        for piece in self._waiting:
            self._out.arguments(self._call, piece)
        self._waiting.clear()

    def _body_and_arguments(self, text: str) -> None:
        self._body(text)
        self._arguments(text)

    def _arguments(self, text: str) -> None:
        self.has_arguments = True
        if self._call.name is None:
            self._waiting.append(text)
        else:
            self._out.arguments(self._call, text)

    def _malformed(self, cursor: Cursor) -> Step[End]:
        """The object is not the JSON of a call: read on to its end."""
        self._call.well_formed = False
        return (yield from container(cursor, self._body, self._stops, depth=1))
