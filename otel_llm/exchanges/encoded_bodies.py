"""Bodies of bytes in formats that hold text: base64, hexadecimal digits, and pieces of these.  Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.json_values import parse_json


def from_base64(data: Any, number: int) -> bytes:
    """The bytes of the body of exchange `number`. Raises UnreadableError."""
    try:
        return base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError, TypeError):
        raise UnreadableError(f"the body of exchange {number} is not base64") from None


def from_hex(text: str, number: int) -> bytes:
    """As `from_base64`, for hexadecimal digits."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise UnreadableError(f"the body of exchange {number} is not hexadecimal") from None


def pieces_of(text: Any) -> list[str] | None:
    """The pieces of a body that is a JSON array of texts, a piece for each read; None if it is no such array."""
    if not isinstance(text, str) or not text.lstrip().startswith("["):
        return None
    try:
        value = parse_json(text)
    except UnreadableError:
        return None
    return value if isinstance(value, list) and all(isinstance(one, str) for one in value) else None
