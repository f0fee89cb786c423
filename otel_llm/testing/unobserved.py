"""Reports every request of this process to a listener, whether or not the application instruments its SDKs.

The listener causes no telemetry, log line or rewriting. The application's own instrumentation works as it does without
a listener, whenever it is switched on or off; a request that it observes is reported from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NoOpTracerProvider

from otel_llm import observation
from otel_llm.config import read_config
from otel_llm.instrumentor import instrumentors
from otel_llm.observation import Observation
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.telemetry.handler import Telemetry
from otel_llm.telemetry.redaction import Redaction
from otel_llm.telemetry.timeline import Timeline
from otel_llm.transparency.faults import attempt
from otel_llm.wrappers.method import MethodWrapper, method_wrapper_of
from otel_llm.wrappers.other_instrumentations import checked
from otel_llm.wrappers.patch import RequestMethods


@contextmanager
def listening(listener: Callable[[Observation], None]) -> Iterator[None]:
    """Call `listener` with each request that begins within the `with` block."""
    if not observation.listeners:
        _methods.wrap(_unsent())
    observation.listeners.append(listener)
    try:
        yield
    finally:
        observation.listeners.remove(listener)
        if not observation.listeners:
            _methods.unwrap()


def _unsent() -> Telemetry:
    """Telemetry that goes nowhere."""
    return Telemetry(
        replace(read_config(), log=False, events=frozenset(), tool_call_tags=None, redact=None),
        tracer_provider=NoOpTracerProvider(),
        meter_provider=NoOpMeterProvider(),
        logger_provider=NoOpLoggerProvider(),
    )


class _NoSpan:
    """An `observation.Span` that only remembers a response's calls, for the request that continues from it."""

    event_limit: int | None = None

    def __init__(self, request: ChatRequest, telemetry: Telemetry) -> None:
        self._request = request
        self._recent_calls = telemetry.recent_calls
        self._past_turns = telemetry.past_turns

    def enter(self) -> Callable[[], None]:
        return lambda: None

    def release(self) -> None:
        pass

    def remember_calls(self, recording: Recording) -> None:
        if self._request.api == "responses":
            calls = [(call.id, "") for call in recording.calls if call.id is not None]
            self._recent_calls.remember(calls, INVALID_SPAN_CONTEXT, 0, recording.response_id)

    def remember_call(self, _recording: Recording, _call: ToolCall) -> None:
        """A request can only continue from a whole response."""

    def finish(
        self,
        recording: Recording,
        _timeline: Timeline,
        _offset_ns: int,
        _error: BaseException | None,
        _redaction: Redaction | None,
    ) -> None:
        if recording.outcome == "completed":
            self.remember_calls(recording)
            if self._request.api == "responses" and self._request.fetch is None:
                attempt("the turns so far", self._past_turns.remember, self._request, recording)


class _UnobservedMethodWrapper(MethodWrapper):
    """Observes the requests that no instrumentation of the application observes.

    One outside this wrapper has already begun to observe; one inside it takes precedence.
    """

    def _call(self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if attempt("a listener", _is_observed, wrapped):
            return wrapped(*args, **kwargs)
        return super()._call(wrapped, instance, args, kwargs)

    def _call_manager(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if attempt("a listener", _is_observed, wrapped):
            return wrapped(*args, **kwargs)
        return super()._call_manager(wrapped, instance, args, kwargs)

    def _call_socket(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if attempt("a listener", _is_observed, wrapped):
            return wrapped(*args, **kwargs)
        return super()._call_socket(wrapped, instance, args, kwargs)

    def _call_async(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if attempt("a listener", _is_observed, wrapped):
            return wrapped(*args, **kwargs)
        return super()._call_async(wrapped, instance, args, kwargs)

    def _start_span(self, request: ChatRequest, *_args: Any, **_options: Any) -> _NoSpan:
        # The current span stays the application's.
        return _NoSpan(request, self._telemetry)

    def _begin(self, resource: Any, kwargs: Mapping[str, Any]) -> Observation | None:
        # The listener traces nothing, so beside another instrumentation there is no double tracing to warn about.
        kind = type(resource)
        if kind in checked:
            return super()._begin(resource, kwargs)
        checked.add(kind)
        try:
            return super()._begin(resource, kwargs)
        finally:
            checked.discard(kind)


# Embeddings are no streams, and no model says anything in them.
_PLACES = [place for one in instrumentors() for place in one.PLACES if place.api != "embeddings"]
_methods = RequestMethods(_PLACES, _UnobservedMethodWrapper)


def _is_observed(method: Any) -> bool:
    while method is not None:
        calls = method_wrapper_of(method)
        if calls is not None and calls.active:
            return True
        method = getattr(method, "__wrapped__", None)
    return False
