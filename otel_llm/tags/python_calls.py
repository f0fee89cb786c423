"""The grammar for calls in Python's syntax: `[name(key=value), …]`, or one call after the other.  Pure.

Behind a marker a call is read argument by argument (see `keyed_arguments.py`). In a program, and without a marker, only
the whole decides, and a call is held back to its last bracket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from otel_llm.tags.brackets import PYTHON, balanced
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, until, white
from otel_llm.tags.grammars import Context, Grammar, closer, emit_call, tool_name
from otel_llm.tags.json_body import CALL_KEYS
from otel_llm.tags.keyed_arguments import KeyedArguments
from otel_llm.tags.lenient_json import call_in
from otel_llm.tags.pieces import PieceBuffer
from otel_llm.tags.python_syntax import ENDS, NotACall, read_calls, read_literal, unescape

_KEYWORD = re.compile(r"[\w.\-]*")
_SCALAR = re.compile(r"[\w.+\-]*")
_LONGEST_SCALAR = 512
_LONGEST_COMMENT = 1024
# These take more than one character behind the backslash, and none takes more than eight.
_LONG_ESCAPES = frozenset("xuU01234567\r")
_LONGEST_ESCAPE = 10


def python_calls(*closers: str) -> Grammar:
    """A list of calls, or calls one after the other, behind a marker."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        yield from white(cursor)
        in_list = yield from literal(cursor, "[")
        while True:
            place = cursor.mark()
            yield from white(cursor)
            name = yield from tool_name(cursor)
            if not name or not (yield from _arguments_begin(cursor)):
                cursor.rewind(place)
                break
            call = out.begin(context.format, opening=context.opening)
            out.name(call, name)
            if not (yield from _Arguments(cursor, out, call).read()):
                out.commit_as_text()
                return True
            cursor.settle()
            place = cursor.mark()
            yield from white(cursor)
            if (yield from one_of(cursor, (",", ";"))) is None:
                cursor.rewind(place)
        if not out.committed:
            return False
        cursor.settle()
        if in_list:
            yield from closer(cursor, ("]",))
        yield from closer(cursor, closers)
        return True

    return read


class _Arguments(KeyedArguments):
    opening, assignment, closing, repeats = "(", "=", ")", False

    def _key(self) -> Step[str]:
        return (yield from run(self._cursor, _KEYWORD))

    def _rest(self) -> Step[bool]:
        cursor = self._cursor
        cursor.mark()
        rest = yield from balanced(cursor, PYTHON, depth=1)
        self._emit(cursor.kept if rest is None else rest[:-1])
        cursor.settle()
        return not (cursor.ended and not cursor.waiting and rest is None)

    def _value(self) -> Step[bool | None]:
        """Read a value. Returns whether it can be read; None if the text ended within a string."""
        cursor = self._cursor
        mark = yield from peek(cursor)
        if mark and mark in "\"'":
            return (yield from self._strings()) or None
        if mark and mark in "[{(":
            text = yield from balanced(cursor, PYTHON)
        else:
            text = yield from run(cursor, _SCALAR, _LONGEST_SCALAR)
        try:
            value = None if text is None else json.dumps(read_literal(text), ensure_ascii=False)
        except (NotACall, RecursionError):
            value = None
        if value is None:
            return False
        self._emit(value)
        return True

    def _strings(self) -> Step[bool]:
        """Read a string, or several that Python joins, and emit it as it comes."""
        cursor = self._cursor
        self._emit('"')
        while True:
            mark = yield from peek(cursor)
            if mark not in {'"', "'"}:
                break
            if not (yield from self._string(mark)):
                return False
            yield from white(cursor)
        self._emit('"')
        return True

    def _string(self, mark: str) -> Step[bool]:
        cursor = self._cursor
        quote = yield from one_of(cursor, (mark * 3, mark))
        ends = ENDS[quote or mark]
        emit = self._string_writer(lambda piece: unescape(piece) if "\\" in piece else piece)
        while True:
            text, start = cursor.text, cursor.position
            place, is_closed = start, False
            while match := ends.search(text, place):
                place = match.start()
                if match.group() == quote:
                    is_closed = True
                    break
                kind, left = text[place + 1 : place + 2], len(text) - place
                if not cursor.ended and (not kind or (kind in _LONG_ESCAPES and left < _LONGEST_ESCAPE)):
                    break
                place += 2
            if match is None:
                # One or two quotes at the end may become three.
                quotes = len(text) - len(text.rstrip(mark)) if quote != mark and not cursor.ended else 0
                place = max(place, len(text) - min(quotes, 2))
            emit(cursor.take(place - start))
            if is_closed:
                cursor.take(len(quote or mark))
                return True
            if cursor.ended:
                cursor.take(cursor.waiting)
                return False
            yield


def python_program() -> Grammar:
    """Calls one after the other, or lists of them, held back to their end.

    There may be comments between them, and a `print(…)` around one.
    """

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            yield from white(cursor)
            while (yield from literal(cursor, "#")):
                yield from until(cursor, ("\n",), most=_LONGEST_COMMENT)
                yield from white(cursor)
            name = ""
            if (yield from peek(cursor)) == "[":
                begins = bool((yield from name_in_list(cursor)))
            else:
                name = yield from tool_name(cursor)
                begins = bool(name) and (yield from _arguments_begin(cursor))
                if name == "print" and not begins:
                    begins = yield from _call_in_print_begins(cursor)
            if not begins:
                cursor.rewind(place)
                break
            body = yield from balanced(cursor, PYTHON)
            if body is not None and name == "print":
                name, body = "", body[1:-1]
            calls = None if body is None else calls_in(name + body)
            if calls is None:
                out.commit_as_text()
                return True
            out.commit()
            cursor.settle()
            for tool, arguments in calls:
                emit_call(out, context, tool, arguments)
        if out.committed:
            cursor.settle()
        return out.committed

    return read


def python_dicts() -> Grammar:
    """A list of dicts with name and arguments, or one dict."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        yield from white(cursor)
        if not (yield from dicts_begin(cursor)):
            return False
        body = yield from balanced(cursor, PYTHON)
        calls = None if body is None else calls_in_dicts(body)
        if calls is None:
            out.commit_as_text()
            return True
        out.commit()
        for tool, arguments in calls:
            emit_call(out, context, tool, arguments)
        return True

    return read


def dicts_begin(cursor: Cursor, quotes: Sequence[str] = ("'", '"')) -> Step[bool]:
    """Whether `[{'name':` comes, or the same without the bracket or with another key of a call. It is left unread."""
    place = cursor.mark()
    if (yield from literal(cursor, "[")):
        yield from white(cursor)
    begins = False
    if (yield from literal(cursor, "{")):
        yield from white(cursor)
        quote = yield from one_of(cursor, quotes)
        key = yield from run(cursor, _KEYWORD, 64)
        if quote is not None and key in CALL_KEYS and (yield from literal(cursor, quote)):
            yield from white(cursor)
            begins = (yield from peek(cursor)) == ":"
    cursor.rewind(place)
    return begins


def calls_in_dicts(text: str) -> list[tuple[str, dict[str, Any]]] | None:
    """Name and arguments of each dict in a list, or of one dict. None if `text` is anything else."""
    try:
        value = read_literal(text)
    except (NotACall, RecursionError):
        return None
    found = []
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict) or not entry.keys() <= CALL_KEYS:
            return None
        name, arguments = call_in(entry)
        if not name or not isinstance(arguments, dict):
            return None
        found.append((name, arguments))
    return found or None


def calls_in(text: str) -> list[tuple[str, dict[str, Any]]] | None:
    """Name and arguments of each call in `text`, or None if it is anything but calls."""
    try:
        return read_calls(text)
    except (NotACall, RecursionError):
        return None


def name_in_list(cursor: Cursor) -> Step[str]:
    """The name in `[name(key=` or `[name()`; empty if something else comes. It is left unread."""
    place = cursor.mark()
    name = ""
    if (yield from literal(cursor, "[")):
        yield from white(cursor)
        name = yield from tool_name(cursor)
        if name and not (yield from _arguments_begin(cursor)):
            name = ""
    cursor.rewind(place)
    return name


def _arguments_begin(cursor: Cursor) -> Step[bool]:
    """Whether `(key=` or `()` comes. It is left unread."""
    place = cursor.mark()
    begins = False
    if (yield from literal(cursor, "(")):
        yield from white(cursor)
        key = yield from run(cursor, _KEYWORD)
        yield from white(cursor)
        begins = (yield from peek(cursor)) == ("=" if key else ")")
    cursor.rewind(place)
    return begins


def _call_in_print_begins(cursor: Cursor) -> Step[bool]:
    """Whether `(name(key=` or `(name()` comes. It is left unread."""
    place = cursor.mark()
    begins = yield from literal(cursor, "(")
    if begins:
        yield from white(cursor)
        begins = bool((yield from tool_name(cursor))) and (yield from _arguments_begin(cursor))
    cursor.rewind(place)
    return begins
