"""Reads a call that is written as one JSON object, while it comes.  Pure.

Bodies that are almost JSON are read too, and emitted as JSON: see `json_text.py`. A body that cannot be understood is
read to its end all the same, so that none of its text is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, white
from otel_llm.tags.json_text import End, as_json, container, is_cut_word, scalar_as_json, string
from otel_llm.tags.pieces import ParsedCall, PieceBuffer

NAME_KEYS = frozenset({"name", "tool_name", "function"})
ARGUMENT_KEYS = frozenset({"arguments", "parameters", "args"})
CALL_KEYS = NAME_KEYS | ARGUMENT_KEYS | {"id", "type", "tool_call_id", "call_id", "index"}

_KEY = re.compile(r"[\w.\-]*")
# More white space than anyone writes behind a comma.
_MOST_BEHIND = 512
_WHITE = re.compile(r"\s*")
_SCALAR = re.compile(r"[^\s,\]}\[{<\"':]*")


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
    for it. With a name that `is_sure` takes it is a call for sure, and `out` commits to it.
    """

    def __init__(
        self, out: PieceBuffer, call: ParsedCall, stops: Sequence[str], is_sure: Callable[[str], bool] | None = None
    ) -> None:
        self._out = out
        self._call = call
        self._stops = stops
        self._is_sure = is_sure
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
            if not key_may_come and (yield from self._stop_comes(cursor)):
                # Only the last brace is missing.
                return self._stopped()
            if mark == "," and not key_may_come:
                space = yield from self._comma(cursor)
                if space is not None:
                    body(space)
                    continue
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

    def _stop_comes(self, cursor: Cursor) -> Step[bool]:
        word = (yield from one_of(cursor, self._stops)) if self._stops else None
        cursor.back(len(word or ""))
        return word is not None

    def _stopped(self) -> End:
        self._body("}")
        self._call.well_formed = False
        return "stopped"

    def _comma(self, cursor: Cursor) -> Step[str | None]:
        """Read a comma behind which the object ends, and the white space after it. None if it is another."""
        while True:
            text = cursor.text
            match = _WHITE.match(text, cursor.position + 1)
            place = match.end() if match else len(text)
            is_cut = is_cut_word(text, place, self._stops)
            if cursor.ended or cursor.waiting > _MOST_BEHIND or not (place == len(text) or is_cut):
                break
            yield
        if not text.startswith(("}", *self._stops), place) and not is_cut:
            return None
        cursor.take(1)
        return cursor.take(place - cursor.position)

    def _value(self, cursor: Cursor, key: str) -> Step[End | None]:
        """Read the value of `key`. Returns how the object ended, or None if it goes on."""
        is_arguments = key in ARGUMENT_KEYS and not self.has_arguments
        mark = yield from peek(cursor)
        if mark and mark in "\"'":
            if is_arguments:
                read: list[str] = []
                if self._out.committed:
                    self._out.unwritten = lambda: "".join(read)
                value = yield from string(cursor, read.append, self._encoded_arguments)
                self._out.unwritten = None
            else:
                value = yield from string(cursor, self._body)
            if value is None:
                return (yield from self._malformed(cursor))
            if is_arguments:
                self._encoded_arguments(value)
            elif key in NAME_KEYS and self._call.name is None:
                self._take_name(value)
        elif mark == "{" and key == "function" and self._call.name is None:
            # The shape of the API: `{"type": "function", "function": {"name": …, "arguments": …}}`.
            inner = ObjectCall(self._out, self._call, self._stops, self._is_sure)
            inner.has_arguments = self.has_arguments
            end = yield from inner.read(cursor)
            self.has_arguments = inner.has_arguments
            return None if end == "closed" else end
        elif mark and mark in "{[(":
            emit = self._body_and_arguments if is_arguments else self._body
            end = yield from container(
                cursor, emit, self._stops, is_arguments=is_arguments and self._call.name is not None
            )
            if end == "stopped":
                return self._stopped()
            if end != "closed":
                self._call.well_formed = False
                return end
        else:
            scalar = yield from run(cursor, _SCALAR, 4096)
            written = scalar_as_json(scalar)
            self._body(scalar if written is None else written)
            if written is None:
                return (yield from self._malformed(cursor))
            if is_arguments and written != "null":
                self._arguments(written)
        return None

    def _take_name(self, name: str) -> None:
        self._out.name(self._call, name)
        if self._is_sure is None or self._is_sure(name):
            self._out.commit()
        for piece in self._waiting:
            self._out.arguments(self._call, piece)
        self._waiting.clear()

    def _body_and_arguments(self, text: str) -> None:
        self._body(text)
        self._arguments(text)

    def _encoded_arguments(self, text: str) -> None:
        """Some models encode the arguments twice: the string holds the JSON."""
        arguments = as_json(text)
        self._body(arguments or "{}")
        self._arguments(arguments)

    def _arguments(self, text: str) -> None:
        self.has_arguments = True
        if self._call.name is None:
            self._waiting.append(text)
        else:
            self._out.arguments(self._call, text)

    def _malformed(self, cursor: Cursor) -> Step[End]:
        """The object is not the JSON of a call: read on to its end."""
        self._call.well_formed = False
        if cursor.ended and is_cut_word(cursor.text, cursor.position, self._stops):
            cursor.take(cursor.waiting)
        return (yield from container(cursor, self._body, self._stops, depth=1))
