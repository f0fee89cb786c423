"""Reads the arguments of a call that are written one after the other: `(key=value, …)` or `{key:value,…}`.  Pure.

A call is read argument by argument: strings as they come, other values at their end. It is a call for sure once its
first value is whole and a comma or the last bracket follows, or a string gets long; what cannot be read before is text.
From what cannot be read later on, the arguments are emitted as they came, so that nobody executes them.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable

from otel_llm.tags.cursor import Cursor, Step, literal, one_of, white
from otel_llm.tags.json_text import in_string
from otel_llm.tags.pieces import ParsedCall, PieceBuffer

# A longer string is emitted before its end shows what follows.
_LONG_STRING = 32


class KeyedArguments(ABC):
    """Reads the arguments of one call, from its opening bracket.

    `opening`, `assignment` and `closing`: the brackets around the arguments, and what stands between key and value.
    `repeats`: whether a key may come again.
    """

    opening: str
    assignment: str
    closing: str
    repeats: bool

    def __init__(self, cursor: Cursor, out: PieceBuffer, call: ParsedCall) -> None:
        self._cursor = cursor
        self._out = out
        self._call = call

    @abstractmethod
    def _key(self) -> Step[str]:
        """Read a key. Empty if none can be read."""

    @abstractmethod
    def _value(self) -> Step[bool | None]:
        """Read a value, and emit it. Returns whether it can be read; None if the text ended within a string."""

    @abstractmethod
    def _rest(self) -> Step[bool]:
        """Read the rest of arguments that cannot be read, and emit it as it is. Returns whether their end came."""

    def read(self) -> Step[bool]:
        """Returns whether it is a call. If not, nothing was emitted for good."""
        cursor, keys = self._cursor, set[str]()
        yield from literal(cursor, self.opening)
        self._emit("{")
        while True:
            yield from white(cursor)
            if (yield from literal(cursor, self.closing)):
                break
            fault = cursor.mark()
            key = yield from self._key()
            yield from white(cursor)
            if not key or (key in keys and not self.repeats) or not (yield from literal(cursor, self.assignment)):
                return (yield from self._fails(fault))
            yield from white(cursor)
            self._emit(f"{', ' if keys else ''}{json.dumps(key, ensure_ascii=False)}: ")
            keys.add(key)
            fault = cursor.mark()
            is_read = yield from self._value()
            if is_read is None and self._out.committed:
                self._out.end(self._call, complete=False)
                return True
            if not is_read:
                return (yield from self._fails(fault))
            yield from white(cursor)
            mark = yield from one_of(cursor, (",", self.closing))
            if mark is None:
                return (yield from self._fails(cursor.mark()))
            self._out.commit()
            cursor.settle()
            if mark == self.closing:
                break
        self._emit("}")
        self._out.end(self._call)
        self._out.commit()
        return True

    def _fails(self, place: int) -> Step[bool]:
        """The arguments cannot be read from `place` on: emit the rest of them as it is, which is no JSON."""
        cursor = self._cursor
        if not self._out.committed:
            return False
        cursor.rewind(place)
        cursor.settle()
        is_whole = yield from self._rest()
        self._call.well_formed = False
        self._out.end(self._call, complete=is_whole)
        return True

    def _emit(self, text: str) -> None:
        self._out.arguments(self._call, text)
        if self._out.committed:
            # What is emitted is not given back.
            self._cursor.settle()

    def _string_writer(self, read: Callable[[str], str] = str) -> Callable[[str], None]:
        """Emits the pieces of one string, as `read` reads them. A long one is an argument for sure."""
        length = 0

        def emit(piece: str) -> None:
            nonlocal length
            length += len(piece)
            if length > _LONG_STRING:
                self._out.commit()
            self._emit(in_string(read(piece)))

        return emit
