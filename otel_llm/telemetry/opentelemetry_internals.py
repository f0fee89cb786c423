"""All private parts of OpenTelemetry that this package relies on.

`tests/telemetry/test_opentelemetry_internals.py` fails, and says what is lost, if an upgrade removes one of them.
"""

from __future__ import annotations

import os

from opentelemetry.context import Context, get_current, set_value
from opentelemetry.trace import Span
from opentelemetry.util.genai.invocation import InferenceInvocation

_DEFAULT_EVENT_LIMIT = 128
# The context keys under which util-genai keeps the current request. They have no public names.
_REQUEST_KEYS = (
    "opentelemetry.genai.client.inference.context",
    "opentelemetry.genai.client.embedding.context",
    "opentelemetry.genai.client.fetch_response.context",
)

LOCKING_MODULES = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.util.genai")
"""Packages whose frames may hold a lock that is needed to end a span, record a metric or emit a log record."""


def is_proxy_provider(provider: object) -> bool:
    """Whether a provider only stands in until the global one is set."""
    return "Proxy" in type(provider).__name__


def context_outside_request() -> Context:
    """The current context without its current request: util-genai takes a request within another for the same one."""
    context = get_current()
    for key in _REQUEST_KEYS:
        context = set_value(key, None, context)
    return context


def first_chunk_came(invocation: InferenceInvocation, time_ns: int) -> None:
    """Report when the first chunk came. util-genai's public method would take the time of the call instead."""
    invocation._on_stream_chunk(time_ns / 1e9)


def events_left(span: Span) -> int | None:
    """How many more events a span takes, None for any number.

    The OpenTelemetry SDK has no public way to ask. If its private fields are gone, its environment variable is read.
    """
    held = 0
    try:
        held = len(span._events)  # type: ignore[attr-defined]
        most: int | None = span._limits.max_events  # type: ignore[attr-defined]
        return None if most is None else max(0, most - held)
    except Exception:  # noqa: BLE001  not a span of the OpenTelemetry SDK, or of another version
        try:
            most = int(os.environ.get("OTEL_SPAN_EVENT_COUNT_LIMIT", ""))
        except ValueError:
            most = _DEFAULT_EVENT_LIMIT
        return max(0, most - held)
