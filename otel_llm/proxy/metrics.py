"""What the proxy counts of itself, read by the OpenTelemetry SDK when it collects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from otel_llm._version import __version__
from otel_llm.telemetry.semconv import (
    ERROR_TYPE,
    METRIC_PROXY_ADDED_LATENCY,
    METRIC_PROXY_BYTES,
    METRIC_PROXY_CONNECTIONS,
    METRIC_PROXY_REQUESTS,
    METRIC_PROXY_REWRITE_FAILURES,
    METRIC_PROXY_UPSTREAM_ERRORS,
    OTEL_LLM_PROXY_DIRECTION,
    OTEL_LLM_PROXY_SIDE,
    SCOPE,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


class Metrics:
    """Plain numbers, changed in the event loop. `upstream_connections` returns how many there are."""

    def __init__(self, provider: MeterProvider | None, upstream_connections: Callable[[], int]) -> None:
        self.connections = 0
        self.requests = 0
        self.bytes_up = self.bytes_down = 0
        self.rewrite_failures = 0
        self.upstream_errors: Counter[str] = Counter()
        self._upstream_connections = upstream_connections
        meter = metrics.get_meter(SCOPE, __version__, provider)
        gauge, counter = meter.create_observable_up_down_counter, meter.create_observable_counter
        for make, metric, read in (
            (gauge, METRIC_PROXY_CONNECTIONS, self._read_connections),
            (counter, METRIC_PROXY_REQUESTS, self._read_requests),
            (counter, METRIC_PROXY_BYTES, self._read_bytes),
            (counter, METRIC_PROXY_UPSTREAM_ERRORS, self._read_errors),
            (counter, METRIC_PROXY_REWRITE_FAILURES, self._read_failures),
        ):
            make(metric.name, [read], metric.unit, metric.description)
        self._added = meter.create_histogram(
            METRIC_PROXY_ADDED_LATENCY.name,
            METRIC_PROXY_ADDED_LATENCY.unit,
            METRIC_PROXY_ADDED_LATENCY.description,
            explicit_bucket_boundaries_advisory=list(_SECONDS),
        )

    def added(self, seconds: float) -> None:
        """A request was sent on so long after all of it that decides had come."""
        self.requests += 1
        self._added.record(seconds)

    def failed(self, error_type: str) -> None:
        """A server failed. `error_type`: the name of a class, never a text of the server's."""
        self.upstream_errors[error_type] += 1

    def _read_connections(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self.connections, {OTEL_LLM_PROXY_SIDE: "client"})
        yield Observation(self._upstream_connections(), {OTEL_LLM_PROXY_SIDE: "upstream"})

    def _read_requests(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self.requests)

    def _read_bytes(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self.bytes_up, {OTEL_LLM_PROXY_DIRECTION: "up"})
        yield Observation(self.bytes_down, {OTEL_LLM_PROXY_DIRECTION: "down"})

    def _read_errors(self, _options: CallbackOptions) -> Iterable[Observation]:
        for error_type, count in list(self.upstream_errors.items()):
            yield Observation(count, {ERROR_TYPE: error_type})

    def _read_failures(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self.rewrite_failures)
