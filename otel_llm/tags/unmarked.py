"""Calls without a marker, told by their looks alone.  Pure.

An object, an array of objects or a bracketed list in Python's syntax looks like any JSON or any bracketed prose. It is
a call only if it reads as one whole, holds no keys but a call's, and names a declared tool. Where the tools are not
known it must also be a whole line. So it is held until its last bracket, or until something comes that its syntax does
not have. An object or array that is other data passes as it comes, with all that is in it: a call that is quoted in
data is no call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from otel_llm.tags.cursor import Cursor, Step, literal, peek, run, white
from otel_llm.tags.found import Findings
from otel_llm.tags.grammars import (
    OUTSIDE_JSON_STRINGS,
    Context,
    Grammar,
    balanced,
    json_array,
    json_objects,
    listed_name,
    made_call,
)
from otel_llm.tags.json_body import ARGUMENT_KEYS, CALL_KEYS, NAME_KEYS
from otel_llm.tags.python_calls import NotACall, read_calls

_KEY = re.compile(r"[\w.\-]*")
_STRING = re.compile(r'[^"\\\n]*')
_BLANK = re.compile(r"[ \t]*")
_IN_STRING = re.compile(r'["\\\n]')
# An array that begins with one of these is data.
_FIRST_OF_DATA = frozenset('"[-0123456789')


def json_call(cursor: Cursor, found: Findings, context: Context, *, at_line_start: bool) -> Step[bool]:
    """An object that is a call; llama3_json joins several with `;`."""
    verdict = yield from _may_be_object_call(cursor, context)
    if verdict is None:
        return False
    if not verdict or (context.tools is None and not at_line_start):
        yield from _pass_data(cursor, found)
        return True
    text = yield from _held_calls(cursor, found, context, _read_object, depth=1, at_line_start=at_line_start)
    if text is not None:
        _replay_object(text, found, context)
        if context.tools is not None:
            yield from _joined(cursor, found, context)
    return True


def _held_calls(
    cursor: Cursor,
    found: Findings,
    context: Context,
    read: Callable[[str], Calls | None],
    *,
    depth: int,
    at_line_start: bool,
) -> Step[str | None]:
    """Hold a JSON value, whose brackets are open to `depth`, to its end: its text if it is a call, or several.

    If it is none it has passed as text.
    """
    whole = (yield from balanced(cursor, strict=True, depth=depth)) is not None
    text = cursor.kept
    if whole and (yield from _is_call(cursor, context, read(text), at_line_start=at_line_start)):
        found.commit()
        return text
    found.commit_text()
    return None


def _replay_object(text: str, found: Findings, context: Context) -> None:
    _replay(text, found, context, "llama3_json" if '"parameters"' in text else "bare_json", json_objects())


def _joined(cursor: Cursor, found: Findings, context: Context) -> Step[None]:
    """More objects behind `;`: the separator goes with the call behind it, or is text."""
    while True:
        before = cursor.mark()
        yield from white(cursor)
        if not (yield from literal(cursor, ";")):
            cursor.rewind(before)
            cursor.settle()
            return
        yield from white(cursor)
        separator = cursor.kept
        verdict = yield from _may_be_object_call(cursor, context)
        if verdict is None:
            cursor.rewind(before)
            cursor.settle()
            return
        whole = verdict and (yield from balanced(cursor, strict=True, depth=1)) is not None
        text = cursor.kept[len(separator) :]
        if not whole or not _names_declared(context, _read_object(text)):
            found.commit_text()
            return
        cursor.settle()
        _replay_object(text, found, context)


def json_list(cursor: Cursor, found: Findings, context: Context, *, at_line_start: bool) -> Step[bool]:
    """An array of objects that are calls."""
    if not (yield from literal(cursor, "[")):
        return False
    yield from white(cursor)
    first = yield from peek(cursor)
    if first and first in _FIRST_OF_DATA:
        yield from _pass_data(cursor, found)
        return True
    verdict = yield from _may_be_object_call(cursor, context)
    if verdict is None:
        return False
    if not verdict or (context.tools is None and not at_line_start):
        yield from _pass_data(cursor, found, depth=2)
        return True
    text = yield from _held_calls(cursor, found, context, _read_array, depth=2, at_line_start=at_line_start)
    if text is not None:
        _replay(text, found, context, "xlam", json_array())
    return True


def python_list(cursor: Cursor, found: Findings, context: Context, *, at_line_start: bool) -> Step[bool]:
    """`[name(key=value), …]`. It is held as soon as the first key, or that there is none, says that it looks so."""
    if context.tools is None and not at_line_start:
        return False
    name = yield from listed_name(cursor)
    if not name or not context.may_be_tool(name):
        return False
    text = yield from balanced(cursor)
    try:
        calls = None if text is None else read_calls(text)
    except (NotACall, RecursionError):
        calls = None
    if not (yield from _is_call(cursor, context, calls, at_line_start=at_line_start)):
        found.commit_text()
        return True
    found.commit()
    for tool, arguments in calls or ():
        made_call(found, _named(context, "pythonic"), tool, arguments).marked = False
    return True


def fenced_json(cursor: Cursor, found: Findings, context: Context, fence: str) -> Step[bool]:
    """What a `json` fence holds, its opening line read already: an array of calls, or one, and nothing else."""
    yield from white(cursor)
    opening = cursor.kept
    in_list = yield from literal(cursor, "[")
    if in_list:
        yield from white(cursor)
    if not (yield from _may_be_object_call(cursor, context)):
        return False
    if (yield from balanced(cursor, strict=True, depth=1 + in_list)) is None:
        return False
    text = cursor.kept[len(opening) :]
    calls = _read_array(text) if in_list else _read_object(text)
    yield from white(cursor)
    if not _names_declared(context, calls) or not (yield from literal(cursor, fence)):
        return False
    found.commit()
    _replay(text, found, context, "xlam", json_array() if in_list else json_objects(), fenced=True)
    return True


def _may_be_object_call(cursor: Cursor, context: Context) -> Step[bool | None]:
    """Read the head of an object: False where it is other data, None where it is none. Its brace stays open."""
    if not (yield from literal(cursor, "{")):
        return None
    yield from white(cursor)
    if not (yield from literal(cursor, '"')):
        return None
    key = yield from run(cursor, _KEY, 64)
    if key not in CALL_KEYS:
        if not (yield from literal(cursor, '"')):
            return None
        yield from white(cursor)
        return False if (yield from literal(cursor, ":")) else None
    if not (yield from literal(cursor, '"')):
        return None
    yield from white(cursor)
    if not (yield from literal(cursor, ":")):
        return None
    yield from white(cursor)
    if key not in NAME_KEYS:
        return True
    if not (yield from literal(cursor, '"')):
        return False
    name = yield from run(cursor, _STRING)
    # A name that is cut short here is longer than any tool's; its string goes on.
    ends = yield from literal(cursor, '"')
    return context.may_be_tool(name) if ends else None


def _pass_data(cursor: Cursor, found: Findings, depth: int = 1) -> Step[None]:
    """Pass the rest of a JSON value that is no call, as it comes. What cannot be in JSON ends it."""
    found.commit_text()
    in_string = escaped = False
    while True:
        text, start = cursor.text, cursor.position
        place, ends = start, False
        if escaped and place < len(text):
            place, escaped = place + 1, False
        while place < len(text) and not ends:
            match = (_IN_STRING if in_string else OUTSIDE_JSON_STRINGS).search(text, place)
            if match is None:
                place = len(text)
                break
            mark, place = match.group(), match.end()
            if mark == "\\":
                escaped = place == len(text)
                place += 1
            elif mark == '"':
                in_string = not in_string
            elif mark in "{[":
                depth += 1
            elif mark in "}]":
                depth -= 1
                ends = depth <= 0
            else:
                place, ends = place - 1, True
        found.text(cursor.take(min(place, len(text)) - start))
        if ends or cursor.ended:
            return
        yield


Calls = list[tuple[str, dict[str, Any]]]


def _is_call(cursor: Cursor, context: Context, calls: Calls | None, *, at_line_start: bool) -> Step[bool]:
    if context.tools is not None or not calls:
        return _names_declared(context, calls)
    place = cursor.mark()
    yield from run(cursor, _BLANK, 1024)
    behind = yield from peek(cursor)
    cursor.rewind(place)
    return at_line_start and behind in {"", "\n", "\r"}


def _names_declared(context: Context, calls: Calls | None) -> bool:
    return bool(calls) and all(context.may_be_tool(name) for name, _ in calls or ())


def _read_object(text: str) -> Calls | None:
    call = _call(_strict(text))
    return None if call is None else [call]


def _read_array(text: str) -> Calls | None:
    value = _strict(text)
    calls = [_call(element) for element in value] if isinstance(value, list) else [None]
    return None if None in calls else [call for call in calls if call is not None]


def _strict(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _call(value: Any) -> tuple[str, dict[str, Any]] | None:
    """The call that an object is, if it has exactly the keys of one."""
    if not isinstance(value, Mapping) or not value.keys() <= CALL_KEYS:
        return None
    names = [value[key] for key in value if key in NAME_KEYS]
    bodies = [value[key] for key in value if key in ARGUMENT_KEYS]
    if len(names) != 1 or len(bodies) != 1 or not isinstance(names[0], str) or not names[0]:
        return None
    arguments = _strict(bodies[0]) if isinstance(bodies[0], str) else bodies[0]
    return (names[0], arguments) if isinstance(arguments, dict) else None


def _replay(
    text: str, found: Findings, context: Context, format_name: str, grammar: Grammar, *, fenced: bool = False
) -> None:
    """Read a text that was held, as if a marker stood before it."""
    held = Cursor()
    held.feed(text)
    held.ended = True
    inner = Findings(held)
    inner.count = found.count
    for _ in grammar(held, inner, _named(context, format_name)):
        pass
    for piece in inner.drain():
        if piece.call is not None:
            piece.call.marked = False
            piece.call.fenced = fenced
        found.put(piece)
    found.count = inner.count


def _named(context: Context, format_name: str) -> Context:
    return Context(context.tools, format_name, "")
