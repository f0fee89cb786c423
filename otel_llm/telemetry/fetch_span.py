"""The span of a request for a response that was made before: `fetch_response` of the GenAI semantic conventions.

Such a request consumes no tokens, so no usage is recorded. Its calls and anomalies may have been observed before, by
the request that made the response or by an earlier fetch: they are told on each span, but linked and counted once.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import cast

from opentelemetry.context import Context
from opentelemetry.util.genai.invocation import FetchResponseInvocation, InferenceInvocation

from otel_llm.protocol.fields import field, items_of
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, Fetch, read_tools
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.counters import Attributes
from otel_llm.telemetry.genai_content import echoed_content, output_messages
from otel_llm.telemetry.handler import Telemetry
from otel_llm.telemetry.opentelemetry_internals import context_outside_request
from otel_llm.telemetry.provider import Server
from otel_llm.telemetry.redaction import Redaction
from otel_llm.telemetry.request_span import RequestSpan, response_attributes
from otel_llm.telemetry.semconv import (
    GEN_AI_PROVIDER_NAME,
    OPENAI_API_TYPE,
    OPENAI_RESPONSE_SERVICE_TIER,
    OTEL_LLM_STREAM_OUTCOME,
)
from otel_llm.telemetry.timeline import Timeline
from otel_llm.transparency.faults import swallow

# What the conventions call the end of a generation that has no finish reason.
_ERROR = frozenset({"failed", "cancelled"})


def start_fetch_span(
    telemetry: Telemetry, request: ChatRequest, fetch: Fetch, server: Server, within_another: bool = False
) -> FetchSpan:
    """Start the span and make it current until `RequestSpan.release`. As `start_request_span`."""
    invocation = telemetry.handler.fetch_response(
        server.provider,
        response_id=exportable(fetch.response_id),
        request_stream=True if request.stream else None,
        server_address=server.address,
        server_port=server.port,
        context=context_outside_request() if within_another else None,
    )
    common: Attributes = ((GEN_AI_PROVIDER_NAME, server.provider),)
    span = FetchSpan(telemetry, request, server, common, cast("InferenceInvocation", invocation))
    try:
        span.describe_fetch(fetch)
    except Exception as fault:  # noqa: BLE001
        swallow("request attributes", fault)
    return span


class FetchSpan(RequestSpan):
    """The span of one fetch."""

    __slots__ = ()

    @property
    def _fetch(self) -> FetchResponseInvocation:
        return cast("FetchResponseInvocation", self._invocation)

    def describe_fetch(self, fetch: Fetch) -> None:
        invocation = self._fetch
        invocation.attributes[OPENAI_API_TYPE] = "responses"
        if fetch.starting_after is not None:
            invocation.stream_cursor = str(fetch.starting_after)

    def remember_call(self, recording: Recording, call: ToolCall) -> None:
        """Nothing: an earlier request may have made the call, which only the response's id tells."""

    def remember_calls(self, recording: Recording) -> None:
        response_id = recording.response_id
        if response_id is None or recording.is_unfinished:
            return
        tools = [(call.id, self._tool_label(recording, call)) for call in recording.calls if call.id is not None]
        span, now_ns = self._invocation.span.get_span_context(), recording.ended_ns or perf_counter_ns()
        self._telemetry.recent_calls.remember_fetched(tools, span, now_ns, response_id)

    def _remember_response(self, recording: Recording) -> None:
        """Nothing: the fetch does not say what the response answered."""

    def _describe_response(self, recording: Recording, timeline: Timeline, redaction: Redaction | None) -> None:
        invocation, status = self._fetch, recording.response_status
        if recording.response_model:
            invocation.response_model_name = exportable(recording.response_model)
        if status is not None:
            invocation.response_status = exportable(status)
        reasons = [exportable(choice.finish_reason) for choice in recording.choices if choice.finish_reason]
        if reasons or status in _ERROR:
            invocation.finish_reasons = reasons or ["error"]
        if recording.service_tier:
            invocation.attributes[OPENAI_RESPONSE_SERVICE_TIER] = exportable(recording.service_tier)
        invocation.attributes.update(response_attributes(recording, timeline))
        self._request = self._request._replace(tools=read_tools(items_of(field(recording.echo, "tools"))))
        if self._telemetry.captures_content:
            invocation.output_messages = output_messages(recording)
            echoed_content(invocation, recording.echo)
            if redaction is not None:
                redaction.parts(invocation.output_messages)
                redaction.parts(invocation.system_instruction)
                redaction.parts(invocation.tool_definitions or ())

    def _measure(self, recording: Recording, timeline: Timeline, context: Context) -> None:
        if recording.streamed:
            outcome = recording.outcome or "completed"
            self._telemetry.instruments.streams.add(1, (*self._common, (OTEL_LLM_STREAM_OUTCOME, outcome)))
        if recording.is_unfinished:
            return
        calls, are_new = self._telemetry.counted_responses.count(recording)
        self._measure_calls(recording, calls, context)
        if are_new:
            self._measure_anomalies(timeline)
