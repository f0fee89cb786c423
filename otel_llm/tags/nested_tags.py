"""The grammar for calls with a tag for each argument, named after it, and nested tags for objects and arrays.  Pure.

`<invoke name="NAME"><city>Oslo</city><days><item>1</item></days></invoke>`, with a prefix before each tag. What a tag
holds decides its type, so a call is held back to its end, and is text if another call or the end of the block comes
first. But where the schema of the tool says that an argument is neither an object nor an array, it is emitted as it
comes, or as soon as it is whole: all such arguments at the beginning of a call.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from otel_llm.protocol.fields import field, items_of
from otel_llm.tags.brackets import MOST_HELD
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, undecided, until, white
from otel_llm.tags.declared import tool_named
from otel_llm.tags.grammars import Context, Grammar, closer, emit_call, tool_name
from otel_llm.tags.json_text import in_string
from otel_llm.tags.pieces import ParsedCall, PieceBuffer
from otel_llm.tags.raw_values import STRING, Types, as_json, parameter_types, quoted, referred_to, schema_types

_LONGEST_KEY = 256
_LONGEST_SCALAR = 512
_BEGUN = "."


def nested_tags(prefix: str, end: str) -> Grammar:
    """`prefix` comes before each tag. `end` closes the block of calls."""
    opening, closing = f"{prefix}<invoke name=", f"{prefix}</invoke>"
    others = (end, end.replace("</", "<"), opening)

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            yield from white(cursor)
            name = ""
            if (yield from literal(cursor, opening)):
                quote = yield from one_of(cursor, ('"', "'"))
                name = yield from tool_name(cursor)
                if not (yield from literal(cursor, f"{quote or ''}>")):
                    name = ""
            if not name:
                cursor.rewind(place)
                break
            call = _Call(cursor, out, context, name, prefix)
            yield from call.read_plain()
            body, mark = yield from until(cursor, (closing, *others), most=MOST_HELD)
            if mark in others:
                cursor.back(len(mark))
            if not call.end(body, is_closed=mark == closing):
                out.commit_as_text()
                return True
            cursor.settle()
            if call.is_cut:
                return True
        if not out.committed:
            return False
        cursor.settle()
        yield from closer(cursor, (end,))
        return True

    return read


class _Call:
    """Emits one call: arguments that need no more than their own text first, as they come, and then the rest."""

    def __init__(self, cursor: Cursor, out: PieceBuffer, context: Context, name: str, prefix: str) -> None:
        self._cursor = cursor
        self._out = out
        self._context = context
        self._name = name
        self._prefix = prefix
        self._call: ParsedCall | None = None
        self._given: set[str] = set()
        # The element whose text was emitted so far, without the end.
        self._open = ""
        self.is_cut = False

    def read_plain(self) -> Step[None]:
        """Read the elements at the beginning that hold only text, and must be neither objects nor arrays."""
        cursor = self._cursor
        while not self._open:
            place = cursor.mark()
            yield from white(cursor)
            key = ""
            if (yield from literal(cursor, f"{self._prefix}<")):
                key, end = yield from until(cursor, (">", "<"), most=_LONGEST_KEY)
                key = key if end == ">" else ""
            types = parameter_types(self._context.tools, tool_named(self._context.tools, self._name), key)
            if not key or key in self._given or types is None or types & {"array", "object"}:
                cursor.rewind(place)
                return
            if types == STRING:
                yield from self._string(key)
            elif not (yield from self._scalar(key, types)):
                cursor.rewind(place)
                return

    def _string(self, key: str) -> Step[None]:
        """Read a string as it comes, and its closing tag. Another tag in it is left unread, and the string open."""
        cursor, self._open = self._cursor, key
        self._begin(key)
        self._arguments('"')
        prefix = (self._prefix,)
        yield from until(cursor, prefix, lambda text: self._arguments(in_string(text)), cut=prefix, leave=True)
        place = cursor.mark()
        if (yield from literal(cursor, f"{self._prefix}</{key}>")):
            cursor.settle()
            self._open = ""
            self._arguments('"')
        else:
            cursor.rewind(place)

    def _scalar(self, key: str, types: Types) -> Step[bool]:
        text, _ = yield from until(self._cursor, (self._prefix,), most=_LONGEST_SCALAR, leave=True)
        if not (yield from literal(self._cursor, f"{self._prefix}</{key}>")):
            return False
        self._begin(key)
        self._arguments(as_json(text, types))
        return True

    def _begin(self, key: str) -> None:
        """An argument begins."""
        if self._call is None:
            self._call = self._out.begin(self._context.format, opening=self._context.opening)
            self._out.name(self._call, self._name)
            self._out.commit()
        self._cursor.settle()
        self._arguments(("{" if not self._given else ", ") + quoted(key) + ": ")
        self._given.add(key)

    def _arguments(self, text: str) -> None:
        if self._call is not None:
            self._out.arguments(self._call, text)

    def end(self, body: str, *, is_closed: bool) -> bool:
        """Emit what was not read yet, `body`. False if there is no call in it."""
        call = self._call
        if call is None:
            arguments = _nested_arguments(body, self._prefix, self._context, self._name) if is_closed else None
            if arguments is not None:
                self._out.commit()
                emit_call(self._out, self._context, self._name, arguments)
            return arguments is not None
        self.is_cut = not is_closed and self._cursor.ended and not self._cursor.waiting
        if self.is_cut:
            body = _without_cut_tag(body, self._prefix)
        # Of the text that was emitted, only whether there was any matters here.
        begun = f"{self._prefix}<{self._open}>{_BEGUN}" if self._open else ""
        rest = _nested_arguments(begun + body, self._prefix, self._context, self._name) or {}
        written: list[str] = []
        if self._open:
            value = rest.get(self._open)
            more = value.removeprefix(_BEGUN) if isinstance(value, str) and value.startswith(_BEGUN) else ""
            written.append(in_string(more) + '"')
        written += (
            f"{quoted(key)}: {json.dumps(value, ensure_ascii=False)}"
            for key, value in rest.items()
            if key not in self._given
        )
        text = ("" if self._open else ", " * bool(written)) + ", ".join(written)
        # The end of a string that was cut off is not known.
        self._arguments(text.removesuffix('"') if self.is_cut else text + "}")
        self._out.end(call, complete=not self.is_cut)
        return True


def _without_cut_tag(text: str, prefix: str) -> str:
    """`text` without the part of a tag at its end."""
    last = text.rfind(prefix)
    if last >= 0 and ">" not in text[last + len(prefix) :]:
        return text[:last]
    part = undecided(text, 0, (prefix,))
    return text[: len(text) - part] if part > 1 else text


def _nested_arguments(body: str, prefix: str, context: Context, tool: str) -> dict[str, Any] | None:
    """The arguments in the elements of a call. None if there are none, but something else."""
    parts = body.split(f"{prefix}<")
    reader = _Reader(parts[1:], f"{prefix}<")
    try:
        elements = reader.children(())
        if not elements and body.strip():
            return None
        declared = None if context.tools is None else context.tools.get(tool_named(context.tools, tool))
        schema = None if declared is None else declared.parameters
        return _object(schema, schema, elements)
    except RecursionError:
        return None


@dataclass(frozen=True)
class _Element:
    """`text`: what is between its tags, as it came. `inner`: the elements in it."""

    key: str
    text: str
    inner: Sequence[_Element]


def _object(root: Any, schema: Any, elements: Iterable[_Element]) -> dict[str, Any]:
    """Elements that come again are an array, unless the schema says that there is none."""
    by_key: dict[str, list[_Element]] = {}
    for element in elements:
        by_key.setdefault(element.key, []).append(element)
    return {key: _repeated(root, _property(root, schema, key), found) for key, found in by_key.items()}


def _repeated(root: Any, schema: Any, elements: Sequence[_Element]) -> Any:
    types = schema_types(root, schema)
    if len(elements) == 1 or not (types is None or "array" in types):
        return _typed(root, schema, elements[-1])
    items = _part(root, schema, "items")
    return [_typed(root, items, element) for element in elements]


def _typed(root: Any, schema: Any, element: _Element) -> Any:
    """The value of an element: that of its text, or of the elements in it."""
    types = schema_types(root, schema)
    if element.inner and not (types is not None and "string" in types):
        if all(inner.key == "item" for inner in element.inner) and (types is None or "array" in types):
            items = _part(root, schema, "items")
            return [_typed(root, items, inner) for inner in element.inner]
        return _object(root, schema, element.inner)
    if types is not None and not element.text.strip() and types & {"array", "object"} and "string" not in types:
        return [] if "array" in types else {}
    return json.loads(as_json(element.text, types))


def _property(root: Any, schema: Any, key: str) -> Any:
    found = field(_part(root, schema, "properties"), key)
    return _part(root, schema, "additionalProperties") if found is None else found


def _part(root: Any, schema: Any, name: str, depth: int = 0) -> Any:
    """A field of a schema, or of one that it refers to or combines."""
    found = field(schema, name)
    if found is not None or schema is None or depth > 8:
        return found
    others = [referred_to(root, schema)]
    others += [part for key in ("anyOf", "oneOf", "allOf") for part in items_of(field(schema, key))]
    for other in others:
        found = _part(root, other, name, depth + 1)
        if found is not None:
            return found
    return None


class _Reader:
    """Reads elements from a text that was split at the beginning of each tag.

    An element whose closing tag is missing ends where its parent does, or, if it has text, where the next one begins.
    One with the closing tag of another is dropped.
    """

    def __init__(self, parts: Sequence[str], mark: str) -> None:
        self._parts = parts
        self._mark = mark
        self._place = 0
        self._places: dict[str, list[int]] = {}
        for place, part in enumerate(parts):
            self._places.setdefault(part.partition(">")[0], []).append(place)

    def children(self, around: tuple[str, ...]) -> list[_Element]:
        """The elements up to a closing tag of one of those `around`, which is left unread."""
        if len(around) > 100:
            raise RecursionError
        found: list[_Element] = []
        while self._place < len(self._parts):
            tag, _, text = self._parts[self._place].partition(">")
            if tag.startswith("/"):
                if tag[1:] in around:
                    break
                self._place += 1
                continue
            element = self._element(tag, text, around)
            if element is not None:
                found.append(element)
        return found

    def _element(self, key: str, text: str, around: tuple[str, ...]) -> _Element | None:
        self._place += 1
        first = self._place
        inner = [] if text.strip() and not self._is_closed(key) else self.children((*around, key))
        whole = text + "".join(self._mark + part for part in self._parts[first : self._place])
        if self._place >= len(self._parts):
            return _Element(key, whole, inner)
        tag = self._parts[self._place].partition(">")[0]
        if tag == f"/{key}":
            self._place += 1
        elif tag.startswith("/") and tag[1:] not in around:
            self._place += 1
            return None
        return _Element(key, whole, inner)

    def _is_closed(self, key: str) -> bool:
        """Whether a closing tag of this name comes before another opening one."""
        closing, opening = self._next(f"/{key}"), self._next(key)
        return closing is not None and (opening is None or closing < opening)

    def _next(self, tag: str) -> int | None:
        places = self._places.get(tag, ())
        index = bisect_left(places, self._place)
        return places[index] if index < len(places) else None
