"""Exceptions as the error of a span: exportable and bounded."""

from __future__ import annotations

from opentelemetry.util.genai.types import Error

from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.redaction import Redaction
from otel_llm.transparency.faults import attempt

LONGEST_MESSAGE = 1000


def error_of(error: BaseException, redaction: Redaction | None = None) -> Error:
    """The error of a span that this exception ended."""
    # A secret that is cut cannot be recognized, so redaction comes first.
    longest = LONGEST_MESSAGE if redaction is None else None
    text = _message(error, longest)
    # The OpenAI SDK says only "Connection error."; the cause says what happened.
    cause = error.__cause__
    if cause is not None and (reason := _message(cause, longest)) not in text:
        text = f"{text} ({type(cause).__name__}: {reason})"
    if redaction is not None:
        text = redaction.text(text)[:LONGEST_MESSAGE]
    # It may come from the server, and be anything.
    text = exportable(text)
    # This reads the exception's message too, which may raise.
    known = attempt("an error's type", Error.from_exception, error)
    kind = type(error).__qualname__ if known is None else known.type
    if (status := _status_of(error)) is not None:
        kind = status
    return Error(message=text, type=exportable(kind), exception=error)


def _status_of(error: BaseException) -> str | None:
    """The HTTP status of an error of Google's SDK, whose two classes say no more than whose fault it is."""
    for base in type(error).__mro__:
        if base.__name__ == "APIError" and base.__module__ == "google.genai.errors":
            code = getattr(error, "code", None)
            return str(code) if isinstance(code, int) else None
    return None


def _message(error: BaseException, longest: int | None) -> str:
    return (attempt("an error's message", str, error) or type(error).__name__)[:longest]
