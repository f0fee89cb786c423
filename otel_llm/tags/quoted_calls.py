"""Calls with delimiters of their own around strings: `call:NAME{key:<|"|>text<|"|>,other:{n:1}}`.  Pure.

Strings are raw: nothing in them is escaped. Keys are bare, and so is any other value. Some models write strings of JSON
instead. A call is read argument by argument: see `keyed_arguments.py`.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from otel_llm.tags.brackets import MOST_HELD
from otel_llm.tags.cursor import Cursor, Step, literal, peek, run, until, white
from otel_llm.tags.grammars import Context, Grammar, closer, tool_name
from otel_llm.tags.json_text import string
from otel_llm.tags.keyed_arguments import KeyedArguments
from otel_llm.tags.pieces import ParsedCall, PieceBuffer
from otel_llm.tags.python_syntax import NotACall

_KEY = re.compile(r"[^\n,:\[\]{}<\"]*")
_BARE = re.compile(r"[^\n,\[\]{}<]*")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_DEEPEST = 100
_LONGEST_BARE = 4096


def quoted_call(delimiters: tuple[str, str], *closers: str) -> Grammar:
    """`call:NAME{…}`, once or more. `delimiters`: those before and after a string."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            yield from white(cursor)
            name = ""
            if (yield from literal(cursor, "call:")):
                name = yield from tool_name(cursor)
            if not name or (yield from peek(cursor)) != "{":
                cursor.rewind(place)
                break
            call = out.begin(context.format, opening=context.opening)
            out.name(call, name)
            if not (yield from _Arguments(cursor, out, call, delimiters, closers).read()):
                out.commit_as_text()
                return True
            cursor.settle()
        if not out.committed:
            return False
        cursor.settle()
        yield from closer(cursor, closers)
        return True

    return read


class _Arguments(KeyedArguments):
    opening, assignment, closing, repeats = "{", ":", "}", True

    def __init__(
        self,
        cursor: Cursor,
        out: PieceBuffer,
        call: ParsedCall,
        delimiters: tuple[str, str],
        closers: tuple[str, ...],
    ) -> None:
        super().__init__(cursor, out, call)
        self._delimiters = delimiters
        self._closers = closers

    def _rest(self) -> Step[bool]:
        """Up to a closing marker."""
        _, end = yield from until(self._cursor, self._closers, self._emit)
        self._cursor.back(len(end or ""))
        return end is not None

    def _key(self) -> Step[str]:
        cursor = self._cursor
        opening, closing = self._delimiters
        if (yield from literal(cursor, opening)):
            key, end = yield from until(cursor, (closing,), most=_LONGEST_BARE)
            return key if end else ""
        if (yield from peek(cursor)) == '"':
            return (yield from string(cursor, _ignore)) or ""
        return (yield from run(cursor, _KEY, _LONGEST_BARE)).strip()

    def _value(self) -> Step[bool | None]:
        """Read a value. Returns whether it can be read; None if the text ended within a string."""
        cursor = self._cursor
        if (yield from literal(cursor, self._delimiters[0])):
            self._emit('"')
            if (yield from until(cursor, self._delimiters[1:], self._string_writer()))[1] is None:
                return None
            self._emit('"')
            return True
        mark = yield from peek(cursor)
        if mark == '"':
            return True if (yield from string(cursor, self._emit)) is not None else None
        if mark and mark in "{[":
            text = yield from _brackets(cursor, self._delimiters)
        else:
            text = (yield from run(cursor, _BARE, _LONGEST_BARE)).strip() or None
        try:
            value = None if text is None else json.dumps(read_value(text, self._delimiters), ensure_ascii=False)
        except (NotACall, RecursionError):
            value = None
        if value is None:
            return False
        self._emit(value)
        return True


def _ignore(text: str) -> None:
    pass


def _brackets(cursor: Cursor, delimiters: tuple[str, str]) -> Step[str | None]:
    """Read up to the bracket that closes the first one; those in strings do not count."""
    pieces: list[str] = []
    length = depth = 0
    while length <= MOST_HELD:
        before, mark = yield from until(cursor, ("{", "}", "[", "]", '"', delimiters[0], "<"), most=MOST_HELD)
        if mark == "<":
            # The beginning of a marker, since no bare value has one.
            cursor.back(1)
            return None
        pieces.append(before)
        if mark == '"' and (before.rstrip() or pieces[-2][-1:])[-1:] in {":", ",", "[", "{"}:
            cursor.back(1)
            if (yield from string(cursor, pieces.append)) is None:
                return None
            continue
        pieces.append(mark or "")
        if mark == delimiters[0]:
            text, mark = yield from until(cursor, delimiters[1:], most=MOST_HELD)
            pieces += (text, mark or "")
            length += len(text)
        if mark is None:
            return None
        length += len(before)
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(mark, 0)
        if depth <= 0:
            return "".join(pieces)
    return None


def read_value(text: str, delimiters: tuple[str, str]) -> Any:
    """The one value in `text`. Raises NotACall."""
    reader = _Reader(text, delimiters)
    value = reader.value(0)
    if reader.place < len(text):
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
        if self._text.startswith('"', self.place):
            match = _QUOTED.match(self._text, self.place)
            if match is None:
                raise NotACall
            self.place = match.end()
            return json.loads(match.group(), strict=False)
        if self._takes("{"):
            mapping: dict[str, Any] = {}
            while not self._takes("}"):
                key = self.value(depth + 1) if self._string_comes() else self._bare(_KEY)
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
        return _scalar(self._bare(_BARE))

    def _string_comes(self) -> bool:
        return self._text.startswith((self._open, '"'), self.place)

    def _bare(self, characters: re.Pattern[str]) -> str:
        match = characters.match(self._text, self.place)
        text = match.group().strip() if match else ""
        if match is None or not text:
            raise NotACall
        self.place = match.end()
        return text


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
