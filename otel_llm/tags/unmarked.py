"""Grammars for calls without a marker: bare JSON objects, arrays of them, and lists in Python's syntax.  Pure.

Such a call looks like any JSON or any text in brackets. It counts only if it reads as a whole, has no keys but those of
a call, and names a declared tool; if the tools are not known, it must also be a line of its own. So it is held back
until its last bracket, or until something comes that its syntax does not have. An object or array that is other data is
passed on as it comes, with all that is in it: a call quoted inside of data is not a call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from otel_llm.protocol.json_values import strict_value
from otel_llm.tags.brackets import JSON, PYTHON, balanced, read_to_end
from otel_llm.tags.cursor import Cursor, Step, literal, peek, run, white
from otel_llm.tags.grammars import Context, Grammar, emit_call
from otel_llm.tags.json_body import ARGUMENT_KEYS, CALL_KEYS, NAME_KEYS
from otel_llm.tags.json_calls import json_array, json_objects
from otel_llm.tags.pieces import PieceBuffer
from otel_llm.tags.python_calls import calls_in, calls_in_dicts, dicts_begin, name_in_list

_KEY = re.compile(r"[\w.\-]*")
# The first key of an object, where all of it has come. Most objects in a text are data, so it is read at once.
_FIRST_KEY = re.compile(r'\{\s{0,1024}"(?P<key>[\w.\-]{0,64})"\s{0,1024}:')
# So much of a line is read at once.
_LONGEST_LINE = 65_536
_STRING = re.compile(r'[^"\\\n]*')
_BLANK = re.compile(r"[ \t]*")
# An array that begins with one of these is data.
_FIRST_OF_DATA = frozenset('"[-0123456789')
# An object that holds an array of calls, as a message of the API does.
_WRAPPER = "tool_calls"
_WRAPPED = re.compile(rf'\{{\s*"{_WRAPPER}"\s*:\s*')
_FIRST_KEYS = CALL_KEYS | {_WRAPPER}
_AROUND_FUNCTION = frozenset({"function", "type", "id", "call_id", "index"})

Calls = list[tuple[str, dict[str, Any]]]
"""Name and arguments of each call."""


def json_call(cursor: Cursor, out: PieceBuffer, context: Context, *, at_line_start: bool) -> Step[bool]:
    """An object that is a call. Llama 3 joins several with `;`."""
    length = _length_of_data(cursor)
    if length:
        cursor.take(length)
        out.commit_as_text()
        return True
    is_call = yield from _begins_object_call(cursor, context)
    if is_call is None:
        return False
    if not is_call or (context.tools is None and not at_line_start):
        yield from _pass_data(cursor, out)
        return True
    text = yield from _held_calls(cursor, out, context, depth=1, at_line_start=at_line_start)
    if text is not None:
        _emit_calls(text, out, context)
        if context.tools is not None:
            yield from _more_objects(cursor, out, context)
    return True


def json_list(cursor: Cursor, out: PieceBuffer, context: Context, *, at_line_start: bool) -> Step[bool]:
    """An array of objects that are calls."""
    if not (yield from literal(cursor, "[")):
        return False
    yield from white(cursor)
    first = yield from peek(cursor)
    if first and first in _FIRST_OF_DATA:
        yield from _pass_data(cursor, out)
        return True
    is_call = yield from _begins_object_call(cursor, context)
    if is_call is None:
        return False
    if not is_call or (context.tools is None and not at_line_start):
        yield from _pass_data(cursor, out, depth=2)
        return True
    text = yield from _held_calls(cursor, out, context, depth=2, at_line_start=at_line_start)
    if text is not None:
        _emit_calls(text, out, context, "xlam")
    return True


def python_list(cursor: Cursor, out: PieceBuffer, context: Context, *, at_line_start: bool) -> Step[bool]:
    """`[name(key=value), …]`, or a list of dicts with single quotes.

    It is held back from the first key, or from the bracket that says there is none.
    """
    if context.tools is None and not at_line_start:
        return False
    name = yield from name_in_list(cursor)
    is_dicts = not name and (yield from dicts_begin(cursor, ("'",)))
    if not is_dicts and not (name and context.may_be_tool(name)):
        return False
    text = yield from balanced(cursor, PYTHON)
    calls = None if text is None else calls_in_dicts(text) if is_dicts else calls_in(text)
    if not (yield from _are_calls(cursor, context, calls, at_line_start=at_line_start)):
        out.commit_as_text()
        return True
    out.commit()
    for tool, arguments in calls or ():
        emit_call(
            out, _with_format(context, "sarashina" if is_dicts else "pythonic"), tool, arguments
        ).has_marker = False
    return True


def fenced_json(cursor: Cursor, out: PieceBuffer, context: Context, fence: str, *, is_json: bool) -> Step[bool]:
    """What is in a fence, after its opening line: a call or an array of calls, and nothing else.

    `is_json`: whether the fence is one of any JSON, and not one of calls.
    """
    yield from white(cursor)
    opening = cursor.kept
    is_array = yield from literal(cursor, "[")
    if is_array:
        yield from white(cursor)
    if not (yield from _begins_object_call(cursor, context)):
        return False
    if (yield from balanced(cursor, JSON, depth=1 + is_array)) is None:
        return False
    text = cursor.kept[len(opening) :]
    calls = _calls_in(text)
    yield from white(cursor)
    if not _are_declared(context, calls) or not (yield from literal(cursor, fence)):
        return False
    out.commit()
    _emit_calls(text, out, context, "xlam", in_fence=is_json)
    return True


def _held_calls(
    cursor: Cursor,
    out: PieceBuffer,
    context: Context,
    *,
    depth: int,
    at_line_start: bool,
) -> Step[str | None]:
    """Hold back the rest of a JSON value that is open to `depth`. Returns all its text if it is calls.

    If not, it is emitted as text.
    """
    is_whole = (yield from balanced(cursor, JSON, depth)) is not None
    text = cursor.kept
    if is_whole and (yield from _are_calls(cursor, context, _calls_in(text), at_line_start=at_line_start)):
        out.commit()
        return text
    out.commit_as_text()
    return None


def _more_objects(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[None]:
    """More objects after `;`. The separator belongs to the call after it; if none comes, it is text."""
    while True:
        before = cursor.mark()
        yield from white(cursor)
        if not (yield from literal(cursor, ";")):
            cursor.rewind(before)
            cursor.settle()
            return
        yield from white(cursor)
        separator = cursor.kept
        is_call = yield from _begins_object_call(cursor, context)
        if is_call is None:
            cursor.rewind(before)
            cursor.settle()
            return
        is_whole = is_call and (yield from balanced(cursor, JSON, depth=1)) is not None
        text = cursor.kept[len(separator) :]
        if not is_whole or not _are_declared(context, _calls_in(text)):
            out.commit_as_text()
            return
        cursor.settle()
        _emit_calls(text, out, context)


def _begins_object_call(cursor: Cursor, context: Context) -> Step[bool | None]:
    """Read the beginning of an object, and leave it open. Returns whether it may be a call; None if it is no object."""
    first = _FIRST_KEY.match(cursor.text, cursor.position)
    if first is not None and first["key"] not in _FIRST_KEYS:
        cursor.take(first.end() - cursor.position)
        return False
    if not (yield from literal(cursor, "{")):
        return None
    yield from white(cursor)
    if not (yield from literal(cursor, '"')):
        return None
    key = yield from run(cursor, _KEY, 64)
    if key not in _FIRST_KEYS:
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
    if key == _WRAPPER:
        return (yield from peek(cursor)) == "["
    if key not in NAME_KEYS or (key == "function" and (yield from peek(cursor)) == "{"):
        return True
    if not (yield from literal(cursor, '"')):
        return False
    name = yield from run(cursor, _STRING)
    # If the name does not end here, it is longer than any tool's.
    ends = yield from literal(cursor, '"')
    return context.may_be_tool(name) if ends else None


def _length_of_data(cursor: Cursor) -> int:
    """How long the object that comes next is, if it is the rest of its line and no call; 0 if not, or if that is not
    known yet. Texts with objects mostly have lines of data, which are read faster so.
    """
    text, start = cursor.text, cursor.position
    end = text.find("\n", start, start + _LONGEST_LINE)
    if end < 0 or text[end - 1] != "}":
        return 0
    value = strict_value(text[start:end])
    return end - start if isinstance(value, dict) and _calls(value) is None else 0


def _pass_data(cursor: Cursor, out: PieceBuffer, depth: int = 1) -> Step[bool]:
    """Emit a JSON value that is not a call as text, the rest of it as it comes."""
    out.commit_as_text()
    return read_to_end(cursor, JSON, out.text, depth)


def _are_calls(cursor: Cursor, context: Context, calls: Calls | None, *, at_line_start: bool) -> Step[bool]:
    """Whether a value that looks like calls counts: they are declared, or stand in a line of their own."""
    if context.tools is not None or not calls:
        return _are_declared(context, calls)
    place = cursor.mark()
    yield from run(cursor, _BLANK, 1024)
    behind = yield from peek(cursor)
    cursor.rewind(place)
    return at_line_start and behind in {"", "\n", "\r"}


def _are_declared(context: Context, calls: Calls | None) -> bool:
    return bool(calls) and all(context.may_be_tool(name) for name, _ in calls or ())


def _calls_in(text: str) -> Calls | None:
    return _calls(strict_value(text))


def _calls(value: Any) -> Calls | None:
    """The calls that a value consists of: one, an array of them, or an object that holds such an array."""
    if isinstance(value, Mapping) and value.keys() == {_WRAPPER}:
        value = value[_WRAPPER]
        value = value if isinstance(value, list) else []
    found = [_call(element) for element in (value if isinstance(value, list) else [value])]
    return None if None in found else [call for call in found if call is not None]


def _call(value: Any) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments of an object that has exactly the keys of a call."""
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping) and value.keys() <= _AROUND_FUNCTION:
        # The shape of the API. With `parameters` it declares a tool.
        value = value["function"]
        if "arguments" not in value:
            return None
    if not isinstance(value, Mapping) or not value.keys() <= CALL_KEYS:
        return None
    names = [value[key] for key in value if key in NAME_KEYS]
    bodies = [value[key] for key in value if key in ARGUMENT_KEYS]
    if len(names) != 1 or len(bodies) != 1 or not isinstance(names[0], str) or not names[0]:
        return None
    arguments = strict_value(bodies[0]) if isinstance(bodies[0], str) else bodies[0]
    return (names[0], arguments) if isinstance(arguments, dict) else None


def _emit_calls(
    text: str, out: PieceBuffer, context: Context, format_name: str = "", *, in_fence: bool = False
) -> None:
    """Emit the calls in an object or an array."""
    format_name = format_name or ("llama3_json" if '"parameters"' in text else "bare_json")
    if wrapped := _WRAPPED.match(text):
        text = text[wrapped.end() : -1]
    grammar = json_array() if text[:1] == "[" else json_objects()
    _emit_json(text, out, context, format_name, grammar, in_fence=in_fence)


def _emit_json(
    text: str, out: PieceBuffer, context: Context, format_name: str, grammar: Grammar, *, in_fence: bool = False
) -> None:
    """Read a text that was held back as if it came after a marker, and emit its calls."""
    held = Cursor()
    held.feed(text)
    held.ended = True
    inner = PieceBuffer(held, context.tools)
    inner.count = out.count
    for _ in grammar(held, inner, _with_format(context, format_name)):
        pass
    for piece in inner.drain():
        if piece.call is not None:
            piece.call.has_marker = False
            piece.call.in_fence = in_fence
        out.put(piece)
    out.count = inner.count


def _with_format(context: Context, format_name: str) -> Context:
    return Context(context.tools, format_name, "")
