"""Errors that a body carries, and the error for a body that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from otel_llm.protocol.fields import field, is_a, text_of

_SHOWN = 300  # characters of a server's message


class UnreadableError(Exception):
    """A body, or a file of bodies, cannot be read any further. The message is a sentence for a person."""


def error_in(value: Any) -> Any:
    """The error that a response or a chunk carries, None where it carries none.

    `value` is decoded JSON, an SDK's model or a mock. Gateways send `{"error": ...}` with status 200, or as one
    event of a stream; vLLM sends an object whose `object` is `"error"`.
    """
    if text_of(field(value, "object")) == "error":
        return value
    error = field(value, "error")
    # A mock has a field of every name.
    is_one = bool(error) if is_a(value, Mapping) else is_a(error, (Mapping, str)) and bool(error)
    return error if is_one else None


def message_of(error: Any) -> str:
    """The message of an error that `error_in` returned, cut for display."""
    return str(field(error, "message") or error)[:_SHOWN]


def message_in_body(body: bytes) -> str:
    """What the body of an HTTP error says: its message, or else its beginning."""
    text = body.decode("utf-8", "replace").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text[:_SHOWN]
    error = error_in(value)
    return message_of(error) if error is not None else str(field(value, "message") or text)[:_SHOWN]
