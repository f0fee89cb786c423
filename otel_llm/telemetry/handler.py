"""The providers, instruments and options of one instrumentation. What it starts is a `RequestSpan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry._logs import LoggerProvider, NoOpLoggerProvider, get_logger, get_logger_provider
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider, TracerProvider
from opentelemetry.util.genai.completion_hook import CompletionHook
from opentelemetry.util.genai.handler import TelemetryHandler

from otel_llm._version import __version__
from otel_llm.config import Config
from otel_llm.protocol.request import ChatRequest
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.call_links import RecentCalls
from otel_llm.telemetry.counters import Attributes
from otel_llm.telemetry.instruments import Instruments
from otel_llm.telemetry.opentelemetry_internals import context_outside_request, is_proxy_provider
from otel_llm.telemetry.provider import Server
from otel_llm.telemetry.proxy_meters import proxy_meter_provider
from otel_llm.telemetry.request_span import RequestSpan
from otel_llm.telemetry.semconv import GEN_AI_PROVIDER_NAME, GEN_AI_REQUEST_MODEL, SCOPE
from otel_llm.transparency.faults import attempt, swallow


class Telemetry:
    """The tracer, meter and logger of one instrumentation, and its options."""

    def __init__(
        self,
        config: Config,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        completion_hook: CompletionHook | None = None,
    ) -> None:
        self.config = config
        # A provider that is broken already is replaced here, so that it costs its own signal and no other.
        if attempt("tracer provider", trace.get_tracer, SCOPE, __version__, tracer_provider) is None:
            tracer_provider = NoOpTracerProvider()
        meters = attempt("meter provider", proxy_meter_provider) if meter_provider is None else meter_provider
        meter = attempt("meter provider", metrics.get_meter, SCOPE, __version__, meters)
        if meter is None:
            meter_provider = meters = NoOpMeterProvider()
            meter = meter_provider.get_meter(SCOPE)
        logger = attempt("logger provider", get_logger, SCOPE, __version__, logger_provider)
        if logger is None:
            logger_provider = NoOpLoggerProvider()
            logger = logger_provider.get_logger(SCOPE)
        self.logger = logger
        instruments = attempt("metric instruments", Instruments, meter, meter_provider)
        if instruments is None:
            meter_provider = meters = NoOpMeterProvider()
            instruments = Instruments(meter_provider.get_meter(SCOPE), meter_provider)
        self.instruments = instruments
        forgotten = instruments.forgotten_calls
        self.recent_calls = RecentCalls(lambda: forgotten.add(1, ()))
        self.handler = TelemetryHandler(
            tracer_provider=tracer_provider,
            meter_provider=meters,
            logger_provider=logger_provider,
            completion_hook=completion_hook,
            instrumentation_scope_name=SCOPE,
            instrumentation_scope_version=__version__,
        )
        self.captures_content = self.handler.should_capture_content()
        """Whether the user opted in to messages and tool definitions on spans or events."""
        self.is_settled = False
        """Whether what is sent goes to the same providers for good."""
        self._is_new = True
        self._proxies: list[Callable[[], object]] = []
        if tracer_provider is None:
            self._proxies.append(trace.get_tracer_provider)
        if meter_provider is None:
            self._proxies.append(metrics.get_meter_provider)
        # Most applications send no log records, and have no provider for them, ever.
        if logger_provider is None and ("log" in config.events or self.captures_content):
            self._proxies.append(get_logger_provider)

    def has_other_providers(self) -> bool:
        """Whether what is sent now goes to other providers than when this was last asked. No, once it `is_settled`."""
        # Those of the whole process are set once; until then there is a proxy in their place.
        proxies = [provider for provider in self._proxies if is_proxy_provider(provider())]
        others = len(proxies) < len(self._proxies) or self._is_new
        self._proxies, self._is_new, self.is_settled = proxies, False, not proxies
        return others

    def start(
        self, request: ChatRequest, kwargs: Mapping[str, Any], server: Server, within_another: bool = False
    ) -> RequestSpan:
        """Start a request's span and make it current until `RequestSpan.release`.

        `within_another`: while another request of ours is made, or by what was started then; util-genai would take it
        for the same one.
        """
        model = exportable(request.model) or None
        invocation = self.handler.inference(
            server.provider,
            request_model=model,
            server_address=server.address,
            server_port=server.port,
            context=context_outside_request() if within_another else None,
        )
        common: Attributes = ((GEN_AI_PROVIDER_NAME, server.provider),)
        if model is not None:
            common += ((GEN_AI_REQUEST_MODEL, model),)
        span = RequestSpan(self, request, server, common, invocation)
        try:
            span.describe_request(kwargs)
        except Exception as fault:  # noqa: BLE001
            swallow("request attributes", fault)
        if request.turn is not None:
            attempt("links", span.link_calls, request.turn)
        return span
