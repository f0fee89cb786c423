"""What leaves this process: one span a request with its events and attributes, metrics, log records.

The only module that speaks OpenTelemetry on the way out. Everything the GenAI semantic conventions name goes through
`opentelemetry-util-genai`; everything of our own is in the telemetry contract (docs/telemetry.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry._logs import (
    LoggerProvider,
    LogRecord,
    NoOpLoggerProvider,
    SeverityNumber,
    get_logger,
    get_logger_provider,
)
from opentelemetry.context import Context, set_value
from opentelemetry.metrics import Histogram, Meter, MeterProvider, NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider, Span, TracerProvider
from opentelemetry.util.genai.completion_hook import CompletionHook
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.invocation import InferenceInvocation
from opentelemetry.util.genai.types import Error

from otel_llm._version import __version__
from otel_llm.calls_made import CallsMade
from otel_llm.config import Config
from otel_llm.content import output_messages, request_content, response_usage
from otel_llm.counters import Attributes, counters_of
from otel_llm.events import Event, Timeline
from otel_llm.faults import attempt, swallow
from otel_llm.meters import awaited_meters, is_awaited
from otel_llm.protocol.conversation import Turn
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.protocol.unicode_text import exportable
from otel_llm.provider import Server, server_told_by

SCOPE = "otel_llm"
_DEFAULT_EVENT_LIMIT = 128
_LONGEST_MESSAGE = 1000
# Under which util-genai keeps the request that is being made. It has no public name for it.
_REQUEST_KEY = "opentelemetry.genai.client.inference.context"
# A tool nobody declared may have any name; as a metric attribute it would have any number of values.
_OTHER_TOOL = "_OTHER"
# Of rewritten calls beyond the limit only the number is kept.
_OTHER_FORMAT = "_OTHER"


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
        meters = attempt("meter provider", awaited_meters) if meter_provider is None else meter_provider
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
        self.calls_made = CallsMade(lambda: forgotten.add(1, ()))
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
        self._awaited: list[Callable[[], object]] = []
        if tracer_provider is None:
            self._awaited.append(trace.get_tracer_provider)
        if meter_provider is None:
            self._awaited.append(metrics.get_meter_provider)
        # Most applications send no log records, and have no provider for them, ever.
        if logger_provider is None and ("log" in config.events or self.captures_content):
            self._awaited.append(get_logger_provider)

    def has_other_providers(self) -> bool:
        """Whether what is sent now goes to other providers than when this was last asked. No, once it `is_settled`."""
        # Those of the whole process are set once; until then there is a proxy in their place.
        awaited = [provider for provider in self._awaited if is_awaited(provider())]
        others = len(awaited) < len(self._awaited) or self._is_new
        self._awaited, self._is_new, self.is_settled = awaited, False, not awaited
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
            context=set_value(_REQUEST_KEY, None) if within_another else None,
        )
        common: Attributes = (("gen_ai.provider.name", server.provider),)
        if model is not None:
            common += (("gen_ai.request.model", model),)
        span = RequestSpan(self, request, server, common, invocation)
        try:
            span.describe_request(kwargs)
        except Exception as fault:  # noqa: BLE001
            swallow("request attributes", fault)
        if request.turn is not None:
            attempt("links", span.link_calls, request.turn)
        return span


class Instruments:
    """Our metrics. Those of the conventions are util-genai's."""

    def __init__(self, meter: Meter, provider: MeterProvider | None) -> None:
        seconds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
        characters = [0, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576]

        def histogram(name: str, unit: str, description: str, boundaries: Sequence[float]) -> Histogram:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=boundaries)

        counters = counters_of(meter, provider)
        self.tool_calls, self.anomalies, self.streams = counters.tool_calls, counters.anomalies, counters.streams
        self.tag_rewrites = counters.tag_rewrites
        self.forgotten_calls = counters.forgotten_calls
        self.time_to_first_tool_call = histogram(
            "otel_llm.stream.time_to_first_tool_call",
            "s",
            "From the request to the first tool-call delta",
            seconds,
        )
        self.tool_call_duration = histogram(
            "otel_llm.tool_call.duration", "s", "From a call's first delta to its last", seconds
        )
        self.tool_call_turnaround = histogram(
            "otel_llm.tool_call.turnaround", "s", "From a call's completion to its result being sent back", seconds
        )
        self.tag_rewrite_duration = histogram(
            "otel_llm.tag_rewrite.duration",
            "s",
            "What rewriting a call in the text took",
            [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0],
        )
        self.arguments_size = histogram(
            "otel_llm.tool_call.arguments.size", "{character}", "Length of a call's arguments", characters
        )


class RequestSpan:
    """The span of one request, from its start to the end of its response. `common`: attributes of all its metrics."""

    __slots__ = ("_common", "_invocation", "_remembered", "_request", "_server", "_telemetry")

    def __init__(
        self,
        telemetry: Telemetry,
        request: ChatRequest,
        server: Server,
        common: Attributes,
        invocation: InferenceInvocation,
    ) -> None:
        self._telemetry = telemetry
        self._request = request
        self._server = server
        self._common = common
        self._invocation = invocation
        self._remembered = 0

    def describe_request(self, kwargs: Mapping[str, Any]) -> None:
        request_content(self._invocation, kwargs, with_messages=self._telemetry.captures_content)
        if self._request.api == "responses":
            self._invocation.attributes["openai.api.type"] = "responses"
        if self._request.stream:
            self._invocation.request_stream = True

    def link_calls(self, turn: Turn) -> None:
        """Link this span to those whose calls it answers."""
        span, telemetry = self._invocation.span, self._telemetry
        answers = telemetry.calls_made.answer(turn, span.get_span_context().trace_id, perf_counter_ns())
        for call_id, tool, made_by, turnaround_ns in answers:
            attributes = {"gen_ai.tool.call.id": exportable(call_id), "gen_ai.tool.name": tool}
            span.add_link(made_by, attributes)
            if turnaround_ns is not None:
                measured = dict((*self._common, ("gen_ai.tool.name", tool)))
                turnaround = telemetry.instruments.tool_call_turnaround
                turnaround.record(turnaround_ns / 1e9, measured, self._invocation.context)

    def remember_calls(self, recording: Recording) -> None:
        """Keep the completed calls for the request that will answer them."""
        calls = recording.calls
        if len(calls) == self._remembered:
            return
        self._remembered = len(calls)
        completed_ns = recording.ended_ns or perf_counter_ns()
        tools = [(call.id, _tool_label(recording, call)) for call in calls if call.id is not None]
        made_by = self._invocation.span.get_span_context()
        response_id = recording.response_id if self._request.api == "responses" else None
        self._telemetry.calls_made.remember(tools, made_by, completed_ns, response_id)

    def _remember_answers(self, recording: Recording) -> None:
        """Keep which calls were answered in front of a response: no request that goes on from it answers them again."""
        turn, response_id = self._request.turn, recording.response_id
        # Ids may be used again, by calls that were not kept, too.
        if turn is not None and response_id is not None and not recording.over_calls:
            made_by = self._invocation.span.get_span_context()
            self._telemetry.calls_made.remember_answers(turn, made_by, response_id)

    def remember_call(self, recording: Recording, call: ToolCall) -> None:
        """Keep one call that is whole, while the response goes on."""
        if call.id is not None:
            made_by = self._invocation.span.get_span_context()
            tool = _tool_label(recording, call)
            self._telemetry.calls_made.remember([(call.id, tool)], made_by, perf_counter_ns())

    @property
    def event_limit(self) -> int | None:
        return _event_limit(self._invocation.span, self._telemetry.config)

    def release(self) -> None:
        """Give the caller's context back: what the caller starts between two chunks is not our child."""
        self._invocation.suspend()

    def finish(self, recording: Recording, timeline: Timeline, offset_ns: int, error: BaseException | None) -> None:
        """Write everything down and end the span. What fails is left out; the span ends all the same."""
        invocation = self._invocation
        span, context = invocation.span, invocation.context
        # Each by itself, and without `attempt`, which costs what some of them cost.
        try:
            self._describe_response(recording, timeline)
        except Exception as fault:  # noqa: BLE001
            swallow("response attributes", fault)
        try:
            if recording.streamed and recording.first_chunk_ns is not None:
                # util-genai's public way takes the time itself, when the chunk comes: a histogram's work between two.
                invocation._on_stream_chunk(recording.first_chunk_ns / 1e9)
        except Exception as fault:  # noqa: BLE001
            swallow("the first chunk", fault)
        try:
            emit_events(self._telemetry, span, context, timeline.events, offset_ns)
        except Exception as fault:  # noqa: BLE001
            swallow("events", fault)
        try:
            self._measure(recording, timeline, context)
        except Exception as fault:  # noqa: BLE001
            swallow("metrics", fault)
        if recording.outcome == "completed" and recording.first_tool_call_ns is not None:
            attempt("the calls made", self.remember_calls, recording)
        if recording.outcome == "completed" and self._request.api == "responses":
            attempt("the calls answered", self._remember_answers, recording)
        failure = recording.failure
        if error is not None:
            attempt("the end of the span", self._fail, error)
        elif failure is not None:
            message, kind = exportable(failure.message), exportable(failure.type)
            attempt("the end of the span", invocation.fail, Error(message=message, type=kind))
        else:
            attempt("the end of the span", invocation.stop)

    def _fail(self, error: BaseException) -> None:
        self._invocation.fail(error_of(error))

    def _describe_response(self, recording: Recording, timeline: Timeline) -> None:
        invocation = self._invocation
        server = server_told_by(recording.system_fingerprint, self._server)
        if server is not self._server:
            self._server = server
            self._common = (("gen_ai.provider.name", server.provider), *self._common[1:])
            invocation.data.provider_name = server.provider
            # What a span had at its start util-genai does not write again.
            invocation.span.set_attribute("gen_ai.provider.name", server.provider)
        if recording.response_id:
            invocation.response_id = exportable(recording.response_id)
        if recording.response_model:
            invocation.response_model_name = exportable(recording.response_model)
        reasons = [exportable(choice.finish_reason) for choice in recording.choices if choice.finish_reason]
        if reasons:
            invocation.finish_reasons = reasons
        invocation.attributes.update(_response_attributes(recording, timeline))
        response_usage(invocation, recording.usage)
        if self._telemetry.captures_content:
            invocation.output_messages = output_messages(recording)

    def _measure(self, recording: Recording, timeline: Timeline, context: Context) -> None:
        instruments = self._telemetry.instruments
        common = self._common
        if recording.streamed:
            outcome = recording.outcome or "completed"
            instruments.streams.add(1, (*common, ("otel_llm.stream.outcome", outcome)))
            if recording.first_tool_call_ns is not None:
                waited = (recording.first_tool_call_ns - recording.started_ns) / 1e9
                instruments.time_to_first_tool_call.record(waited, dict(common), context)
        for call in recording.calls:
            attributes = (*common, ("gen_ai.tool.name", _tool_label(recording, call)))
            instruments.tool_calls.add(1, attributes)
            instruments.arguments_size.record(call.length, dict(attributes), context)
            if recording.streamed:
                lasted = (call.last_delta_ns - call.first_delta_ns) / 1e9
                instruments.tool_call_duration.record(lasted, dict(attributes), context)
        if recording.over_calls:
            instruments.tool_calls.add(recording.over_calls, (*common, ("gen_ai.tool.name", _OTHER_TOOL)))
        for _, rewrite in recording.rewrites:
            attributes = (*common, ("otel_llm.tag_rewrite.format", rewrite.format))
            instruments.tag_rewrites.add(1, attributes)
            instruments.tag_rewrite_duration.record(rewrite.duration_ns / 1e9, dict(attributes), context)
        if recording.over_rewrites:
            instruments.tag_rewrites.add(
                recording.over_rewrites, (*common, ("otel_llm.tag_rewrite.format", _OTHER_FORMAT))
            )
        for anomaly in timeline.anomalies:
            instruments.anomalies.add(1, (*common, ("otel_llm.anomaly.type", anomaly.type)))


class CurrentSpan:
    """The span that is current where a stream is watched by itself. It is somebody else's: never ended here."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._span = trace.get_current_span()

    @property
    def event_limit(self) -> int | None:
        return _event_limit(self._span, self._config)

    def release(self) -> None:
        """Nothing was made current."""

    def remember_calls(self, _recording: Recording) -> None:
        """Its owner's requests are not watched."""

    def remember_call(self, _recording: Recording, _call: ToolCall) -> None:
        """As above."""

    def finish(self, _recording: Recording, timeline: Timeline, offset_ns: int, _error: BaseException | None) -> None:
        if "span" in self._config.events:
            attempt("events", _add_span_events, self._span, timeline.events, offset_ns)


def emit_events(telemetry: Telemetry, span: Span, context: Context, events: Sequence[Event], offset_ns: int) -> None:
    """Send events where the options say. `offset_ns`: from the recording's clock to the time of day."""
    if "span" in telemetry.config.events:
        _add_span_events(span, events, offset_ns)
    if "log" in telemetry.config.events:
        for event in events:
            telemetry.logger.emit(
                LogRecord(
                    timestamp=event.time_ns + offset_ns,
                    context=context,
                    severity_number=SeverityNumber.INFO,
                    attributes=event.attributes,
                    event_name=event.name,
                )
            )


def _add_span_events(span: Span, events: Sequence[Event], offset_ns: int) -> None:
    if not span.is_recording():
        return
    for event in events:
        span.add_event(event.name, event.attributes, event.time_ns + offset_ns)


def _tool_label(recording: Recording, call: ToolCall) -> str:
    """The name of a tool as a metric may have it: any name, but for those that nobody declared."""
    declared = recording.declared or frozenset()
    return exportable(call.name) if call.name is not None and call.name in declared else _OTHER_TOOL


def _response_attributes(recording: Recording, timeline: Timeline) -> dict[str, Any]:
    tool_calls = recording.tool_call_count
    attributes: dict[str, Any] = {
        "otel_llm.stream.tool_call_count": tool_calls,
        "otel_llm.stream.text_only": recording.has_text and not tool_calls,
        "otel_llm.stream.anomaly_count": len(timeline.anomalies),
    }
    if recording.streamed:
        attributes["otel_llm.stream.outcome"] = recording.outcome
        attributes["otel_llm.stream.chunk_count"] = recording.chunk_count
        attributes["otel_llm.stream.max_chunk_gap"] = recording.max_wait_ns / 1e9
        attributes["otel_llm.stream.coalesced_delta_count"] = timeline.coalesced
        if recording.first_tool_call_ns is not None:
            waited = (recording.first_tool_call_ns - recording.started_ns) / 1e9
            attributes["otel_llm.stream.time_to_first_tool_call"] = waited
    if recording.service_tier:
        attributes["openai.response.service_tier"] = exportable(recording.service_tier)
    if recording.system_fingerprint:
        attributes["openai.response.system_fingerprint"] = exportable(recording.system_fingerprint)
    return attributes


def _event_limit(span: Span, config: Config) -> int | None:
    """How many more events this span takes, None for any number.

    The SDK does not tell it publicly; where its own field is gone, its environment variable is what is left.
    """
    if "span" not in config.events:
        # Log records are not cut to a limit.
        return None
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


def error_of(error: BaseException) -> Error:
    """An exception as a span has it: fit to be exported, and cut."""
    text = _message(error)
    # The SDK says "Connection error."; what happened to the connection is in the cause.
    cause = error.__cause__
    if cause is not None and (reason := _message(cause)) not in text:
        text = f"{text} ({type(cause).__name__}: {reason})"
    # It reads the message, too, which may raise.
    known = attempt("an error's type", Error.from_exception, error)
    kind = type(error).__qualname__ if known is None else known.type
    return Error(message=text, type=exportable(kind), exception=error)


def _message(error: BaseException) -> str:
    # An error event carries the server's words, which may be anything.
    return exportable((attempt("an error's message", str, error) or type(error).__name__)[:_LONGEST_MESSAGE])
