"""Exceptions as a span's error: fit to be exported, and cut."""

from __future__ import annotations

from opentelemetry.util.genai.types import Error

from otel_llm.protocol.unicode_text import exportable
from otel_llm.transparency.faults import attempt

_LONGEST_MESSAGE = 1000


def error_of(error: BaseException) -> Error:
    """The error of a span that ends with this exception."""
    text = _message(error)
    # The SDK says "Connection error."; what happened to the connection is in the cause.
    cause = error.__cause__
    if cause is not None and (reason := _message(cause)) not in text:
        text = f"{text} ({type(cause).__name__}: {reason})"
    # It reads the message, too, which may raise.
    known = attempt("an error's type", Error.from_exception, error)
    kind = type(error).__qualname__ if known is None else known.type
    return Error(message=text, type=exportable(kind), exception=error)


def _message(error: BaseException) -> str:
    # An error event carries the server's words, which may be anything.
    return exportable((attempt("an error's message", str, error) or type(error).__name__)[:_LONGEST_MESSAGE])
