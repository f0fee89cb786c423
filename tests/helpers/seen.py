"""What an instrumented SDK sent: spans, events, metrics and log records, kept in memory by the real SDK."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm import OpenAIInstrumentor
from otel_llm.demo.scripted_server import ScriptedServer
from otel_llm.transparency import faults
from tests.helpers.callers import AsyncCaller, SyncCaller


class Seen:
    """Providers for one test, and what came out of them."""

    def __init__(self, span_limits: SpanLimits | None = None) -> None:
        self._spans = InMemorySpanExporter()
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # not annotated by the OpenTelemetry SDK
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(span_limits=span_limits)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.logger_provider = LoggerProvider()
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        self.meter_provider = MeterProvider([self._reader])

    @property
    def providers(self) -> dict[str, Any]:
        return {
            "tracer_provider": self.tracer_provider,
            "meter_provider": self.meter_provider,
            "logger_provider": self.logger_provider,
        }

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self.span.attributes or {})

    @property
    def outcome(self) -> Any:
        return self.attributes.get("otel_llm.stream.outcome")

    def events(self, name: str | None = None) -> list[Event]:
        return [event for event in self.span.events if name is None or event.name == name]

    @property
    def anomalies(self) -> list[str]:
        return [str((event.attributes or {})["otel_llm.anomaly.type"]) for event in self.events("otel_llm.anomaly")]

    @property
    def log_records(self) -> list[Any]:
        return [entry.log_record for entry in self._logs.get_finished_logs()]

    def metric(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The points of a metric: (attributes, value of a counter or (count, sum) of a histogram)."""
        data = self._reader.get_metrics_data()
        points: list[tuple[dict[str, Any], Any]] = []
        for resource in data.resource_metrics if data else []:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            value = point.value if hasattr(point, "value") else (point.count, point.sum)
                            points.append((dict(point.attributes or {}), value))
        return points

    def encode(self) -> None:
        """Encode all of it as OTLP does; raises where a value cannot be sent."""
        assert encode_spans(self.spans).SerializeToString()
        data = self._reader.get_metrics_data()
        if data is not None:
            encode_metrics(data).SerializeToString()
        encode_logs(self._logs.get_finished_logs()).SerializeToString()


@pytest.fixture
def seen() -> Seen:
    """Telemetry of this test, for what takes providers."""
    return Seen()


@pytest.fixture
def instrument() -> Iterator[Callable[..., Seen]]:
    """Instruments the SDK for this test: `instrument(span_limits=..., **options)` gives what is `Seen`."""
    faults._reported.clear()
    instrumentor = OpenAIInstrumentor()

    def start(span_limits: SpanLimits | None = None, **options: Any) -> Seen:
        seen = Seen(span_limits)
        instrumentor.instrument(**seen.providers, **options)
        return seen

    yield start
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


@pytest.fixture(params=[SyncCaller, AsyncCaller], ids=["sync", "async"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., SyncCaller]]:
    """`connect(server, **client_options)`: a caller of that server; every test runs with both kinds."""
    callers: list[SyncCaller] = []

    def to(server: ScriptedServer, **options: Any) -> SyncCaller:
        caller: SyncCaller = request.param(server.base_url, **options)
        callers.append(caller)
        return caller

    yield to
    for caller in callers:
        await caller.close_client()


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedServer]]:
    """`serve(*steps)`: a server that answers every request with these steps, until the test ends."""
    servers: list[ScriptedServer] = []

    def start(*steps: Any) -> ScriptedServer:
        servers.append(ScriptedServer(list(steps)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def instrumented(instrument: Callable[..., Seen]) -> Seen:
    """The SDK instrumented with the defaults."""
    return instrument()


def sum_of_delta_counts(events: list[Event]) -> Counter[int]:
    """Deltas that the argument events stand for, by the call's index."""
    total: Counter[int] = Counter()
    for event in events:
        attributes: Any = event.attributes
        if event.name == "otel_llm.tool_call.arguments.delta":
            total[attributes["otel_llm.tool_call.index"]] += attributes["otel_llm.delta.count"]
    return total
