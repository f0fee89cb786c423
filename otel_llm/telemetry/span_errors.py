"""Exceptions as the error of a span: exportable and bounded."""

from __future__ import annotations

from opentelemetry.util.genai.types import Error

from otel_llm.protocol.unicode_text import exportable
from otel_llm.transparency.faults import attempt

_LONGEST_MESSAGE = 1000


def error_of(error: BaseException) -> Error:
    """The error of a span that this exception ended."""
    text = _message(error)
    # The OpenAI SDK says only "Connection error."; the cause says what happened.
    cause = error.__cause__
    if cause is not None and (reason := _message(cause)) not in text:
        text = f"{text} ({type(cause).__name__}: {reason})"
    # This reads the exception's message too, which may raise.
    known = attempt("an error's type", Error.from_exception, error)
    kind = type(error).__qualname__ if known is None else known.type
    return Error(message=text, type=exportable(kind), exception=error)


def _message(error: BaseException) -> str:
    # The text may come from the server, and be anything.
    return exportable((attempt("an error's message", str, error) or type(error).__name__)[:_LONGEST_MESSAGE])
