"""Calls whose arguments stand one by one between tags, as raw text.  Pure.

Raw text has no escape for its own terminator: it ends at the first one. What is passed on is JSON, made parameter by
parameter as the text comes. A call ends at its closing tag, at that of the block, or where something else than a
parameter follows; it is cut off only where the text ends first, or where a parameter has no end. A tag that begins a
parameter whose name is never closed is text again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from otel_llm.protocol.fields import field
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, until, white
from otel_llm.tags.found import Findings, FoundCall
from otel_llm.tags.grammars import MOST_HELD, Context, Grammar, call_name, closing, ended, made_call
from otel_llm.tags.json_body import container
from otel_llm.tags.raw_values import NO_STRING, STRING, RawValue, Types, as_json, parameter_types, quoted, schema_types

_CDATA = "<![CDATA["
_LONGEST_KEY = 256


@dataclass(frozen=True)
class Tags:
    """The tags of one family.

    A parameter is `key` KEY `key_end` [attributes] `value` VALUE `value_end`; `value` is empty where `key_end` is what
    stands before the value. A call is [`invoke`] NAME [`named`] parameters `done`.
    """

    key: str
    key_end: str
    value_end: str
    value: str = ""
    invoke: Sequence[str] = ()
    """One of these before the name; none where the marker is all that stands there."""
    named: Sequence[str] = ()
    named_end: str = ""
    """Behind attributes that stand between `named` and this."""
    done: Sequence[str] = ()
    ends: Sequence[str] = ()
    """One of these ends the block of calls."""
    own_lines: bool = False
    """A line break before and behind a value is no part of it."""
    references: bool | None = False
    """Values are escaped as in HTML; None: those that do not stand on lines of their own."""
    cdata: bool = False
    invoke_read: bool = False
    """The marker holds the first `invoke`."""
    tool: Callable[[str], str] = str
    json_body: bool = False
    """In place of parameters there may be one JSON object."""


def xml_parameters(tags: Tags) -> Grammar:
    def read(cursor: Cursor, found: Findings, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            head = yield from _head(cursor, context, tags, first=not found.sure)
            if head is None:
                if not found.sure:
                    return False
                cursor.rewind(place)
                cursor.settle()
                break
            name, word = head
            found.commit()
            cursor.settle()
            call = found.begin(context.format, opening=context.opening)
            found.name(call, name)
            if word == "{":
                end = yield from container(cursor, lambda text, call=call: found.arguments(call, text), tags.done)  # type: ignore[misc]
                call.understood = end == "closed"
                closer = yield from ended(cursor, found, call, end, tags.done)
            else:
                whole, closer = yield from _Parameters(found, context, tags, call).read(cursor, word)
                found.end(call, complete=whole, closing=closer)
                end = "closed" if whole else "cut"
            if end == "cut" or closer in tags.ends or not tags.invoke:
                break
        yield from closing(cursor, tags.ends)
        return True

    return read


def _head(cursor: Cursor, context: Context, tags: Tags, *, first: bool) -> Step[tuple[str, str] | None]:
    """Read the name and what follows it: a tag, which is read too, or the brace of a JSON object, which is not."""
    apart = yield from white(cursor)
    if tags.invoke and not (first and tags.invoke_read) and (yield from one_of(cursor, tags.invoke)) is None:
        return None
    name = tags.tool((yield from call_name(cursor)))
    if not name:
        return None
    yield from white(cursor)
    if tags.named:
        if (yield from one_of(cursor, tags.named)) is None:
            return None
        if tags.named_end and (yield from until(cursor, (tags.named_end,), most=_LONGEST_KEY))[1] is None:
            return None
        yield from white(cursor)
    if tags.json_body and (yield from peek(cursor)) == "{":
        return name, "{"
    word = yield from one_of(cursor, (tags.key, *tags.done))
    # A name alone between two tags is prose about them, unless it is that of a tool; where the tools are not known it
    # must follow the tag directly.
    alone = word in tags.done and not tags.named
    if word is None or (alone and not context.may_be_tool(name)):
        return None
    if alone and context.tools is None and apart and not tags.invoke:
        return None
    return name, word


def _begins_one(cursor: Cursor, words: Sequence[str]) -> bool:
    """Whether what is left is nothing but the beginning of one of `words`."""
    rest = cursor.text[cursor.position :]
    return any(word.startswith(rest) for word in words)


class _Parameters:
    def __init__(self, found: Findings, context: Context, tags: Tags, call: FoundCall) -> None:
        self._found = found
        self._context = context
        self._tags = tags
        self._call = call

    def read(self, cursor: Cursor, word: str) -> Step[tuple[bool, str]]:
        """Read from behind the first tag to the closing tag of the call; whether the call is whole, and that tag."""
        tags, pass_on = self._tags, self._pass_on
        pass_on("{")
        first = True
        while word == tags.key:
            before = cursor.mark()
            key, end = yield from until(cursor, (tags.key_end,), most=_LONGEST_KEY)
            attributes = ""
            if tags.value and end is not None:
                attributes, end = yield from until(cursor, (tags.value,), most=_LONGEST_KEY)
            if end is None:
                cursor.rewind(before)
                cursor.settle()
                return False, ""
            cursor.settle()
            pass_on(("" if first else ", ") + quoted(key.strip()) + ": ")
            first = False
            value = RawValue(
                self._types(key.strip(), attributes), pass_on, own_lines=tags.own_lines, references=tags.references
            )
            self._found.aside = lambda value=value: value.held
            closed = yield from self._value(cursor, value)
            self._found.aside = None
            if not closed:
                value.cut()
                return False, ""
            value.close()
            before = cursor.mark()
            yield from white(cursor)
            word = (yield from one_of(cursor, (tags.key, *tags.done, *tags.ends))) or ""
            cut = not word and cursor.ended and _begins_one(cursor, (tags.key, *tags.done, *tags.ends))
            if not word:
                cursor.rewind(before)
            cursor.settle()
            if cut:
                return False, ""
        pass_on("}")
        return True, word

    def _value(self, cursor: Cursor, value: RawValue) -> Step[bool]:
        tags = self._tags
        if not tags.cdata:
            return (yield from until(cursor, (tags.value_end,), value.feed))[1] is not None
        while True:
            _, mark = yield from until(cursor, (tags.value_end, _CDATA), value.feed)
            if mark != _CDATA:
                return mark is not None
            _, mark = yield from until(cursor, ("]]>",), lambda text: value.feed(text, plain=True))
            if mark is None:
                return False

    def _types(self, key: str, attributes: str) -> Types | None:
        if 'string="true"' in attributes or 'type="string"' in attributes:
            return STRING
        if 'string="false"' in attributes or 'type="' in attributes:
            return NO_STRING
        return parameter_types(self._context.tools, self._call.name or "", key)

    def _pass_on(self, text: str) -> None:
        self._found.arguments(self._call, text)


# Tags named after the arguments -------------------------------------------------------------------------------


def nested_tags(prefix: str, end: str) -> Grammar:
    """`<invoke name="NAME">` with a tag for each argument, named after it, nested for objects.

    `prefix` stands before each tag. A call is held until its end: what a tag holds decides its type. Where another call
    or the end of the block comes first, it is text.
    """
    invoke, done = f'{prefix}<invoke name="', f"{prefix}</invoke>"
    others = (end, end.replace("</", "<"), invoke)

    def read(cursor: Cursor, found: Findings, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            yield from white(cursor)
            name = ""
            if (yield from literal(cursor, invoke)):
                name = yield from call_name(cursor)
            if not name or not (yield from literal(cursor, '">')):
                cursor.rewind(place)
                break
            body, mark = yield from until(cursor, (done, *others), most=MOST_HELD)
            if mark in others:
                cursor.back(len(mark))
            arguments = _nested_arguments(body, prefix, context, name) if mark == done else None
            if arguments is None:
                found.commit_text()
                return True
            found.commit()
            cursor.settle()
            made_call(found, context, name, arguments)
        if not found.sure:
            return False
        cursor.settle()
        yield from closing(cursor, (end,))
        return True

    return read


def _nested_arguments(body: str, prefix: str, context: Context, tool: str) -> dict[str, Any] | None:
    parts = body.split(f"{prefix}<")
    if parts[0].strip():
        return None
    reader = _Nested(parts[1:])
    try:
        arguments = reader.children(0)
    except (ValueError, RecursionError):
        return None
    if reader.left:
        return None
    declared = None if context.tools is None else context.tools.get(tool)
    schema = None if declared is None else declared.parameters
    return {key: _typed(schema, field(field(schema, "properties"), key), value) for key, value in arguments}


def _typed(root: Any, schema: Any, value: Any) -> Any:
    """The value of an element: what its text says, or what the elements in it are."""
    types = schema_types(root, schema)
    if isinstance(value, list):
        if all(key == "item" for key, _ in value) and (types is None or "array" in types):
            return [_typed(root, field(schema, "items"), inner) for _, inner in value]
        properties = field(schema, "properties")
        return {key: _typed(root, field(properties, key), inner) for key, inner in value}
    if types is not None and not value.strip() and types & {"array", "object"}:
        return [] if "array" in types else {}
    return json.loads(as_json(value, types))


class _Nested:
    """Reads tags out of a text that was split at the beginning of each."""

    def __init__(self, parts: list[str]) -> None:
        self._parts = parts
        self._place = 0

    @property
    def left(self) -> int:
        return len(self._parts) - self._place

    def children(self, depth: int) -> list[tuple[str, Any]]:
        """The elements up to the closing tag of the one around them, which is left unread."""
        if depth > 100:
            raise ValueError
        found: list[tuple[str, Any]] = []
        while self.left and not self._parts[self._place].startswith("/"):
            key, _, text = self._parts[self._place].partition(">")
            self._place += 1
            inner = self.children(depth + 1)
            if not self.left or self._parts[self._place].partition(">")[0] != f"/{key}":
                raise ValueError
            self._place += 1
            found.append((key, inner or text))
        return found
