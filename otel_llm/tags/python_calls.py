"""The grammar for calls in Python's syntax: `[name(key=value), …]`, or one call after the other.  Pure.

A call is held back to its last bracket, and is text if it cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from otel_llm.tags.brackets import PYTHON, balanced
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, until, white
from otel_llm.tags.grammars import Context, Grammar, closer, emit_call, tool_name
from otel_llm.tags.json_body import CALL_KEYS
from otel_llm.tags.lenient_json import call_in
from otel_llm.tags.pieces import PieceBuffer
from otel_llm.tags.python_syntax import NotACall, read_calls, read_literal

_KEYWORD = re.compile(r"[\w.\-]*")
_LONGEST_COMMENT = 1024


def python_calls(*closers: str, as_program: bool = False) -> Grammar:
    """A list of calls, or calls one after the other.

    `as_program`: there may be comments between them, and a `print(…)` around one.
    """

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            yield from white(cursor)
            while as_program and (yield from literal(cursor, "#")):
                yield from until(cursor, ("\n",), most=_LONGEST_COMMENT)
                yield from white(cursor)
            name = ""
            if (yield from peek(cursor)) == "[":
                begins = bool((yield from name_in_list(cursor)))
            else:
                name = yield from tool_name(cursor)
                begins = bool(name) and (yield from _arguments_begin(cursor))
                if as_program and name == "print" and not begins:
                    begins = yield from _call_in_print_begins(cursor)
            if not begins:
                cursor.rewind(place)
                break
            body = yield from balanced(cursor, PYTHON)
            if body is not None and name == "print" and as_program:
                name, body = "", body[1:-1]
            calls = None if body is None else calls_in(name + body)
            if calls is None:
                out.commit_as_text()
                return True
            out.commit()
            cursor.settle()
            for tool, arguments in calls:
                emit_call(out, context, tool, arguments)
        if not out.committed:
            return False
        cursor.settle()
        yield from closer(cursor, closers)
        return True

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
