"""Error objects inside response bodies, and the exception for input that cannot be read.  Pure.

Three shapes are recognized, whatever the HTTP status:

- `{"error": {...}}` or `{"error": "text"}`, as a whole body or as one event of a stream. Gateways answer like this with
  status 200, because they send the headers before they ask the model.
- `{"object": "error", "message": ...}` (vLLM).
- `{"message": ...}` (many gateways), only in the body of an HTTP error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from otel_llm.protocol.fields import field, is_a, text_of

_SHOWN = 300  # characters of a server's message


class UnreadableError(Exception):
    """A body, or a file of bodies, cannot be read any further. The message is a sentence for the user."""


def error_in(value: Any) -> Any:
    """The error that a response or a chunk carries, or None.

    `value` is decoded JSON, an SDK model, a mock or anything else. Never raises.
    """
    if text_of(field(value, "object")) == "error":
        return value
    error = field(value, "error")
    # A mock has every attribute, so only a mapping or a text counts as the error of an object.
    if not (is_a(value, Mapping) or is_a(error, (Mapping, str))):
        return None
    try:
        return error or None
    except Exception:  # noqa: BLE001  it may raise when asked whether it is empty
        return None


def message_of(error: Any) -> str:
    """The message of an error that `error_in` returned, cut for display."""
    return str(text_of(field(error, "message")) or error)[:_SHOWN]


def message_in_body(body: bytes) -> str:
    """The message in the body of an HTTP error, or the beginning of the body if it has none. Cut for display."""
    text = body.decode("utf-8", "replace").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text[:_SHOWN]
    error = error_in(value)
    return (text_of(field(value, "message")) or text)[:_SHOWN] if error is None else message_of(error)
