"""Tells the declaration of a tool from a call of it, where both are JSON with a name and `parameters`.  Pure.

What a call has are values; what a declaration has is a schema: by JSON Schema, by OpenAPI, or as Gemini writes it, with
types in capitals. Whatever keys the tool itself takes are values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_llm.protocol.fields import field
from otel_llm.protocol.request import Tool

_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
# Each of these makes an object a schema on its own, if its value is of this kind.
_KEYWORDS: Mapping[str, type] = {
    "properties": dict,
    "$ref": str,
    "$schema": str,
    "$defs": dict,
    "definitions": dict,
    "anyOf": list,
    "oneOf": list,
    "allOf": list,
    "additionalProperties": bool,
    "patternProperties": dict,
}


def is_schema(arguments: Mapping[str, Any], tool: Tool | None) -> bool:
    """Whether the arguments are a schema, and `tool` does not take what a schema has."""
    taken = field(tool.parameters, "properties") if tool is not None else None
    known = frozenset(taken) if isinstance(taken, Mapping) else frozenset[str]()
    if isinstance(arguments.get("properties"), dict) and _is_type(arguments.get("type")) and "properties" not in known:
        return True
    if not known.isdisjoint(arguments) or not arguments:
        # A value for each may still be its type, written out.
        return arguments.keys() <= known and _are_schemas(arguments, taken)
    if _is_type(arguments.get("type")) or _are_schemas(arguments, None):
        return True
    return any(isinstance(arguments.get(key), kind) for key, kind in _KEYWORDS.items())


def _is_type(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in _TYPES
    return isinstance(value, list) and bool(value) and all(map(_is_type, value))


def _are_schemas(arguments: Mapping[str, Any], taken: Any) -> bool:
    """Whether each value is a schema: `{"title": {"type": "string"}}`."""
    return bool(arguments) and all(
        isinstance(value, dict)
        and _is_type(value.get("type"))
        and field(field(field(taken, name), "properties"), "type") is None
        for name, value in arguments.items()
    )
