"""The span of one request: started with the request, described and ended when its response is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span
from opentelemetry.util.genai.invocation import InferenceInvocation
from opentelemetry.util.genai.types import Error

from otel_llm.config import Config
from otel_llm.diagnosis.case import Anomaly
from otel_llm.protocol.conversation import Turn
from otel_llm.protocol.implied_ids import real_id, with_ids
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import Api, ChatRequest, with_extra_body
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.counters import Attributes
from otel_llm.telemetry.genai_content import output_messages, request_content
from otel_llm.telemetry.genai_request import request_parameters
from otel_llm.telemetry.genai_usage import response_usage
from otel_llm.telemetry.handler import Telemetry
from otel_llm.telemetry.opentelemetry_internals import context_outside_request, events_left, first_chunk_came
from otel_llm.telemetry.provider import Server, server_inferred_from
from otel_llm.telemetry.redaction import Redaction
from otel_llm.telemetry.semconv import (
    ERROR_OF_ANOMALY,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_TOOL_CALL_ID,
    GEN_AI_TOOL_NAME,
    OPENAI_API_TYPE,
    OPENAI_RESPONSE_SERVICE_TIER,
    OPENAI_RESPONSE_SYSTEM_FINGERPRINT,
    OPERATION_GENERATE_CONTENT,
    OPERATION_TEXT_COMPLETION,
    OTEL_LLM_ANOMALY_TYPE,
    OTEL_LLM_API,
    OTEL_LLM_CONVERSATION_REPEATED_CALLS,
    OTEL_LLM_STREAM_ANOMALY_COUNT,
    OTEL_LLM_STREAM_ANOMALY_TYPES,
    OTEL_LLM_STREAM_CHUNK_COUNT,
    OTEL_LLM_STREAM_COALESCED_DELTA_COUNT,
    OTEL_LLM_STREAM_MAX_CHUNK_GAP,
    OTEL_LLM_STREAM_OUTCOME,
    OTEL_LLM_STREAM_TEXT_ONLY,
    OTEL_LLM_STREAM_TIME_PER_OUTPUT_TOKEN,
    OTEL_LLM_STREAM_TIME_TO_FIRST_TOOL_CALL,
    OTEL_LLM_STREAM_TOOL_CALL_COUNT,
    OTEL_LLM_TAG_REWRITE_FORMAT,
    OTHER,
)
from otel_llm.telemetry.span_errors import LONGEST_MESSAGE, error_of
from otel_llm.telemetry.timeline import Event, Timeline
from otel_llm.transparency.faults import attempt, swallow

# APIs that are none of OpenAI's chat completions and responses, in whatever classes.
_OTHER_APIS: frozenset[Api] = frozenset({"completions", "messages", "converse", "gemini", "ollama"})
# The conventions have a name of their own for the operations of these APIs.
_OPERATIONS: Mapping[Api, str] = {"completions": OPERATION_TEXT_COMPLETION, "gemini": OPERATION_GENERATE_CONTENT}


def start_request_span(
    telemetry: Telemetry, request: ChatRequest, kwargs: Mapping[str, Any], server: Server, within_another: bool = False
) -> RequestSpan:
    """Start a request's span and make it current until `RequestSpan.release`.

    `within_another`: the request is made while another observed request is being made, or by a task started then.
    util-genai would take both for the same request.
    """
    model = exportable(request.model) or None
    invocation = telemetry.handler.inference(
        server.provider,
        request_model=model,
        server_address=server.address,
        server_port=server.port,
        operation_name=_OPERATIONS.get(request.api),
        context=context_outside_request() if within_another else None,
    )
    common: Attributes = ((GEN_AI_PROVIDER_NAME, server.provider),)
    if model is not None:
        common += ((GEN_AI_REQUEST_MODEL, model),)
    span = RequestSpan(telemetry, request, server, common, invocation)
    try:
        span.describe_request(kwargs)
    except Exception as fault:  # noqa: BLE001
        swallow("request attributes", fault)
    except BaseException:
        # An interrupt in a function of the application's: the span must not stay current.
        attempt("the end of the span", invocation.stop)
        raise
    if request.turn is not None:
        attempt("links", span.link_calls, request.turn)
    return span


class RequestSpan:
    """The span of one request, from its start to the end of its response. `common`: attributes of all its metrics."""

    __slots__ = (
        "_common",
        "_invocation",
        "_remembered",
        "_request",
        "_server",
        "_telemetry",
        "_time_per_output_token",
        "_withheld",
    )

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
        # In seconds, once that is known.
        self._time_per_output_token: float | None = None
        # Texts of the request that could not be redacted.
        self._withheld = 0

    def describe_request(self, kwargs: Mapping[str, Any]) -> None:
        kwargs = with_extra_body(kwargs)
        request_parameters(self._invocation, kwargs)
        if self._telemetry.captures_content:
            request_content(self._invocation, kwargs)
        redact = self._telemetry.config.redact
        if redact is not None:
            self._redact_request(Redaction(redact))
        if self._request.api == "responses":
            self._invocation.attributes[OPENAI_API_TYPE] = "responses"
        elif self._request.api in _OTHER_APIS:
            self._invocation.attributes[OTEL_LLM_API] = self._request.api
        if self._request.stream:
            self._invocation.request_stream = True

    def _redact_request(self, redaction: Redaction) -> None:
        invocation = self._invocation
        if invocation.stop_sequences:
            invocation.stop_sequences = [redaction.text(text) for text in invocation.stop_sequences]
        redaction.parts(invocation.input_messages)
        redaction.parts(invocation.system_instruction or ())
        redaction.parts(invocation.tool_definitions or ())
        self._withheld = redaction.withheld

    def link_calls(self, turn: Turn) -> None:
        """Link this span to the spans of the calls whose results the request carries."""
        span, telemetry = self._invocation.span, self._telemetry
        answered = telemetry.recent_calls.match_results(turn, span.get_span_context().trace_id, perf_counter_ns())
        for call_id, tool, request_span, turnaround_ns in answered:
            attributes = {GEN_AI_TOOL_NAME: tool}
            if real_id(call_id) is not None:
                attributes[GEN_AI_TOOL_CALL_ID] = exportable(call_id)
            span.add_link(request_span, attributes)
            if turnaround_ns is not None:
                measured = dict((*self._common, (GEN_AI_TOOL_NAME, tool)))
                turnaround = telemetry.instruments.tool_call_turnaround
                turnaround.record(turnaround_ns / 1e9, measured, self._invocation.context)

    def remember_calls(self, recording: Recording) -> None:
        """Remember the completed calls for the request that will carry their results."""
        calls = recording.calls
        if len(calls) == self._remembered:
            return
        self._remembered = len(calls)
        completed_ns = recording.ended_ns or perf_counter_ns()
        tools = [(call_id, self._tool_label(recording, call)) for call, call_id in _with_ids(recording)]
        span = self._invocation.span.get_span_context()
        response_id = recording.response_id if self._request.api == "responses" else None
        self._telemetry.recent_calls.remember(tools, span, completed_ns, response_id)

    def _remember_response(self, recording: Recording) -> None:
        """Remember what a request that continues from this response does not send."""
        attempt("the calls answered", self._remember_results, recording)
        attempt("the turns so far", self._telemetry.past_turns.remember, self._request, recording)

    def _remember_results(self, recording: Recording) -> None:
        """Remember which calls are answered before this response, because later requests must not repeat results."""
        turn, response_id = self._request.turn, recording.response_id
        self._telemetry.recent_calls.remember_tools(self._request, recording)
        # Not if calls were dropped: they may have used the same ids again.
        if turn is not None and response_id is not None and not recording.over_calls:
            span = self._invocation.span.get_span_context()
            self._telemetry.recent_calls.remember_results(turn, span, response_id)

    def remember_call(self, recording: Recording, call: ToolCall) -> None:
        """Remember one complete call while the response continues."""
        call_id = call.id
        if call_id is None and recording.ids_are_optional:
            call_id = next((known for other, known in _with_ids(recording) if other is call), None)
        if call_id is not None:
            span = self._invocation.span.get_span_context()
            tool = self._tool_label(recording, call)
            self._telemetry.recent_calls.remember([(call_id, tool)], span, perf_counter_ns())

    @property
    def event_limit(self) -> int | None:
        return _event_limit(self._invocation.span, self._telemetry.config)

    def release(self) -> None:
        """Restore the caller's context: spans that the caller starts between chunks are not children of this one."""
        self._invocation.suspend()

    def enter(self) -> Callable[[], None]:
        """Make the span current once more; returns what restores the caller's context."""
        return partial(detach, attach(self._invocation.context))

    def finish(
        self,
        recording: Recording,
        timeline: Timeline,
        offset_ns: int,
        error: BaseException | None,
        redaction: Redaction | None = None,
    ) -> None:
        """Record everything and end the span. A step that fails is skipped; the span ends in any case."""
        invocation = self._invocation
        span, context = invocation.span, invocation.context
        # Not by `attempt`, which takes as long as some of these steps.
        try:
            self._describe_response(recording, timeline, redaction)
        except Exception as fault:  # noqa: BLE001
            swallow("response attributes", fault)
        except BaseException:
            attempt("the end of the span", invocation.stop)
            raise
        try:
            if recording.streamed and recording.first_chunk_ns is not None:
                first_chunk_came(invocation, recording.first_chunk_ns)
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
            self._remember_response(recording)
        if error is not None or recording.failure is not None:
            attempt("the end of the span", self._fail, recording, error, redaction)
            return
        if redaction is not None:
            redaction.count_on(invocation, self._withheld)
        if timeline.anomalies and self._telemetry.config.anomaly_status == "error":
            failed = Error(message=_types_of(timeline.anomalies), type=ERROR_OF_ANOMALY)
            attempt("the end of the span", invocation.fail, failed)
        else:
            attempt("the end of the span", invocation.stop)

    def _fail(self, recording: Recording, raised: BaseException | None, redaction: Redaction | None) -> None:
        """End the span with the exception that was `raised`, or with the failure that the server reported."""
        failure = recording.failure
        if raised is None and failure is not None:
            message = failure.message if redaction is None else redaction.text(failure.message)
            error = Error(message=exportable(message[:LONGEST_MESSAGE]), type=exportable(failure.type))
        elif raised is not None:
            error = error_of(raised, redaction)
        if redaction is not None:
            redaction.count_on(self._invocation, self._withheld)
        self._invocation.fail(error)

    def _describe_response(self, recording: Recording, timeline: Timeline, redaction: Redaction | None) -> None:
        invocation = self._invocation
        server = server_inferred_from(recording.system_fingerprint, self._server)
        if server is not self._server:
            self._server = server
            self._common = ((GEN_AI_PROVIDER_NAME, server.provider), *self._common[1:])
            invocation.data.provider_name = server.provider
            # util-genai does not write attributes again that the span had at its start.
            invocation.span.set_attribute(GEN_AI_PROVIDER_NAME, server.provider)
        if recording.response_id:
            invocation.response_id = exportable(recording.response_id)
        if recording.response_model:
            invocation.response_model_name = exportable(recording.response_model)
        reasons = [exportable(choice.finish_reason) for choice in recording.choices if choice.finish_reason]
        if reasons:
            invocation.finish_reasons = reasons
        served_by = _served_by(recording)
        invocation.attributes.update(response_attributes(recording, timeline))
        invocation.attributes.update(served_by)
        invocation.metric_attributes.update(served_by)
        if recording.compacted:
            invocation.conversation_compacted = True
        response_usage(invocation, recording.usage)
        seconds = _time_per_output_token(recording, invocation.output_tokens)
        if seconds is not None:
            self._time_per_output_token = invocation.attributes[OTEL_LLM_STREAM_TIME_PER_OUTPUT_TOKEN] = seconds
        if self._telemetry.captures_content:
            invocation.output_messages = output_messages(recording)
            if redaction is not None:
                redaction.parts(invocation.output_messages)

    def _measure(self, recording: Recording, timeline: Timeline, context: Context) -> None:
        instruments = self._telemetry.instruments
        common = self._common
        if recording.streamed:
            outcome = recording.outcome or "completed"
            instruments.streams.add(1, (*common, (OTEL_LLM_STREAM_OUTCOME, outcome)))
            if recording.first_tool_call_ns is not None:
                waited = (recording.first_tool_call_ns - recording.started_ns) / 1e9
                instruments.time_to_first_tool_call.record(waited, dict(common), context)
            seconds = self._time_per_output_token
            if seconds is not None:
                instruments.time_per_output_token.record(seconds, dict(common), context)
        self._measure_calls(recording, recording.calls, context)
        if recording.over_calls:
            instruments.tool_calls.add(recording.over_calls, (*common, (GEN_AI_TOOL_NAME, OTHER)))
        for _, rewrite in recording.rewrites:
            attributes = (*common, (OTEL_LLM_TAG_REWRITE_FORMAT, rewrite.format))
            instruments.tag_rewrites.add(1, attributes)
            instruments.tag_rewrite_duration.record(rewrite.duration_ns / 1e9, dict(attributes), context)
        if recording.over_rewrites:
            instruments.tag_rewrites.add(recording.over_rewrites, (*common, (OTEL_LLM_TAG_REWRITE_FORMAT, OTHER)))
        self._measure_anomalies(timeline)
        if self._request.api == "responses" and (recording.calls or timeline.anomalies):
            # The response may be fetched later.
            self._telemetry.counted_responses.count(recording)

    def _measure_calls(self, recording: Recording, calls: Iterable[ToolCall], context: Context) -> None:
        instruments = self._telemetry.instruments
        for call in calls:
            attributes = (*self._common, (GEN_AI_TOOL_NAME, self._tool_label(recording, call)))
            instruments.tool_calls.add(1, attributes)
            instruments.arguments_size.record(call.length, dict(attributes), context)
            if recording.streamed:
                lasted = (call.last_delta_ns - call.first_delta_ns) / 1e9
                instruments.tool_call_duration.record(lasted, dict(attributes), context)

    def _measure_anomalies(self, timeline: Timeline) -> None:
        for anomaly in timeline.anomalies:
            self._telemetry.instruments.anomalies.add(1, (*self._common, (OTEL_LLM_ANOMALY_TYPE, anomaly.type)))

    def _tool_label(self, recording: Recording, call: ToolCall) -> str:
        """A tool's name for metrics. A model can invent any number of names, so undeclared ones are `OTHER`."""
        name = call.name
        declared = self._request.tools or ()
        is_known = name is not None and (name in declared or name in (recording.declared or ()))
        return exportable(name) if name is not None and is_known else OTHER


def _with_ids(recording: Recording) -> Iterator[tuple[ToolCall, str]]:
    """The calls whose results can be recognized, by their ids or, where these are optional, by implied ones."""
    for choice in recording.choices:
        for call, call_id in with_ids(choice.calls):
            if call.id is not None or recording.ids_are_optional:
                yield call, call_id


class CurrentSpan:
    """The current span, for a tracker that was given a stream without its request. It is never ended here."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._span = trace.get_current_span()

    @property
    def event_limit(self) -> int | None:
        return _event_limit(self._span, self._config)

    def release(self) -> None:
        """Nothing: no span was made current."""

    def enter(self) -> Callable[[], None]:
        """Nothing, as above."""
        return lambda: None

    def remember_calls(self, _recording: Recording) -> None:
        """Nothing: later requests are not observed."""

    def remember_call(self, _recording: Recording, _call: ToolCall) -> None:
        """Nothing, as above."""

    def finish(
        self,
        _recording: Recording,
        timeline: Timeline,
        offset_ns: int,
        _error: BaseException | None,
        _redaction: Redaction | None = None,
    ) -> None:
        if "span" in self._config.events:
            attempt("events", _add_span_events, self._span, timeline.events, offset_ns)


def emit_events(telemetry: Telemetry, span: Span, context: Context, events: Sequence[Event], offset_ns: int) -> None:
    """Send events as `config.events` says. `offset_ns`: from the recording's clock to nanoseconds since the epoch."""
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


def response_attributes(recording: Recording, timeline: Timeline) -> dict[str, Any]:
    tool_calls = recording.tool_call_count
    attributes: dict[str, Any] = {
        OTEL_LLM_STREAM_TOOL_CALL_COUNT: tool_calls,
        OTEL_LLM_STREAM_TEXT_ONLY: recording.has_text and not tool_calls,
        OTEL_LLM_STREAM_ANOMALY_COUNT: len(timeline.anomalies),
    }
    if timeline.anomalies:
        attributes[OTEL_LLM_STREAM_ANOMALY_TYPES] = _types_of(timeline.anomalies)
    if recording.streamed:
        attributes[OTEL_LLM_STREAM_OUTCOME] = recording.outcome
        attributes[OTEL_LLM_STREAM_CHUNK_COUNT] = recording.chunk_count
        attributes[OTEL_LLM_STREAM_MAX_CHUNK_GAP] = recording.max_wait_ns / 1e9
        attributes[OTEL_LLM_STREAM_COALESCED_DELTA_COUNT] = timeline.coalesced
        if recording.first_tool_call_ns is not None:
            waited = (recording.first_tool_call_ns - recording.started_ns) / 1e9
            attributes[OTEL_LLM_STREAM_TIME_TO_FIRST_TOOL_CALL] = waited
    if timeline.repeated_calls:
        attributes[OTEL_LLM_CONVERSATION_REPEATED_CALLS] = timeline.repeated_calls
    return attributes


def _time_per_output_token(recording: Recording, tokens: int | None) -> float | None:
    """Seconds, or None if it is not known: no usage, or too few tokens or chunks."""
    first_ns = recording.first_chunk_ns
    if tokens is None or tokens < 2 or first_ns is None or not recording.streamed:
        return None
    lasted_ns = recording.last_chunk_ns - first_ns
    return lasted_ns / (tokens - 1) / 1e9 if lasted_ns > 0 else None


def _types_of(anomalies: Iterable[Anomaly]) -> str:
    return ",".join(sorted({anomaly.type for anomaly in anomalies}))


def _served_by(recording: Recording) -> dict[str, str]:
    """What the server says of itself, as attributes of the span and of util-genai's metrics."""
    attributes = {}
    if recording.service_tier:
        attributes[OPENAI_RESPONSE_SERVICE_TIER] = exportable(recording.service_tier)
    if recording.system_fingerprint:
        attributes[OPENAI_RESPONSE_SYSTEM_FINGERPRINT] = exportable(recording.system_fingerprint)
    return attributes


def _event_limit(span: Span, config: Config) -> int | None:
    """How many more events can be sent for this span, None for any number: log records have no limit."""
    return events_left(span) if "span" in config.events else None
