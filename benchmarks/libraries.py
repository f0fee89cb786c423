"""The compared libraries, and how to switch each on in its own process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import wrapt
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult


class CountingExporter(SpanExporter):
    """Counts the spans and drops them. The count shows whether a library did its work."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


@dataclass(frozen=True)
class Library:
    """`distribution` and `module` are None for a baseline, which comes from no package."""

    name: str
    distribution: str | None = None
    module: str | None = None

    @property
    def is_baseline(self) -> bool:
        return self.distribution is None

    def installed_version(self) -> str | None:
        if self.distribution is None:
            return None
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None

    def switch_on(self) -> CountingExporter:
        """Instrument the OpenAI SDK. All libraries get the same providers of the OpenTelemetry SDK."""
        exporter = CountingExporter()
        tracer_provider = TracerProvider()
        tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
        # Nothing is collected while we measure: metrics cost only their recording.
        meter_provider = MeterProvider(metric_readers=[InMemoryMetricReader()])
        if self.module is not None:
            instrumentor = import_module(self.module).OpenAIInstrumentor()
            instrumentor.instrument(tracer_provider=tracer_provider, meter_provider=meter_provider)
        elif self is FORWARDING:
            _forward()
        return exporter


BARE = Library("no instrumentation")
FORWARDING = Library("forwarding proxy")
OURS = Library("otel-llm", "otel-llm", "otel_llm")
OFFICIAL = Library(
    "genai-openai (official)",
    "opentelemetry-instrumentation-genai-openai",
    "opentelemetry.instrumentation.genai.openai",
)
OPENLLMETRY = Library(
    "openai (openllmetry)", "opentelemetry-instrumentation-openai", "opentelemetry.instrumentation.openai"
)
PEERS = (OFFICIAL, OPENLLMETRY)
ABSTRACTCORE = Library("abstractcore", "abstractcore")
"""Rewrites the tags of tool calls in text; it is no instrumentation."""
REWRITERS = (OURS, ABSTRACTCORE)
LIBRARIES = {library.name: library for library in (BARE, FORWARDING, OURS, *PEERS)}


class _Forwarding(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """The cheapest possible proxy around a stream."""

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.__wrapped__.__next__()


class _AsyncForwarding(wrapt.ObjectProxy):  # type: ignore[type-arg]
    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        return await self.__wrapped__.__anext__()


def _forward() -> None:
    def forward(wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any) -> Any:
        return _Forwarding(wrapped(*args, **kwargs))

    async def forward_async(wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any) -> Any:
        return _AsyncForwarding(await wrapped(*args, **kwargs))

    module = "openai.resources.chat.completions"
    wrapt.wrap_function_wrapper(module, "Completions.create", forward)
    wrapt.wrap_function_wrapper(module, "AsyncCompletions.create", forward_async)
