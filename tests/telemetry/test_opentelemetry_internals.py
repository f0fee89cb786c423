"""The private parts of OpenTelemetry that this package reads, each exercised on the version that is installed.

A failure says what users lose with that version; the place to adapt is `otel_llm/telemetry/opentelemetry_internals.py`.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.util.genai.handler import TelemetryHandler

from otel_llm.telemetry.opentelemetry_internals import (
    LOCKING_MODULES,
    context_outside_request,
    events_left,
    first_chunk_came,
)
from tests.helpers.seen import Seen


def handler_of(seen: Seen, **options: Any) -> TelemetryHandler:
    return TelemetryHandler(**seen.providers, **options)


def test_a_request_within_a_request_has_a_span_of_its_own(seen: Seen) -> None:
    handler = handler_of(seen)
    outer = handler.inference("openai", request_model="outer")
    suppressed = handler.inference("openai", request_model="same")
    suppressed.stop()
    inner = handler.inference("openai", request_model="inner", context=context_outside_request())
    inner.stop()
    outer.stop()
    names = [span.name for span in seen.spans]
    assert "chat same" not in names, (
        "util-genai gives every request within another one a span: `context_outside_request` can go"
    )
    assert names == ["chat inner", "chat outer"], (
        "util-genai keeps the current request under another key than `_REQUEST_KEYS`: a request that an event hook or"
        " an API-key function makes, or a task started during a request, has no span"
    )
    assert seen.spans[0].parent is not None, "the context without the request has lost its span: traces fall apart"


def test_the_first_chunk_is_reported_with_its_own_time(seen: Seen) -> None:
    invocation = handler_of(seen).inference("openai", request_model="m")
    received_ns = perf_counter_ns() + 2_000_000_000
    first_chunk_came(invocation, received_ns)
    invocation.stop()
    ((_, (count, total)),) = seen.metric("gen_ai.client.operation.time_to_first_chunk")
    assert count == 1
    assert 2 <= total < 60, (
        "`_on_stream_chunk` does not take seconds of `perf_counter`: every stream reports a wrong time to its first"
        " chunk"
    )


@pytest.mark.parametrize(("limit", "expected"), [(5, 3), (2, 0), (SpanLimits.UNSET, None)])
def test_the_events_that_a_span_still_takes(limit: int, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    # The fallback where the span's own fields are gone.
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "77")
    span = Seen(SpanLimits(max_events=limit)).tracer_provider.get_tracer("t").start_span("s")
    span.add_event("one")
    span.add_event("two")
    assert events_left(span) == expected, (
        "spans of the OpenTelemetry SDK have no `_events` or `_limits.max_events`: under a provider with other limits,"
        " spans silently lose their first events, or fold events that had room"
    )


def test_proxy_providers_are_recognized() -> None:
    """In a process of its own, since the providers of a process are set once."""
    program = """
        from opentelemetry import _logs, metrics, trace
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        from otel_llm.telemetry.opentelemetry_internals import is_proxy_provider

        getters = trace.get_tracer_provider, metrics.get_meter_provider, _logs.get_logger_provider
        before = [is_proxy_provider(getter()) for getter in getters]
        trace.set_tracer_provider(TracerProvider())
        metrics.set_meter_provider(MeterProvider())
        _logs.set_logger_provider(LoggerProvider())
        print(before, [is_proxy_provider(getter()) for getter in getters])
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[True, True, True] [False, False, False]", (
        "the class name of a provider that stands in until the real one is set has no `Proxy` in it: instruments pile"
        " up with every client, and streams that are open at exit may be lost"
    )


# Where garbage may be collected while a lock is held ---------------------------------------------------------------


class _Attributes(dict[str, str]):
    """Attributes that call `look` when OpenTelemetry reads them."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__(key="value")
        self._look = look

    def items(self) -> Any:
        self._look()
        return super().items()

    def __iter__(self) -> Iterator[str]:
        self._look()
        return super().__iter__()


def _end_a_span(seen: Seen, look: Callable[[], None]) -> None:
    class Processor:
        def on_start(self, *_args: Any, **_kwargs: Any) -> None: ...
        def _on_ending(self, *_args: Any) -> None: ...
        def on_end(self, _span: Any) -> None:
            look()

        def shutdown(self) -> None: ...
        def force_flush(self, *_args: Any) -> bool:
            return True

    processor: Any = Processor()
    seen.tracer_provider.add_span_processor(processor)
    seen.tracer_provider.get_tracer("t").start_span("s").end()


def _record_a_metric(seen: Seen, look: Callable[[], None]) -> None:
    seen.meter_provider.get_meter("t").create_histogram("h").record(1, _Attributes(look))


def _emit_a_log_record(seen: Seen, look: Callable[[], None]) -> None:
    class Processor:
        def on_emit(self, *_args: Any) -> None:
            look()

        def shutdown(self) -> None: ...
        def force_flush(self, *_args: Any) -> bool:
            return True

    processor: Any = Processor()
    seen.logger_provider.add_log_record_processor(processor)
    seen.logger_provider.get_logger("t").emit(LogRecord(body="text"))


def _end_an_invocation(seen: Seen, look: Callable[[], None]) -> None:
    class Hook:
        def on_completion(self, **_kwargs: Any) -> None:
            look()

    handler_of(seen, completion_hook=Hook()).inference("openai", request_model="m").stop()


@pytest.mark.parametrize("work", [_end_a_span, _record_a_metric, _emit_a_log_record, _end_an_invocation])
def test_locks_are_held_in_known_modules(seen: Seen, work: Callable[..., None]) -> None:
    modules: set[str] = set()

    def look() -> None:
        frame = sys._getframe(1)
        while frame is not None:
            modules.add(str(frame.f_globals.get("__name__")))
            frame = frame.f_back  # type: ignore[assignment]

    work(seen, look)
    assert modules, "OpenTelemetry did not call the function that looks at its frames"
    assert any(module.startswith(LOCKING_MODULES) for module in modules), (
        f"`LOCKING_MODULES` names none of {sorted(modules)}: a stream that is garbage-collected there may dead-lock"
    )
