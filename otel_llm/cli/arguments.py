"""Arguments that several commands take: each function reads one, or says what it should be."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any


def seconds(text: str) -> float:
    """A time above 0; `inf` for no limit."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    # NaN is not above 0 either.
    if not number > 0:
        raise ArgumentTypeError(f"a number of seconds above 0 is expected, not {text!r}")
    return number


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise ArgumentTypeError(f"a whole number from 1 on is expected, not {text!r}")
    return int(text)


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    from otel_llm.protocol.errors import UnreadableError
    from otel_llm.protocol.json_values import parse_json

    try:
        value = parse_json(text)
    except UnreadableError as error:
        raise ArgumentTypeError(f"a JSON object is expected: {error}") from None
    if not isinstance(value, dict):
        raise ArgumentTypeError(f"a JSON object is expected, not {text!r}")
    return value
