"""The grammar for calls with a pair of tags for each argument, which is raw text.  Pure.

Raw text has no escape for its own closing tag: it ends at the first one. The arguments are emitted as JSON, parameter
by parameter as the text comes. A call ends at its closing tag, at that of the block, or where something other than a
parameter follows. It is cut off only if the text ends first, or if a parameter has no end. A tag that begins a
parameter whose name is never closed is text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from otel_llm.tags.cursor import Cursor, Step, one_of, peek, until, white
from otel_llm.tags.grammars import Context, Grammar, closer, end_json_call, tool_name
from otel_llm.tags.json_text import End, container
from otel_llm.tags.pieces import ParsedCall, PieceBuffer
from otel_llm.tags.raw_values import NO_STRING, STRING, RawValue, Types, parameter_types, quoted

_CDATA = "<![CDATA["
_LONGEST_KEY = 256


@dataclass(frozen=True)
class Tags:
    """The tags of one family of models.

    A call is [`call_open`] NAME [`name_end`] parameters `closers`. A parameter is `key` KEY `key_end` [attributes]
    `value` VALUE `value_end`; `value` is empty if the value follows `key_end` directly.
    """

    key: str
    key_end: str
    value_end: str
    value: str = ""
    call_open: Sequence[str] = ()
    """One of these comes before the name; none if the marker is all that comes before it."""
    name_end: Sequence[str] = ()
    attributes_end: str = ""
    """Ends attributes that may follow `name_end`."""
    closers: Sequence[str] = ()
    block_closers: Sequence[str] = ()
    """One of these ends the block of calls."""
    own_lines: bool = False
    """A line break before and after a value is markup."""
    html_escaped: bool | None = False
    """Whether values are escaped as in HTML. None: those that are not on lines of their own are."""
    cdata: bool = False
    marker_opens_call: bool = False
    """The marker includes the `call_open` of the first call."""
    name_of: Callable[[str], str] = str
    """Makes the tool's name of what stands in its place."""
    json_body: bool = False
    """One JSON object may come in place of the parameters."""


def xml_parameters(tags: Tags) -> Grammar:
    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            head = yield from _head(cursor, context, tags, first=not out.committed)
            if head is None:
                if not out.committed:
                    return False
                cursor.rewind(place)
                cursor.settle()
                break
            name, word = head
            out.commit()
            cursor.settle()
            call = out.begin(context.format, opening=context.opening)
            out.name(call, name)
            end: End
            if word == "{":
                end = yield from container(cursor, lambda text, call=call: out.arguments(call, text), tags.closers)  # type: ignore[misc]
                call.well_formed = end == "closed"
                closing = yield from end_json_call(cursor, out, call, end, tags.closers)
            else:
                is_whole, closing = yield from _Parameters(out, context, tags, call).read(cursor, word)
                out.end(call, complete=is_whole, closing=closing)
                end = "closed" if is_whole else "cut"
            if end == "cut" or closing in tags.block_closers or not tags.call_open:
                break
        yield from closer(cursor, tags.block_closers)
        return True

    return read


def _head(cursor: Cursor, context: Context, tags: Tags, *, first: bool) -> Step[tuple[str, str] | None]:
    """Read the name and what follows it: a tag, which is read too, or the brace of a JSON object, which is not."""
    space = yield from white(cursor)
    if (
        tags.call_open
        and not (first and tags.marker_opens_call)
        and (yield from one_of(cursor, tags.call_open)) is None
    ):
        return None
    name = tags.name_of((yield from tool_name(cursor)))
    if not name:
        return None
    yield from white(cursor)
    if tags.name_end:
        if (yield from one_of(cursor, tags.name_end)) is None:
            return None
        if tags.attributes_end and (yield from until(cursor, (tags.attributes_end,), most=_LONGEST_KEY))[1] is None:
            return None
        yield from white(cursor)
    if tags.json_body and (yield from peek(cursor)) == "{":
        return name, "{"
    word = yield from one_of(cursor, (tags.key, *tags.closers))
    # A name alone between two tags is prose about them, unless it is that of a tool. If the tools are not known, it
    # must follow the tag directly.
    is_alone = word in tags.closers and not tags.name_end
    if word is None or (is_alone and not context.may_be_tool(name)):
        return None
    if is_alone and context.tools is None and space and not tags.call_open:
        return None
    return name, word


def _may_be_one_of(cursor: Cursor, words: Sequence[str]) -> bool:
    """Whether all that is left is the beginning of one of `words`."""
    rest = cursor.text[cursor.position :]
    return any(word.startswith(rest) for word in words)


class _Parameters:
    """Reads the parameters of one call, and emits them as JSON."""

    def __init__(self, out: PieceBuffer, context: Context, tags: Tags, call: ParsedCall) -> None:
        self._out = out
        self._context = context
        self._tags = tags
        self._call = call

    def read(self, cursor: Cursor, word: str) -> Step[tuple[bool, str]]:
        """Read on after `word`, the first tag. Returns whether the call is whole, and its closing tag."""
        tags, emit = self._tags, self._emit
        emit("{")
        separator = ""
        while word == tags.key:
            key = yield from self._key(cursor)
            if key is None:
                return False, ""
            name, attributes = key
            emit(separator + quoted(name) + ": ")
            separator = ", "
            value = RawValue(
                self._types(name, attributes), emit, own_lines=tags.own_lines, html_escaped=tags.html_escaped
            )
            self._out.unwritten = lambda value=value: value.held
            is_closed = yield from self._value(cursor, value)
            self._out.unwritten = None
            if not is_closed:
                value.cut()
                return False, ""
            value.close()
            next_word = yield from self._next_tag(cursor)
            if next_word is None:
                return False, ""
            word = next_word
        emit("}")
        return True, word

    def _key(self, cursor: Cursor) -> Step[tuple[str, str] | None]:
        """Read the name of a parameter and its attributes. If they do not end, read nothing and return None."""
        tags = self._tags
        before = cursor.mark()
        key, end = yield from until(cursor, (tags.key_end,), most=_LONGEST_KEY)
        attributes = ""
        if tags.value and end is not None:
            attributes, end = yield from until(cursor, (tags.value,), most=_LONGEST_KEY)
        if end is None:
            cursor.rewind(before)
        cursor.settle()
        return None if end is None else (key.strip(), attributes)

    def _value(self, cursor: Cursor, value: RawValue) -> Step[bool]:
        """Read a value and its closing tag. Returns whether that came."""
        tags = self._tags
        if not tags.cdata:
            return (yield from until(cursor, (tags.value_end,), value.feed))[1] is not None
        while True:
            _, mark = yield from until(cursor, (tags.value_end, _CDATA), value.feed)
            if mark != _CDATA:
                return mark is not None
            _, mark = yield from until(cursor, ("]]>",), lambda text: value.feed(text, is_cdata=True))
            if mark is None:
                return False

    def _next_tag(self, cursor: Cursor) -> Step[str | None]:
        """Read the tag after a parameter. Empty if another thing comes, None if the text ends within the tag."""
        before = cursor.mark()
        yield from white(cursor)
        words = (self._tags.key, *self._tags.closers, *self._tags.block_closers)
        word = yield from one_of(cursor, words)
        is_cut = word is None and cursor.ended and _may_be_one_of(cursor, words)
        if word is None:
            cursor.rewind(before)
        cursor.settle()
        return None if is_cut else word or ""

    def _types(self, key: str, attributes: str) -> Types | None:
        if 'string="true"' in attributes or 'type="string"' in attributes:
            return STRING
        if 'string="false"' in attributes or 'type="' in attributes:
            return NO_STRING
        return parameter_types(self._context.tools, self._call.name or "", key)

    def _emit(self, text: str) -> None:
        self._out.arguments(self._call, text)
