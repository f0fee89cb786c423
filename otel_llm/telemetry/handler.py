"""The providers, instruments and options of one instrumentation."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import metrics, trace
from opentelemetry._logs import LoggerProvider, NoOpLoggerProvider, get_logger, get_logger_provider
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider, TracerProvider
from opentelemetry.util.genai.completion_hook import CompletionHook
from opentelemetry.util.genai.handler import TelemetryHandler

from otel_llm._version import __version__
from otel_llm.config import Config
from otel_llm.telemetry.call_links import RecentCalls
from otel_llm.telemetry.counted_responses import CountedResponses
from otel_llm.telemetry.instruments import Instruments
from otel_llm.telemetry.opentelemetry_internals import is_proxy_provider
from otel_llm.telemetry.past_turns import PastTurns
from otel_llm.telemetry.proxy_meters import proxy_meter_provider
from otel_llm.telemetry.semconv import SCOPE
from otel_llm.transparency.faults import attempt

# The method by which each is known. Any object with it will do.
_METHODS = {
    "tracer_provider": "get_tracer",
    "meter_provider": "get_meter",
    "logger_provider": "get_logger",
    "completion_hook": "on_completion",
}


def reject_other_objects(function: str, **given: object) -> None:
    """Raise TypeError if a provider or hook that `function` was `given` is something else. None is the default."""
    for name, value in given.items():
        if value is None:
            continue
        is_class = isinstance(value, type)
        if is_class or not callable(getattr(value, _METHODS[name], None)):
            what = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
            article = "an object" if is_class else f"an object with the method {_METHODS[name]}"
            raise TypeError(f"{function}(): {name} must be {article}, not {what}")


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
        # A broken provider is replaced here, so that only its own signal is lost.
        if attempt("tracer provider", trace.get_tracer, SCOPE, __version__, tracer_provider) is None:
            tracer_provider = NoOpTracerProvider()
        meter_source = attempt("meter provider", proxy_meter_provider) if meter_provider is None else meter_provider
        meter = attempt("meter provider", metrics.get_meter, SCOPE, __version__, meter_source)
        if meter is None:
            meter_provider = meter_source = NoOpMeterProvider()
            meter = meter_provider.get_meter(SCOPE)
        logger = attempt("logger provider", get_logger, SCOPE, __version__, logger_provider)
        if logger is None:
            logger_provider = NoOpLoggerProvider()
            logger = logger_provider.get_logger(SCOPE)
        self.logger = logger
        instruments = attempt("metric instruments", Instruments, meter, meter_provider)
        if instruments is None:
            meter_provider = meter_source = NoOpMeterProvider()
            instruments = Instruments(meter_provider.get_meter(SCOPE), meter_provider)
        self.instruments = instruments
        forgotten = instruments.forgotten_calls
        self.recent_calls = RecentCalls(lambda: forgotten.add(1, ()))
        self.past_turns = PastTurns()
        self.counted_responses = CountedResponses()
        self.handler = TelemetryHandler(
            tracer_provider=tracer_provider,
            meter_provider=meter_source,
            logger_provider=logger_provider,
            completion_hook=completion_hook,
            instrumentation_scope_name=SCOPE,
            instrumentation_scope_version=__version__,
        )
        self.captures_content = self.handler.should_capture_content()
        """Whether the user opted in to message content and tool definitions, on spans or in events."""
        self.is_settled = False
        """Whether the providers can no longer change."""
        self._is_new = True
        self._proxies: list[Callable[[], object]] = []
        if tracer_provider is None:
            self._proxies.append(trace.get_tracer_provider)
        if meter_provider is None:
            self._proxies.append(metrics.get_meter_provider)
        # Most applications send no log records and never set a provider for them.
        if logger_provider is None and ("log" in config.events or self.captures_content):
            self._proxies.append(get_logger_provider)

    def has_other_providers(self) -> bool:
        """Whether a provider changed since the last call of this method. Always False once `is_settled`."""
        # The global providers are set once; until then, proxies stand in for them.
        proxies = [provider for provider in self._proxies if is_proxy_provider(provider())]
        changed = len(proxies) < len(self._proxies) or self._is_new
        self._proxies, self._is_new, self.is_settled = proxies, False, not proxies
        return changed
