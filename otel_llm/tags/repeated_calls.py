"""Calls that hold themselves once more: `{"name": NAME, "arguments": …}` behind NAME, as gpt-oss may write.  Pure."""

from __future__ import annotations

from collections.abc import Callable

from otel_llm.tags.cursor import Cursor, Step, literal, run, white
from otel_llm.tags.grammars import NAME, Context, tool_name
from otel_llm.tags.json_body import ARGUMENT_KEYS
from otel_llm.tags.raw_values import has_parameter


def repeats_call(cursor: Cursor, context: Context, name: str, name_of: Callable[[str], str]) -> Step[bool]:
    """Whether the object that comes begins with the call's name, and then its arguments. It is left unread.

    It is the arguments themselves if the tool has a parameter of that name. `name_of` makes the tool's name of what the
    model writes.
    """
    place = cursor.mark()
    repeats = yield from _begins_with_name(cursor, name, name_of)
    key = (yield from run(cursor, NAME, 32)) if repeats else ""
    cursor.rewind(place)
    cursor.settle()
    return key in ARGUMENT_KEYS and not has_parameter(context.tools, name, key)


def _begins_with_name(cursor: Cursor, name: str, name_of: Callable[[str], str]) -> Step[bool]:
    """Read `{"name": NAME, "`, if it comes."""
    for mark in ("{", '"name"', ":"):
        if not (yield from literal(cursor, mark)):
            return False
        yield from white(cursor)
    if not (yield from literal(cursor, '"')) or name_of((yield from tool_name(cursor))) != name:
        return False
    for mark in ('"', ","):
        if not (yield from literal(cursor, mark)):
            return False
        yield from white(cursor)
    return (yield from literal(cursor, '"'))
