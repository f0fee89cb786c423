"""Spans as plain data. A span is stored as an OTLP message: one `ResourceSpans` with one span."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from otel_llm.exchanges.otlp import ID_LENGTHS, Attributes, attributes_of
from otel_llm.protocol.errors import UnreadableError
from otel_llm.telemetry.semconv import (
    EVENT_TOOL_CALL_ARGUMENTS_DELTA,
    GEN_AI_TOOL_CALL_ARGUMENTS,
    OTEL_LLM_ARGUMENTS_LENGTH,
    OTEL_LLM_CHOICE_INDEX,
    OTEL_LLM_DELTA_COUNT,
    OTEL_LLM_TOOL_CALL_INDEX,
)

# A delta of a call's arguments: its time (ns of the epoch), the choice, the index, the text, the length so far and the
# number of deltas folded into it. A plain tuple, because a span may have a hundred thousand.
Delta = tuple[int, int, int | None, str | None, int | None, int]


class Event(NamedTuple):
    """An event that is not a delta. `time_ns`: of the epoch."""

    name: str
    time_ns: int
    attributes: Attributes


class Link(NamedTuple):
    """A link to another span, whose ids are hex."""

    trace_id: str
    span_id: str
    attributes: Attributes


class Span(NamedTuple):
    """One span. Ids are hex; times are nanoseconds of the epoch; `status` is `unset`, `ok` or `error`.

    Events and deltas are in their original order.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    started_ns: int
    ended_ns: int
    attributes: Attributes
    events: list[Event | Delta]
    links: list[Link]
    status: str
    message: str
    resource: Attributes
    scope: str
    dropped_events: int

    def offset_ms(self, time_ns: int) -> float:
        """Milliseconds from the start to a time, 0.0 if there is no time."""
        return round((time_ns - self.started_ns) / 1e6, 6) if time_ns else 0.0


def single_spans(request: ExportTraceServiceRequest) -> Iterator[ResourceSpans]:
    """Each span of a request as a message of its own, with its resource and scope.

    Raises UnreadableError if a span has no valid ids; nothing of the request should be stored then.
    """
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                if len(span.trace_id) != ID_LENGTHS["traceId"] or len(span.span_id) != ID_LENGTHS["spanId"]:
                    raise UnreadableError("the ids of a span must have 16 and 8 bytes")
                single = ResourceSpans(schema_url=resource_spans.schema_url)
                single.resource.CopyFrom(resource_spans.resource)
                scope = single.scope_spans.add(schema_url=scope_spans.schema_url)
                scope.scope.CopyFrom(scope_spans.scope)
                scope.spans.add().CopyFrom(span)
                yield single


def read(message: ResourceSpans, *, deltas: bool = True) -> Span:
    """The span of a message that `single_spans` made, with or without its deltas."""
    scope_spans = message.scope_spans[0]
    span = scope_spans.spans[0]
    started = span.start_time_unix_nano
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex() or None,
        name=span.name,
        started_ns=started,
        ended_ns=max(started, span.end_time_unix_nano),
        attributes=attributes_of(span.attributes),
        events=list(_events(span.events, deltas=deltas)),
        links=[Link(link.trace_id.hex(), link.span_id.hex(), attributes_of(link.attributes)) for link in span.links],
        status={1: "ok", 2: "error"}.get(span.status.code, "unset"),
        message=span.status.message,
        resource=attributes_of(message.resource.attributes),
        scope=scope_spans.scope.name,
        dropped_events=span.dropped_events_count,
    )


def _events(events: Any, *, deltas: bool) -> Iterator[Event | Delta]:
    for event in events:
        name = event.name
        if name != EVENT_TOOL_CALL_ARGUMENTS_DELTA:
            yield Event(name, event.time_unix_nano, attributes_of(event.attributes))
        elif deltas:
            choice, index, text, length, count = 0, None, None, None, 1
            for entry in event.attributes:
                key = entry.key
                if key == GEN_AI_TOOL_CALL_ARGUMENTS:
                    text = entry.value.string_value
                elif key == OTEL_LLM_ARGUMENTS_LENGTH:
                    length = entry.value.int_value
                elif key == OTEL_LLM_CHOICE_INDEX:
                    choice = entry.value.int_value
                elif key == OTEL_LLM_TOOL_CALL_INDEX:
                    index = entry.value.int_value
                elif key == OTEL_LLM_DELTA_COUNT:
                    count = entry.value.int_value
            yield event.time_unix_nano, choice, index, text, length, count


def number_of(attributes: Mapping[str, Any], name: str) -> int | None:
    """An integer attribute, None if it is missing or not an integer."""
    value = attributes.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
