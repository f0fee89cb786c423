"""Grammars for calls in JSON: objects, arrays of objects, and a name followed by JSON arguments.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, until, white
from otel_llm.tags.declared import tool_named
from otel_llm.tags.grammars import NAME, Context, Grammar, closer, end_json_call, first_of, tool_name
from otel_llm.tags.json_body import ObjectCall, object_begins
from otel_llm.tags.json_text import End, container
from otel_llm.tags.pieces import ParsedCall, PieceBuffer
from otel_llm.tags.repeated_calls import repeats_call

# Most text between the markers of calls.
_MOST_NOISE = 256
# An object whose first key shows that it has another shape than `{"name": …, "arguments": …}`.
_OTHER_SHAPE = re.compile(r"\{\s*[\"'](?:tool_name|tool_call_id|function|type|args)[\"']")


def _is_verbatim(cursor: Cursor) -> bool:
    """Whether the object that comes is written as custom tags want it: with a name and arguments."""
    return _OTHER_SHAPE.match(cursor.text, cursor.position) is None


def json_calls(*closers: str, separators: Sequence[str] = (), stops: Sequence[str] = ()) -> Grammar:
    """JSON objects that are calls, or an array of them (see `json_objects`)."""
    objects = json_objects(*closers, several=True, separators=separators, stops=stops)
    return first_of(objects, json_array(*closers, stops=stops))


def json_array_of_calls(*closers: str) -> Grammar:
    """An array of JSON objects that are calls. Where a model writes an object instead, its end must come."""
    return first_of(json_array(*closers), json_objects(*closers, several=True, held=True))


def json_objects(
    *closers: str,
    several: bool = False,
    separators: Sequence[str] = (),
    stops: Sequence[str] = (),
    held: bool = False,
    declared: bool = False,
    verbatim: bool = True,
) -> Grammar:
    """A JSON object that is a call, then a closer if one comes.

    `several`: more objects may follow, with white space or one of `separators` between them. `stops` end an object like
    closers, but are left unread. `held`: the first is held back to its end, and is text if that does not come.
    `declared`: if the tools are known, it must name one of them. `verbatim`: whether its keys are those that custom
    tags want, unless its first one shows that they are not.
    """

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        def is_sure(name: str) -> bool:
            return not held and (not declared or not name or context.may_be_tool(name))

        yield from white(cursor)
        if not (yield from object_begins(cursor)):
            return False
        while True:
            call = out.begin(context.format, verbatim=verbatim and _is_verbatim(cursor), opening=context.opening)
            end = yield from ObjectCall(out, call, (*closers, *stops), is_sure).read(cursor)
            if not out.committed:
                if not held or end == "cut" or call.name is None:
                    out.commit_as_text()
                    return True
                out.commit()
            word = yield from end_json_call(cursor, out, call, end, closers)
            if end == "cut" or word or not (several or separators):
                return True
            if not (yield from _another_object(cursor, separators)):
                return True

    return read


def json_array(*closers: str, opened: bool = False, stops: Sequence[str] = ()) -> Grammar:
    """An array of JSON objects that are calls. `opened`: the marker includes its bracket."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        if not opened:
            yield from white(cursor)
            if not (yield from literal(cursor, "[")):
                return False
        yield from white(cursor)
        if not (yield from object_begins(cursor)):
            return False
        while True:
            call = out.begin(context.format, verbatim=_is_verbatim(cursor), opening=context.opening)
            end = yield from ObjectCall(out, call, (*closers, *stops)).read(cursor)
            if not out.committed:
                out.commit_as_text()
                return True
            out.end(call, complete=end != "cut")
            if end == "cut" or not (yield from _another_object(cursor, (",",))):
                break
        yield from closer(cursor, ("]",))
        yield from closer(cursor, closers)
        return True

    return read


def _another_object(cursor: Cursor, separators: Sequence[str]) -> Step[bool]:
    before = cursor.mark()
    yield from white(cursor)
    if separators and (yield from one_of(cursor, separators)) is not None:
        yield from white(cursor)
    begins = yield from object_begins(cursor)
    if not begins:
        cursor.rewind(before)
    cursor.settle()
    return begins


def keyed_array(*closers: str) -> Grammar:
    """An array of objects with one key each: the name of the tool, with the arguments as its value."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        yield from white(cursor)
        if not (yield from literal(cursor, "[")):
            return False
        while True:
            before = cursor.mark()
            name = yield from _name_as_key(cursor)
            if name is None:
                cursor.rewind(before)
                break
            out.commit()
            cursor.settle()
            call = out.begin(context.format, opening=context.opening)
            out.name(call, name)
            end = yield from _arguments(cursor, out, call, closers)
            if end == "closed":
                yield from closer(cursor, ("}",))
            out.end(call, complete=end != "cut")
            if end == "cut":
                return True
            yield from closer(cursor, (",",))
        if not out.committed:
            return False
        cursor.settle()
        yield from closer(cursor, ("]",))
        yield from closer(cursor, closers)
        return True

    return read


def _name_as_key(cursor: Cursor) -> Step[str | None]:
    yield from white(cursor)
    if not (yield from literal(cursor, "{")):
        return None
    yield from white(cursor)
    if not (yield from literal(cursor, '"')):
        return None
    name = yield from tool_name(cursor)
    if not name or not (yield from literal(cursor, '"')):
        return None
    yield from white(cursor)
    if not (yield from literal(cursor, ":")):
        return None
    yield from white(cursor)
    return name if (yield from peek(cursor)) == "{" else None


def _arguments(cursor: Cursor, out: PieceBuffer, call: ParsedCall, stops: Sequence[str]) -> Step[End]:
    end = yield from container(cursor, lambda text: out.arguments(call, text), stops, is_arguments=True)
    call.well_formed = call.well_formed and end == "closed"
    return end


@dataclass(frozen=True)
class NamedCall:
    """The markup of calls whose arguments are JSON and whose name comes before them.

    `before` and `after`: markers around the name, one of each. With an empty string among them, there may be none.
    """

    before: Sequence[str] = ("",)
    after: Sequence[str] = ("",)
    closers: Sequence[str] = ()
    """One of these ends a call."""
    read_after: Callable[[Cursor], Step[bool]] | None = None
    """Reads what comes between the name and the arguments, in place of `after`. Returns whether it came."""
    block_closers: Sequence[str] = ()
    """One of these ends the block of calls."""
    several: bool = False
    """Whether a block may hold more than one call."""
    name_of: Callable[[str], str] = str
    """Makes the tool's name of what stands in its place."""
    id_marker: str = ""
    """Behind the name, the call's id may follow this."""
    needs_arguments: bool = False
    """Whether the marker and a name are not enough: arguments must follow, and the name must be that of a tool."""
    has_tokens: bool = False
    """Whether the markers are control tokens: other text before the first of `before` does not hide the calls."""
    may_lack_arguments: bool = False
    """Whether a name and what comes after it are a call, if a marker or nothing follows in place of arguments."""


def named_json(markup: NamedCall) -> Grammar:
    """A name, then arguments as a JSON object."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            name = yield from _name_of_call(cursor, markup, context, first=not out.committed)
            if name is None:
                if not out.committed:
                    return False
                cursor.rewind(place)
                cursor.settle()
                break
            out.commit()
            cursor.settle()
            call = out.begin(context.format, opening=context.opening)
            out.name(call, name)
            end: End = "closed"
            if (yield from peek(cursor)) == "{":
                stops = (*markup.closers, *markup.block_closers)
                if (yield from repeats_call(cursor, context, name, markup.name_of)):
                    end = yield from ObjectCall(out, call, stops).read(cursor)
                else:
                    end = yield from _arguments(cursor, out, call, stops)
            yield from end_json_call(cursor, out, call, end, markup.closers)
            if end == "cut" or not markup.several:
                break
        yield from closer(cursor, markup.block_closers)
        return True

    return read


def _name_of_call(cursor: Cursor, markup: NamedCall, context: Context, *, first: bool) -> Step[str | None]:
    """Read everything before the arguments. Returns the name, or None if no call comes."""
    yield from white(cursor)
    words = [word for word in markup.before if word]
    if words and (yield from one_of(cursor, words)) is None and ("" not in markup.before or not first):
        others = (*markup.closers, *markup.block_closers)
        if not markup.has_tokens or (yield from peek(cursor)) == "<":
            return None
        if (yield from until(cursor, (*words, *others), most=_MOST_NOISE))[1] not in words:
            return None
    yield from white(cursor)
    name = tool_named(context.tools, markup.name_of((yield from tool_name(cursor))))
    if not name:
        return None
    yield from white(cursor)
    if markup.id_marker and (yield from literal(cursor, markup.id_marker)):
        yield from run(cursor, NAME, 64)
    if markup.read_after is not None:
        if not (yield from markup.read_after(cursor)):
            return None
    else:
        words = [word for word in markup.after if word]
        if words and (yield from one_of(cursor, words)) is None and "" not in markup.after:
            return None
    yield from white(cursor)
    if (yield from peek(cursor)) == "{":
        is_prose = markup.needs_arguments and (name.endswith(":") or not context.may_be_tool(name))
        return None if is_prose else name
    if markup.needs_arguments:
        return None
    if markup.may_lack_arguments and (yield from peek(cursor)) in {"", "<", "["}:
        return name
    # Without arguments, only its closer tells a call from prose.
    place = cursor.mark()
    is_closed = bool(markup.closers) and (yield from one_of(cursor, markup.closers)) is not None
    cursor.rewind(place)
    return name if is_closed else None
