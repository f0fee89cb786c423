"""Calls whose strings stand between delimiters of their own: `call:NAME{key:<|"|>text<|"|>,other:{n:1}}`.  Pure.

Strings are raw: nothing in them is escaped. Keys are bare. A call is held back to its last brace, and is text if it
cannot be read.
"""

from __future__ import annotations

import math
import re
from typing import Any

from otel_llm.tags.brackets import MOST_HELD
from otel_llm.tags.cursor import Cursor, Step, literal, peek, until, white
from otel_llm.tags.grammars import Context, Grammar, closer, emit_call, tool_name
from otel_llm.tags.pieces import PieceBuffer
from otel_llm.tags.python_syntax import NotACall

_BARE = re.compile(r"[^\s,:\[\]{}]+")
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_DEEPEST = 100


def quoted_call(delimiters: tuple[str, str], *closers: str) -> Grammar:
    """`call:NAME{…}`. `delimiters`: what stands before and behind a string."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        yield from white(cursor)
        if not (yield from literal(cursor, "call:")):
            return False
        name = yield from tool_name(cursor)
        if not name or (yield from peek(cursor)) != "{":
            return False
        body = yield from _braces(cursor, delimiters)
        try:
            arguments = None if body is None else read_arguments(body, delimiters)
        except (NotACall, RecursionError):
            arguments = None
        if arguments is None:
            out.commit_as_text()
            return True
        out.commit()
        emit_call(out, context, name, arguments)
        yield from closer(cursor, closers)
        return True

    return read


def _braces(cursor: Cursor, delimiters: tuple[str, str]) -> Step[str | None]:
    """Read up to the brace that closes the first one; braces between delimiters do not count."""
    pieces: list[str] = []
    length = depth = 0
    while length <= MOST_HELD:
        before, mark = yield from until(cursor, ("{", "}", delimiters[0], "<"), most=MOST_HELD)
        if mark == "<":
            # The beginning of a marker, since no bare value has one.
            cursor.back(1)
            return None
        pieces += (before, mark or "")
        if mark == delimiters[0]:
            text, mark = yield from until(cursor, (delimiters[1],), most=MOST_HELD)
            pieces += (text, mark or "")
            length += len(text)
        if mark is None:
            return None
        length += len(before)
        depth += {"{": 1, "}": -1}.get(mark, 0)
        if depth <= 0:
            return "".join(pieces)
    return None


def read_arguments(text: str, delimiters: tuple[str, str]) -> dict[str, Any]:
    """The arguments in `text`, which begins and ends with a brace. Raises NotACall."""
    reader = _Reader(text, delimiters)
    value = reader.value(0)
    if reader.place < len(text) or not isinstance(value, dict):
        raise NotACall
    return value


class _Reader:
    def __init__(self, text: str, delimiters: tuple[str, str]) -> None:
        self._text = text
        self._open, self._close = delimiters
        self.place = 0

    def _takes(self, mark: str) -> bool:
        while self._text[self.place : self.place + 1].isspace():
            self.place += 1
        if not self._text.startswith(mark, self.place):
            return False
        self.place += len(mark)
        return True

    def _want(self, mark: str) -> None:
        if not self._takes(mark):
            raise NotACall

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise NotACall
        if self._takes(self._open):
            end = self._text.find(self._close, self.place)
            if end < 0:
                raise NotACall
            text = self._text[self.place : end]
            self.place = end + len(self._close)
            return text
        if self._takes("{"):
            mapping: dict[str, Any] = {}
            while not self._takes("}"):
                key = self.value(depth + 1) if self._text.startswith(self._open, self.place) else self._bare()
                self._want(":")
                mapping[str(key)] = self.value(depth + 1)
                if not self._takes(","):
                    self._want("}")
                    break
            return mapping
        if self._takes("["):
            items: list[Any] = []
            while not self._takes("]"):
                items.append(self.value(depth + 1))
                if not self._takes(","):
                    self._want("]")
                    break
            return items
        return _scalar(self._bare())

    def _bare(self) -> str:
        match = _BARE.match(self._text, self.place)
        if match is None:
            raise NotACall
        self.place = match.end()
        return match.group()


def _scalar(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    value = _number(text, int)
    if value is None:
        value = _number(text, float)
    return text if value is None else value


def _number(text: str, kind: type[int | float]) -> int | float | None:
    try:
        value = kind(text)
    except ValueError:
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None
