"""What this package knows of OpenTelemetry's private parts. Each is read here and nowhere else.

`tests/telemetry/test_opentelemetry_internals.py` fails, and says why it matters, when an upgrade takes one away.
"""

from __future__ import annotations

import os

from opentelemetry.context import Context, set_value
from opentelemetry.trace import Span
from opentelemetry.util.genai.invocation import InferenceInvocation

_DEFAULT_EVENT_LIMIT = 128
# Under which util-genai keeps the request that is being made. It has no public name for it.
_REQUEST_KEY = "opentelemetry.genai.client.inference.context"

LOCKING_MODULES = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.util.genai")
"""Packages whose frames may hold a lock that ending a span, recording a metric or emitting a log record takes."""


def is_proxy_provider(provider: object) -> bool:
    """Whether a provider stands in for the global one until that is set."""
    return "Proxy" in type(provider).__name__


def context_outside_request() -> Context:
    """The current context, without the request that is being made: util-genai takes one within it for the same."""
    return set_value(_REQUEST_KEY, None)


def first_chunk_came(invocation: InferenceInvocation, time_ns: int) -> None:
    """Report the first chunk. util-genai's public method takes the time when it is called, between two chunks."""
    invocation._on_stream_chunk(time_ns / 1e9)


def events_left(span: Span) -> int | None:
    """How many more events a span takes, None for any number.

    The OpenTelemetry SDK does not say so publicly; where its own fields are gone, its environment variable is left.
    """
    held = 0
    try:
        held = len(span._events)  # type: ignore[attr-defined]
        most: int | None = span._limits.max_events  # type: ignore[attr-defined]
        return None if most is None else max(0, most - held)
    except Exception:  # noqa: BLE001  not a span of the SDK, or of one that keeps its events otherwise
        try:
            most = int(os.environ.get("OTEL_SPAN_EVENT_COUNT_LIMIT", ""))
        except ValueError:
            most = _DEFAULT_EVENT_LIMIT
        return max(0, most - held)
