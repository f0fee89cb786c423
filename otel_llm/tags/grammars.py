"""How calls are written behind an opening marker.  Pure.

A grammar reads what stands behind a marker that was read already. It says `found.commit()` as soon as it is sure that
it reads a call. Before that it may return False, and what it read is read again as something else; so it reads no
more than a name, a key and some white space before it is sure. Once it is sure it returns True, and what does not
belong to the call is left unread.

A closing marker outside of a JSON string ends a call wherever it comes; inside one it is text. Where there is no
closing marker the end of the JSON value is the end of the call. White space between a marker and a body belongs to the
markup. Where only a complete reading decides (Python's syntax, quoting of a family's own), a call is held until its
last bracket, and is text if it does not read as one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otel_llm.protocol.request import Tool
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, until, white
from otel_llm.tags.found import Findings, FoundCall
from otel_llm.tags.json_body import ObjectCall, container, object_begins
from otel_llm.tags.python_calls import NotACall, read_calls
from otel_llm.tags.quoted_calls import read_arguments

_KEYWORD = re.compile(r"[\w.\-]*")
NAME = re.compile(r"[\w.:\-/$]*")
# A call that is held is given up as text beyond so many characters.
_LONGEST_COMMENT = 1024
MOST_HELD = 4 * 1_048_576


@dataclass(frozen=True)
class Context:
    """What a grammar may know beside the text.

    `tools`: the declared ones, None where they are not known. `opening`: the marker that was read.
    """

    tools: Mapping[str, Tool] | None = None
    format: str = ""
    opening: str = ""

    def may_be_tool(self, name: str) -> bool:
        return self.tools is None or name in self.tools


Grammar = Callable[[Cursor, Findings, Context], Step[bool]]


def call_name(cursor: Cursor) -> Step[str]:
    """Read a tool's name; empty where none comes."""
    name = yield from run(cursor, NAME)
    return name if name[:1].isalpha() or name.startswith("_") else ""


def closing(cursor: Cursor, closers: Sequence[str]) -> Step[str]:
    """Read one of `closers` with the white space before it; nothing is read, and none returned, if none comes."""
    if not closers:
        return ""
    before = cursor.mark()
    yield from white(cursor)
    word = yield from one_of(cursor, closers)
    if word is None:
        cursor.rewind(before)
    cursor.settle()
    return word or ""


def ended(cursor: Cursor, found: Findings, call: FoundCall, end: str, closers: Sequence[str]) -> Step[str]:
    """A call's JSON is over: tell so, and read the closer if one comes, which is returned.

    A call that is whole does not wait for it. One that nobody may understand does: its closer is part of what is shown.
    """
    whole = end == "closed" and call.understood and call.name is not None
    if whole:
        found.end(call)
    closer = "" if end == "cut" else (yield from closing(cursor, closers))
    if not whole:
        found.end(call, complete=end != "cut", closing=closer)
    return closer


# JSON objects and arrays of them ------------------------------------------------------------------------------


# The first key of an object that holds a call in another shape than that of custom tags.
_OTHER_SHAPE = re.compile(r"\{\s*[\"'](?:tool_name|tool_call_id|function|type|args)[\"']")


def _is_verbatim(cursor: Cursor) -> bool:
    """Whether the object that comes is one with name and arguments, as it would be written anew."""
    return _OTHER_SHAPE.match(cursor.text, cursor.position) is None


def json_objects(
    *closers: str, several: bool = False, separators: Sequence[str] = (), stops: Sequence[str] = ()
) -> Grammar:
    """A JSON object that is a call, then a closer where one comes.

    `several`: more may follow, with white space between, or one of `separators`. `stops` end it as a closer does, but
    are left unread.
    """

    def read(cursor: Cursor, found: Findings, context: Context) -> Step[bool]:
        yield from white(cursor)
        if not (yield from object_begins(cursor)):
            return False
        found.commit()
        while True:
            call = found.begin(context.format, verbatim=_is_verbatim(cursor), opening=context.opening)
            end = yield from ObjectCall(found, call, (*closers, *stops)).read(cursor)
            closer = yield from ended(cursor, found, call, end, closers)
            if end == "cut" or closer or not (several or separators):
                return True
            if not (yield from _another(cursor, separators)):
                return True

    return read


def _another(cursor: Cursor, separators: Sequence[str]) -> Step[bool]:
    before = cursor.mark()
    yield from white(cursor)
    if separators and (yield from one_of(cursor, separators)) is not None:
        yield from white(cursor)
    another = yield from object_begins(cursor)
    if not another:
        cursor.rewind(before)
    cursor.settle()
    return another


def json_array(*closers: str, opened: bool = False) -> Grammar:
    """An array of JSON objects that are calls. `opened`: its bracket is part of the marker."""

    def read(cursor: Cursor, found: Findings, context: Context) -> Step[bool]:
        if not opened:
            yield from white(cursor)
            if not (yield from literal(cursor, "[")):
                return False
        yield from white(cursor)
        if not (yield from object_begins(cursor)):
            return False
        found.commit()
        while True:
            call = found.begin(context.format, verbatim=_is_verbatim(cursor), opening=context.opening)
            end = yield from ObjectCall(found, call, closers).read(cursor)
            found.end(call, complete=end != "cut")
            if end == "cut" or not (yield from _another(cursor, (",",))):
                break
        yield from closing(cursor, ("]",))
        yield from closing(cursor, closers)
        return True

    return read


def keyed_array(*closers: str) -> Grammar:
    """An array of objects with one key each, the tool's name, and the arguments as its value."""

    def read(cursor: Cursor, found: Findings, context: Context) -> Step[bool]:
        yield from white(cursor)
        if not (yield from literal(cursor, "[")):
            return False
        while True:
            before = cursor.mark()
            name = yield from _key_of_object(cursor)
            if name is None:
                cursor.rewind(before)
                break
            found.commit()
            cursor.settle()
            call = found.begin(context.format, opening=context.opening)
            found.name(call, name)
            end = yield from _arguments(cursor, found, call, closers)
            if end == "closed":
                yield from closing(cursor, ("}",))
            found.end(call, complete=end != "cut")
            if end == "cut":
                return True
            yield from closing(cursor, (",",))
        if not found.sure:
            return False
        cursor.settle()
        yield from closing(cursor, ("]",))
        yield from closing(cursor, closers)
        return True

    return read


def _key_of_object(cursor: Cursor) -> Step[str | None]:
    yield from white(cursor)
    if not (yield from literal(cursor, "{")):
        return None
    yield from white(cursor)
    if not (yield from literal(cursor, '"')):
        return None
    name = yield from call_name(cursor)
    if not name or not (yield from literal(cursor, '"')):
        return None
    yield from white(cursor)
    if not (yield from literal(cursor, ":")):
        return None
    yield from white(cursor)
    return name if (yield from peek(cursor)) == "{" else None


def _arguments(cursor: Cursor, found: Findings, call: FoundCall, stops: Sequence[str]) -> Step[str]:
    end = yield from container(cursor, lambda text: found.arguments(call, text), stops)
    call.understood = call.understood and end == "closed"
    return end


# The name apart, JSON arguments after it ----------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """`before` and `after`: what stands around the name, one of each; an empty one where it may be missing.

    `closers`: one of them ends a call. `ends`: one of them ends the block of calls. `again`: whether more calls may
    follow in the block. `tool`: the tool's name out of what stands for it.
    """

    before: Sequence[str] = ("",)
    after: Sequence[str] = ("",)
    closers: Sequence[str] = ()
    ends: Sequence[str] = ()
    again: bool = False
    tool: Callable[[str], str] = str
    call_id: str = ""
    """A marker behind the name after which the call's id may stand."""


def named_json(spec: Named) -> Grammar:
    def read(cursor: Cursor, found: Findings, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            name = yield from _name(cursor, spec, first=not found.sure)
            if name is None:
                if not found.sure:
                    return False
                cursor.rewind(place)
                cursor.settle()
                break
            found.commit()
            cursor.settle()
            call = found.begin(context.format, opening=context.opening)
            found.name(call, name)
            end = "closed"
            if (yield from peek(cursor)) == "{":
                end = yield from _arguments(cursor, found, call, (*spec.closers, *spec.ends))
            yield from ended(cursor, found, call, end, spec.closers)
            if end == "cut" or not spec.again:
                break
        yield from closing(cursor, spec.ends)
        return True

    return read


def _name(cursor: Cursor, spec: Named, *, first: bool) -> Step[str | None]:
    """Read all that stands before a call's arguments; its name, None where no call comes."""
    yield from white(cursor)
    words = [word for word in spec.before if word]
    if words and (yield from one_of(cursor, words)) is None and ("" not in spec.before or not first):
        return None
    yield from white(cursor)
    name = spec.tool((yield from call_name(cursor)))
    if not name:
        return None
    yield from white(cursor)
    if spec.call_id and (yield from literal(cursor, spec.call_id)):
        yield from run(cursor, NAME, 64)
    words = [word for word in spec.after if word]
    if words and (yield from one_of(cursor, words)) is None and "" not in spec.after:
        return None
    yield from white(cursor)
    if (yield from peek(cursor)) == "{":
        return name
    # A call without arguments is told from prose by its closer alone.
    place = cursor.mark()
    empty = bool(spec.closers) and (yield from one_of(cursor, spec.closers)) is not None
    cursor.rewind(place)
    return name if empty else None


# Held until the last bracket ----------------------------------------------------------------------------------

# Outside of strings: quotes, brackets, and what cannot stand there, which ends it.
_PYTHON = re.compile(r"[^\s\w,:;=+\-.#\\]")
_IN_QUOTES = {quote: re.compile(rf"{quote}|\\") for quote in ('"', "'", '"' * 3, "'" * 3)}
# What JSON has neither as a mark nor as a letter of a number or a word.
OUTSIDE_JSON_STRINGS = re.compile(r"[^\s0-9,:.+\-aeflnrstuE]")
_IN_JSON = {'"': re.compile(r'["\\\n]')}


_JSON_BRACKETS = {"[": 1, "{": 1, "]": -1, "}": -1}
_PYTHON_BRACKETS = {**_JSON_BRACKETS, "(": 1, ")": -1}


def balanced(cursor: Cursor, *, strict: bool = False, depth: int = 0) -> Step[str | None]:
    """Read up to the bracket that closes the first one, or all that are open to `depth`.

    `strict`: it is JSON's syntax, so there is no single quote, no round bracket and no line break in a string; else it
    is Python's. None where the bracket never comes, or not before the limit, or where something comes that the syntax
    does not have; what was read is kept by the cursor.
    """
    in_quotes, outside = (_IN_JSON, OUTSIDE_JSON_STRINGS) if strict else (_IN_QUOTES, _PYTHON)
    brackets = _JSON_BRACKETS if strict else _PYTHON_BRACKETS
    pieces: list[str] = []
    length = 0
    quote = ""
    escaped = False
    while length < MOST_HELD:
        text, start = cursor.text, cursor.position
        place, closed = start, False
        stop = min(len(text), start + MOST_HELD - length)
        # Whether one quote at the end may become three.
        may_grow = not strict and not cursor.ended and stop == len(text)
        if escaped and place < stop:
            place, escaped = place + 1, False
        while place < stop:
            match = (in_quotes[quote] if quote else outside).search(text, place, stop)
            if match is None:
                # Two of the three quotes that end it may have come.
                rest = text[max(place, stop - 2) : stop] if len(quote) == 3 and may_grow else ""
                place = stop - len(rest) + len(rest.rstrip(quote[:1])) if rest else stop
                break
            mark, place = match.group(), match.end()
            if mark == "\n":
                cursor.take(place - start)
                return None
            if mark == "\\":
                escaped = place == stop
                place += 1
            elif quote:
                quote = ""
            elif mark in in_quotes:
                triple = mark * 3
                if may_grow and stop - place < 2 and triple.startswith(text[place - 1 : stop]):
                    place -= 1
                    break
                quote = triple if not strict and text.startswith(triple, place - 1) else mark
                place += len(quote) - 1
            elif mark in brackets:
                depth += brackets[mark]
                if depth <= 0:
                    closed = True
                    break
            else:
                cursor.take(place - 1 - start)
                return None
        piece = cursor.take(min(place, stop) - start)
        if piece:
            pieces.append(piece)
            length += len(piece)
        if closed:
            return "".join(pieces)
        if cursor.ended:
            return None
        yield
    return None


def python_calls(*closers: str, as_program: bool = False) -> Grammar:
    """Calls in Python's syntax: a list of them, or one after the other.

    `as_program`: comments may stand between them, and `print(…)` around one.
    """

    def read(cursor: Cursor, found: Findings, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            yield from white(cursor)
            while as_program and (yield from literal(cursor, "#")):
                yield from until(cursor, ("\n",), most=_LONGEST_COMMENT)
                yield from white(cursor)
            head = ""
            in_list = (yield from peek(cursor)) == "["
            if in_list:
                begins = yield from python_list_begins(cursor)
            else:
                head = yield from call_name(cursor)
                begins = bool(head) and (yield from _arguments_begin(cursor))
                if as_program and head == "print" and not begins:
                    begins = yield from _call_begins(cursor)
            if not begins:
                cursor.rewind(place)
                break
            body = yield from balanced(cursor)
            if body is not None and head == "print" and as_program:
                head, body = "", body[1:-1]
            calls = None if body is None else _read_python(head + body)
            if calls is None:
                found.commit_text()
                return True
            found.commit()
            cursor.settle()
            for name, arguments in calls:
                made_call(found, context, name, arguments)
        if not found.sure:
            return False
        cursor.settle()
        yield from closing(cursor, closers)
        return True

    return read


def python_list_begins(cursor: Cursor) -> Step[bool]:
    """Whether `[name(key=` or `[name()` comes. It is left unread."""
    return bool((yield from listed_name(cursor)))


def listed_name(cursor: Cursor) -> Step[str]:
    """The name in `[name(key=` or `[name()`, empty where no such thing comes. It is left unread."""
    place = cursor.mark()
    name = ""
    if (yield from literal(cursor, "[")):
        yield from white(cursor)
        name = yield from call_name(cursor)
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


def _call_begins(cursor: Cursor) -> Step[bool]:
    """Whether `(name(key=` or `(name()` comes. It is left unread."""
    place = cursor.mark()
    begins = yield from literal(cursor, "(")
    if begins:
        yield from white(cursor)
        begins = bool((yield from call_name(cursor))) and (yield from _arguments_begin(cursor))
    cursor.rewind(place)
    return begins


def _read_python(text: str) -> list[tuple[str, dict[str, Any]]] | None:
    try:
        return read_calls(text)
    except (NotACall, RecursionError):
        return None


def made_call(found: Findings, context: Context, name: str, arguments: Mapping[str, Any]) -> FoundCall:
    """A call that was read whole."""
    call = found.begin(context.format, opening=context.opening)
    found.name(call, name)
    found.arguments(call, json.dumps(arguments, ensure_ascii=False))
    found.end(call)
    return call


def quoted_call(delimiters: tuple[str, str], *closers: str) -> Grammar:
    """`call:NAME{…}` whose strings stand between delimiters of their own."""

    def read(cursor: Cursor, found: Findings, context: Context) -> Step[bool]:
        yield from white(cursor)
        if not (yield from literal(cursor, "call:")):
            return False
        name = yield from call_name(cursor)
        if not name or (yield from peek(cursor)) != "{":
            return False
        body = yield from _braces(cursor, delimiters)
        try:
            arguments = None if body is None else read_arguments(body, delimiters)
        except (NotACall, RecursionError):
            arguments = None
        if arguments is None:
            found.commit_text()
            return True
        found.commit()
        made_call(found, context, name, arguments)
        yield from closing(cursor, closers)
        return True

    return read


def _braces(cursor: Cursor, delimiters: tuple[str, str]) -> Step[str | None]:
    """Read from a brace to the one that closes it; what stands between delimiters is not looked at."""
    pieces: list[str] = []
    length = depth = 0
    while length <= MOST_HELD:
        before, mark = yield from until(cursor, ("{", "}", delimiters[0], "<"), most=MOST_HELD)
        if mark == "<":
            # A marker: no bare value has one.
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


def name_before(word: str, grammar: Grammar) -> Grammar:
    """The name, `word`, and then a body that holds the name too."""

    def read(cursor: Cursor, found: Findings, context: Context) -> Step[bool]:
        if not (yield from call_name(cursor)):
            return False
        yield from white(cursor)
        if not (yield from literal(cursor, word)):
            return False
        return (yield from grammar(cursor, found, context))

    return read


def first_of(*grammars: Grammar) -> Grammar:
    """The first grammar that reads a call."""

    def read(cursor: Cursor, found: Findings, context: Context) -> Step[bool]:
        place = cursor.mark()
        for grammar in grammars:
            if (yield from grammar(cursor, found, context)):
                return True
            found.forget()
            cursor.rewind(place)
        return False

    return read
