"""The grammar for calls with a pair of tags for each argument, which is raw text.  Pure.

The arguments are emitted as JSON, parameter by parameter as the text comes. Raw text has no escape for its own tags:
see `value_ends.py` for where it ends. A key without a value is markup. A call ends at its closing tag, at that of the
block, or where no other tag of it follows; up to a limit, other text between its tags is dropped. It is cut off only if
the text ends first. It counts from its first value on, or from its end if it has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from otel_llm.protocol.fields import field
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, until, white
from otel_llm.tags.grammars import Context, Grammar, closer, end_json_call, ends_within, tool_name
from otel_llm.tags.json_text import End, container
from otel_llm.tags.pieces import ParsedCall, PieceBuffer
from otel_llm.tags.raw_values import NO_STRING, STRING, RawValue, Types, parameter_types, quoted
from otel_llm.tags.value_ends import ValueEnd, ValueTags

_CDATA = "<![CDATA["
_LONGEST_KEY = 256
# Most text in a call that belongs to no parameter.
_MOST_JUNK = 1024
_KEY = re.compile(r"[^\s<>\"']+")
_BARE_KEY = re.compile(r"[^\s<>\"'=/]*")
_QUOTES = ('"', "'")
_ATTRIBUTE = re.compile(r"\b(string|type)\s*=\s*[\"']?(\w+)")


@dataclass(frozen=True)
class Tags:
    """The tags of one family of models.

    A call is [`call_open`] NAME [`name_end`] parameters `closers`. A parameter is `key` KEY `key_end` `value` VALUE
    `value_end`; `value` is empty if the value follows `key_end` directly. With `attributes`, there is no `key_end`.
    """

    key: str
    key_end: str
    value_end: str
    value: str = ""
    attributes: bool = False
    """Attributes may come between KEY and `value`. Otherwise only white space may."""
    call_open: Sequence[str] = ()
    """One of these comes before the name; none if the marker is all that comes before it."""
    name_end: Sequence[str] = ()
    empty_end: Sequence[str] = ()
    """One of these, in place of `name_end`, ends a call without parameters."""
    attributes_end: str = ""
    """Ends attributes that may follow `name_end`."""
    closers: Sequence[str] = ()
    block_closers: Sequence[str] = ()
    """One of these ends the block of calls."""
    own_lines: bool = False
    """A line break before and after a value is markup."""
    trimmed: bool = False
    """White space around a value is markup."""
    html_escaped: bool = False
    """Whether values are escaped as in HTML."""
    cdata: bool = False
    """Values are XML: they hold tags only in `<![CDATA[...]]>`."""
    marker_opens_call: bool = False
    """The marker includes the `call_open` of the first call."""
    name_of: Callable[[str], str] = str
    """Makes the tool's name of what stands in its place."""
    json_body: bool = False
    """One JSON object may come in place of the parameters."""
    quotable: bool = False
    """The names of tools and parameters may stand in quotes, double or single: `name="x"`, `name='x'`, `name=x`."""
    declared: bool = False
    """The name must be that of a declared tool, if the tools are known."""
    unmistakable: bool = False
    """The tags are control tokens: a call with other text in place of parameters is still one."""

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """What may end a call."""
        return (*self.closers, *self.block_closers)

    @cached_property
    def pair_open(self) -> tuple[str, ...]:
        """What the partner of `value_end` begins with, where it is part of a value."""
        if not self.value_end.startswith("</"):
            return (self.key,)
        name = self.value_end.replace("</", "<").removesuffix(">")
        return tuple({f"{name} ", f"{name}>", *([self.key] if self.key.startswith(name) else [])})

    @cached_property
    def _known(self) -> dict[str, ValueTags]:
        return {}

    def around_values(self, opening: str) -> ValueTags:
        """The tags that tell where a value ends. `opening`: the marker before the calls, which may come again."""
        found = self._known.get(opening)
        if found is None:
            starts = [opening] * opening.startswith("<")
            elements = tuple(dict.fromkeys((self.key, *self.ends, *self.call_open, *starts)))
            nestable = () if self.value and not self.attributes else self.pair_open
            has_block = bool(self.block_closers) and not self.marker_opens_call
            inner = tuple(self.closers) if has_block else ()
            found = ValueTags(self.value_end, self.pair_open, nestable, self.key, self.ends, elements, has_block, inner)
            self._known[opening] = found
        return found


class _Key(NamedTuple):
    """The head of a parameter. `has_value`: whether the tag of a value was read after it."""

    name: str
    attributes: str
    has_value: bool


class _Head(NamedTuple):
    """The head of a call: its name, and what came after it.

    `word`: a tag that ends the call; or the brace of a JSON object, which is not read. Otherwise `key`: the head of the
    first parameter that has a value.
    """

    name: str
    word: str
    key: _Key | None = None
    on_line: bool = False
    """Whether the first parameter begins a line."""


def xml_parameters(tags: Tags) -> Grammar:
    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            head = yield from _head(cursor, context, tags, first=not out.committed)
            if head is None:
                if not out.committed:
                    return False
                if not (tags.call_open and _is_cut(cursor, tags)):
                    cursor.rewind(place)
                cursor.settle()
                break
            out.commit()
            cursor.settle()
            call = out.begin(context.format, opening=context.opening)
            out.name(call, head.name)
            end: End
            if head.word == "{":
                end = yield from container(cursor, lambda text, call=call: out.arguments(call, text), tags.closers)  # type: ignore[misc]
                call.well_formed = end == "closed"
                closing = yield from end_json_call(cursor, out, call, end, tags.closers)
            else:
                is_whole, closing = yield from _Parameters(out, context, tags, call).read(cursor, head)
                out.end(call, complete=is_whole, closing=closing)
                end = "closed" if is_whole else "cut"
            if end == "cut" or closing in tags.block_closers or not tags.call_open:
                break
        yield from closer(cursor, tags.block_closers)
        return True

    return read


def _head(cursor: Cursor, context: Context, tags: Tags, *, first: bool) -> Step[_Head | None]:
    """Read the head of a call. None if none comes."""
    space = yield from white(cursor)
    if (
        tags.call_open
        and not (first and tags.marker_opens_call)
        and (yield from one_of(cursor, tags.call_open)) is None
    ):
        return None
    quote = (yield from one_of(cursor, _QUOTES)) if tags.quotable else None
    name = tags.name_of((yield from tool_name(cursor)))
    if not name or not (yield from literal(cursor, quote or "")):
        return None
    if tags.declared and not context.may_be_tool(name):
        return None
    before_key = yield from white(cursor)
    if tags.name_end:
        word = yield from one_of(cursor, (*tags.name_end, *tags.empty_end))
        if word is None:
            return None
        if word in tags.empty_end:
            return _Head(name, word)
        if tags.attributes_end and (yield from until(cursor, (tags.attributes_end,), most=_LONGEST_KEY))[1] is None:
            return None
        before_key = yield from white(cursor)
    if tags.json_body and (yield from peek(cursor)) == "{":
        return _Head(name, "{")
    words = (tags.key, *(tags.ends if tags.name_end or tags.call_open else tags.closers))
    word = yield from one_of(cursor, words)
    if word is None and tags.unmistakable:
        word = (yield from until(cursor, (*words, *tags.call_open), most=_MOST_JUNK))[1]
        word = None if word in tags.call_open else word
    if word != tags.key:
        # A name alone between two tags is prose about them, unless it is that of a tool. If the tools are not known, it
        # must follow the tag directly.
        is_alone = word is not None and not tags.name_end
        if word is None or (is_alone and not context.may_be_tool(name)):
            return None
        if is_alone and context.tools is None and space and not tags.call_open:
            return None
        return _Head(name, word)
    while word == tags.key:
        key = yield from _key(cursor, tags)
        if key is None or key.has_value:
            return None if key is None else _Head(name, "", key, "\n" in before_key)
        yield from white(cursor)
        word = yield from one_of(cursor, (tags.key, *tags.ends))
    return None if word is None else _Head(name, word)


def _is_cut(cursor: Cursor, tags: Tags) -> bool:
    """Whether what was read since the last call is the head of another one that is cut off. Then it is all read."""
    if cursor.waiting and ends_within(cursor, tags.call_open):
        cursor.take(cursor.waiting)
        return True
    return cursor.ended and not cursor.waiting and cursor.kept.lstrip().startswith(tuple(tags.call_open))


def _key(cursor: Cursor, tags: Tags) -> Step[_Key | None]:
    """Read the head of a parameter after its first tag. None if it is none, or if the text ends in it."""
    quote = (yield from one_of(cursor, _QUOTES)) if tags.quotable else None
    if quote or tags.attributes:
        return (yield from _quotable_key(cursor, tags, quote))
    others = (tags.key, tags.value_end, *tags.ends)
    stops = (tags.key_end, tags.value, "<", *others) if tags.value else (tags.key_end, "<", "\n")
    name, end = yield from until(cursor, stops, most=_LONGEST_KEY)
    name = name.strip()
    if end is None or (end in {"<", "\n"} and end != tags.key_end):
        return None
    if not tags.value or end == tags.value:
        return _Key(name, "", True)
    if end in others:
        cursor.back(len(end))
        return _Key(name, "", False)
    place = cursor.mark()
    yield from white(cursor)
    has_value = yield from literal(cursor, tags.value)
    if not has_value:
        if cursor.ended and not cursor.waiting:
            return None
        cursor.rewind(place)
    return _Key(name, "", has_value)


def _quotable_key(cursor: Cursor, tags: Tags, quote: str | None) -> Step[_Key | None]:
    """Read the head of a parameter whose name may stand in quotes, the first of which was read."""
    if quote:
        name, end = yield from until(cursor, (quote, "<", "\n"), most=_LONGEST_KEY)
        if end != quote:
            return None
    else:
        name = yield from run(cursor, _BARE_KEY, _LONGEST_KEY)
    if not name:
        return None
    if not tags.attributes:
        return _Key(name.strip(), "", True) if (yield from literal(cursor, tags.key_end)) else None
    attributes, end = yield from until(cursor, (tags.value, "<"), most=_LONGEST_KEY)
    if end == "<":
        cursor.back(1)
    return None if end is None else _Key(name.strip(), attributes, end == tags.value)


class _Parameters:
    """Reads the parameters of one call, and emits them as JSON."""

    def __init__(self, out: PieceBuffer, context: Context, tags: Tags, call: ParsedCall) -> None:
        self._out = out
        self._context = context
        self._tags = tags
        self._call = call
        self._given: set[str] = set()
        self._heads_on_lines = False
        self._value_tags = tags.around_values(context.opening)

    def read(self, cursor: Cursor, head: _Head) -> Step[tuple[bool, str]]:
        """Read on after `head`. Returns whether the call is whole, and its closing tag."""
        self._emit("{")
        key, word = head.key, head.word
        self._heads_on_lines = head.on_line and not self._properties()
        while key is not None:
            self._emit(", " * bool(self._given) + quoted(key.name) + ": ")
            self._given.add(key.name)
            if not (yield from self._value(cursor, key)):
                return False, ""
            found = yield from self._next_key(cursor)
            if found is None:
                return False, ""
            key, word = found
        self._emit("}")
        return True, word

    def _value(self, cursor: Cursor, key: _Key) -> Step[bool]:
        """Read a value. Returns whether its end came."""
        tags = self._tags
        value = RawValue(
            self._types(key.name, key.attributes),
            self._emit,
            own_lines=tags.own_lines,
            trimmed=tags.trimmed,
            html_escaped=tags.html_escaped,
        )
        self._out.unwritten = lambda: value.held
        has_tag = True
        if tags.cdata:
            is_closed = yield from self._xml_text(cursor, value)
        else:
            end = ValueEnd(
                self._value_tags,
                value.feed,
                has_own_lines=value.has_own_lines,
                at_line_start=value.at_line_start,
                is_empty=value.is_empty,
                next_key=self._name_of_next,
                heads_on_lines=self._heads_on_lines,
            )
            is_closed = yield from end.read(cursor)
            has_tag = end.has_tag
        self._out.unwritten = None
        if is_closed:
            value.close(has_tag=has_tag)
        else:
            value.cut()
        return is_closed

    def _xml_text(self, cursor: Cursor, value: RawValue) -> Step[bool]:
        """Read a value of XML and its closing tag. Any other tag of the family ends it too, and is left unread."""
        tags = self._tags
        while True:
            _, mark = yield from until(cursor, (tags.value_end, _CDATA, tags.key, *tags.ends), value.feed)
            if mark == _CDATA:
                _, mark = yield from until(cursor, ("]]>",), lambda text: value.feed(text, is_cdata=True))
                if mark is not None:
                    continue
            elif mark is not None and mark != tags.value_end:
                cursor.back(len(mark))
            return mark is not None

    def _name_of_next(self, cursor: Cursor) -> Step[str | None]:
        """The name in the head of a parameter, if it may be the next one."""
        key = yield from _key(cursor, self._tags)
        if key is None or not key.has_value or key.name in self._given:
            return None
        properties = self._properties()
        is_known = field(properties, key.name) is not None if properties else _KEY.fullmatch(key.name) is not None
        return key.name if is_known else None

    def _properties(self) -> Any:
        """The parameters that the tool declares, None if they are not known."""
        tools = self._context.tools
        declared = None if tools is None else tools.get(self._call.name or "")
        return None if declared is None else field(declared.parameters, "properties")

    def _next_key(self, cursor: Cursor) -> Step[tuple[_Key | None, str] | None]:
        """Read the head of the next parameter that has a value, or else the tag that ends the call, if one comes.

        None if the text ends within the call.
        """
        tags = self._tags
        words = (tags.key, tags.value_end, *tags.ends)
        others = self._value_tags.elements
        while True:
            before = cursor.mark()
            yield from white(cursor)
            word = yield from one_of(cursor, words)
            if word is None and (yield from peek(cursor)):
                # Other text between two tags of the call.
                place = cursor.mark()
                word = (yield from until(cursor, (*words, *others), most=_MOST_JUNK))[1]
                if word not in words:
                    cursor.rewind(place)
                    word = None
            if word in tags.ends:
                cursor.settle()
                return None, word or ""
            key = None
            if word == tags.key:
                key = yield from _key(cursor, tags)
            is_cut = cursor.ended and (not cursor.waiting or ends_within(cursor, words))
            if key is None and is_cut:
                cursor.take(cursor.waiting)
                cursor.settle()
                return None
            if key is None and word != tags.value_end:
                cursor.rewind(before)
                cursor.settle()
                return None, ""
            cursor.settle()
            if key is not None and key.has_value:
                return key, ""

    def _types(self, key: str, attributes: str) -> Types | None:
        if attribute := _ATTRIBUTE.search(attributes):
            return STRING if attribute.groups() in {("string", "true"), ("type", "string")} else NO_STRING
        return parameter_types(self._context.tools, self._call.name or "", key)

    def _emit(self, text: str) -> None:
        self._out.arguments(self._call, text)
