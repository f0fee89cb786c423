"""The grammar for calls with a tag for each argument, named after it, and nested tags for objects and arrays.  Pure.

`<invoke name="NAME"><city>Oslo</city><days><item>1</item></days></invoke>`, with a prefix before each tag. A call is
held back to its end, since what a tag holds decides its type. If another call or the end of the block comes first, it
is text.
"""

from __future__ import annotations

import json
from typing import Any

from otel_llm.protocol.fields import field
from otel_llm.tags.brackets import MOST_HELD
from otel_llm.tags.cursor import Cursor, Step, literal, until, white
from otel_llm.tags.grammars import Context, Grammar, closer, emit_call, tool_name
from otel_llm.tags.pieces import PieceBuffer
from otel_llm.tags.raw_values import as_json, schema_types


def nested_tags(prefix: str, end: str) -> Grammar:
    """`prefix` comes before each tag. `end` closes the block of calls."""
    opening, closing = f'{prefix}<invoke name="', f"{prefix}</invoke>"
    others = (end, end.replace("</", "<"), opening)

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            yield from white(cursor)
            name = ""
            if (yield from literal(cursor, opening)):
                name = yield from tool_name(cursor)
            if not name or not (yield from literal(cursor, '">')):
                cursor.rewind(place)
                break
            body, mark = yield from until(cursor, (closing, *others), most=MOST_HELD)
            if mark in others:
                cursor.back(len(mark))
            arguments = _nested_arguments(body, prefix, context, name) if mark == closing else None
            if arguments is None:
                out.commit_as_text()
                return True
            out.commit()
            cursor.settle()
            emit_call(out, context, name, arguments)
        if not out.committed:
            return False
        cursor.settle()
        yield from closer(cursor, (end,))
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
    """The value of an element: that of its text, or of the elements in it."""
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
    """Reads elements from a text that was split at the beginning of each tag."""

    def __init__(self, parts: list[str]) -> None:
        self._parts = parts
        self._place = 0

    @property
    def left(self) -> int:
        return len(self._parts) - self._place

    def children(self, depth: int) -> list[tuple[str, Any]]:
        """Name and content of each element, up to the closing tag of the one around them, which is left unread."""
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
