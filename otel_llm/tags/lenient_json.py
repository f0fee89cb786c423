"""Reads JSON that is almost JSON, and the call in it.  Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from otel_llm.tags.json_body import ARGUMENT_KEYS, NAME_KEYS
from otel_llm.tags.python_syntax import NotACall, read_literal

# A longer text, or one with more open brackets, is not repaired, since that would take seconds.
_MOST_REPAIRED = 131_072
_DEEPEST_REPAIRED = 64
_CLOSERS = {"{": "}", "[": "]"}
_STRUCTURE = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')


def call_in(body: dict[str, Any]) -> tuple[str | None, Any]:
    """Name and arguments of an object that is a call, also of `{"type": "function", "function": {…}}`."""
    inner = body.get("function")
    if isinstance(inner, dict):
        return call_in(inner)
    name = next((body[key] for key in ("name", *NAME_KEYS) if isinstance(body.get(key), str)), None)
    arguments: Any = next((body[key] for key in sorted(ARGUMENT_KEYS) if key in body), {})
    if isinstance(arguments, str):
        arguments = parse_leniently(arguments)
    return name, {} if arguments is None else arguments


def parse_leniently(text: str) -> Any:
    """The value of a text that is JSON, or almost: Python's literals, cut off, or malformed. None if it has none."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        return read_literal(text)
    except (NotACall, RecursionError):
        pass
    closing = _missing_end(text)
    try:
        return json.loads(text + closing, strict=False)
    except (ValueError, RecursionError):
        pass
    if len(text) > _MOST_REPAIRED or len(closing) > _DEEPEST_REPAIRED:
        return None
    # Imported only when needed: it is large, and most bodies are JSON.
    from json_repair import repair_json

    try:
        return repair_json(text, return_objects=True) or None
    except Exception:  # noqa: BLE001  it fails assertions of its own on some texts
        return None


def _missing_end(text: str) -> str:
    """The quote and the brackets that a JSON text lacks if it was cut off."""
    open_brackets: list[str] = []
    place, in_string = 0, False
    while match := (_IN_STRING if in_string else _STRUCTURE).search(text, place):
        place = match.end()
        mark = match.group()
        if mark == '"':
            in_string = not in_string
        elif mark == "\\":
            place += 1
        elif mark in _CLOSERS:
            open_brackets.append(_CLOSERS[mark])
        elif open_brackets:
            open_brackets.pop()
    return '"' * in_string + "".join(reversed(open_brackets))
