"""OTLP messages, spans as plain data, and OTLP JSON.

OTLP JSON is protobuf's JSON but for three things: ids are hex, enums are numbers, unknown fields are ignored
(specification: "JSON Protobuf Encoding"). A span is kept as the message it came in: one `ResourceSpans` with one span.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from otel_llm.telemetry.semconv import (
    EVENT_TOOL_CALL_ARGUMENTS_DELTA,
    GEN_AI_TOOL_CALL_ARGUMENTS,
    OTEL_LLM_ARGUMENTS_LENGTH,
    OTEL_LLM_CHOICE_INDEX,
    OTEL_LLM_DELTA_COUNT,
    OTEL_LLM_TOOL_CALL_INDEX,
)

Attributes = dict[str, Any]

_IDS = ("traceId", "spanId", "parentSpanId")
_ID_LENGTHS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
_DEEPEST = 64
_LARGEST_EXACT = 2**53  # what a browser's numbers hold


class MalformedError(ValueError):
    """A body is not the message that it should be; the text says why."""


# A delta of a call's arguments: its time (ns of the epoch), the choice, the index, the text, the length so far and
# how many deltas it stands for. A plain tuple, since a span may have a hundred thousand of them.
Delta = tuple[int, int, int | None, str | None, int | None, int]


class Event(NamedTuple):
    """Any other event. `time_ns` of the epoch."""

    name: str
    time_ns: int
    attributes: Attributes


class Link(NamedTuple):
    """Another span, by its ids in hex."""

    trace_id: str
    span_id: str
    attributes: Attributes


class Span(NamedTuple):
    """One span. Ids are hex, times are of the epoch; `status` is `unset`, `ok` or `error`.

    `events` and deltas are in the order in which they came.
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


def parse_protobuf(body: bytes) -> ExportTraceServiceRequest:
    """The request in `body`. Raises MalformedError."""
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except (DecodeError, ValueError) as error:
        raise MalformedError(f"the body is no ExportTraceServiceRequest: {error}") from None
    return request


def parse_json(body: bytes | str) -> ExportTraceServiceRequest:
    """The request in OTLP JSON. Raises MalformedError."""
    request = ExportTraceServiceRequest()
    try:
        document = json.loads(body)
        if not isinstance(document, dict):
            raise MalformedError("OTLP JSON is an object")
        _ids_to_base64(document, 0)
        json_format.ParseDict(document, request, ignore_unknown_fields=True)
    except MalformedError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError, json_format.ParseError) as error:
        raise MalformedError(f"the body is no OTLP JSON: {str(error)[:500]}") from None
    return request


def parse_file(body: bytes) -> ExportTraceServiceRequest:
    """What a file of OTLP JSON holds: one request, or one a line, as the collector's file exporter writes.

    Raises MalformedError.
    """
    first, *others = (line for line in body.splitlines() if line.strip()) if body.strip() else (b"",)
    try:
        request = parse_json(first)
    except MalformedError:
        return parse_json(body)
    number = 1
    try:
        for number, line in enumerate(others, 2):  # noqa: B007 - told below
            request.MergeFrom(parse_json(line))
    except MalformedError as error:
        raise MalformedError(f"line {number}: {error}") from None
    return request


def to_json(message: ResourceSpans) -> dict[str, Any]:
    """A message as OTLP JSON, which `parse_json` and every OTLP receiver read."""
    document: dict[str, Any] = {
        "resourceSpans": [json_format.MessageToDict(message, use_integers_for_enums=True)],
    }
    for scope in document["resourceSpans"][0].get("scopeSpans", ()):
        for span in scope.get("spans", ()):
            for holder in (span, *span.get("links", ())):
                for name in _IDS:
                    if name in holder:
                        holder[name] = base64.b64decode(holder[name]).hex()
    return document


def _ids_to_base64(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise MalformedError("nested too deep")
    if isinstance(value, list):
        for one in value:
            _ids_to_base64(one, depth + 1)
    elif isinstance(value, dict):
        for name, one in value.items():
            if isinstance(one, (dict, list)):
                # What an attribute holds is its own business.
                if name not in {"attributes", "value", "body"}:
                    _ids_to_base64(one, depth + 1)
            elif name in _IDS and isinstance(one, str):
                try:
                    value[name] = base64.b64encode(binascii.unhexlify(one)).decode()
                except (binascii.Error, ValueError):
                    raise MalformedError(f"{name} is not hex") from None


def single_spans(request: ExportTraceServiceRequest) -> Iterator[ResourceSpans]:
    """Each span of a request as a message of its own, with its resource and scope.

    Raises MalformedError where a span has no usable ids: nothing of the request is taken then.
    """
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                if len(span.trace_id) != _ID_LENGTHS["traceId"] or len(span.span_id) != _ID_LENGTHS["spanId"]:
                    raise MalformedError("a span's ids must have 16 and 8 bytes")
                single = ResourceSpans(schema_url=resource_spans.schema_url)
                single.resource.CopyFrom(resource_spans.resource)
                scope = single.scope_spans.add(schema_url=scope_spans.schema_url)
                scope.scope.CopyFrom(scope_spans.scope)
                scope.spans.add().CopyFrom(span)
                yield single


def read(message: ResourceSpans, *, deltas: bool = True) -> Span:
    """The one span of a message that `single_spans` made, without its deltas if so asked."""
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


def attributes_of(entries: Any) -> Attributes:
    """What a list of `KeyValue` says."""
    found: Attributes = {}
    for entry in entries:
        value = entry.value
        kind = value.WhichOneof("value")
        # Nearly all there are.
        if kind == "string_value":
            found[entry.key] = value.string_value
        elif kind == "int_value":
            found[entry.key] = _integer(value.int_value)
        else:
            found[entry.key] = _any_value(value, kind, 0)
    return found


def _integer(number: int) -> int | str:
    return number if -_LARGEST_EXACT <= number <= _LARGEST_EXACT else str(number)


def _any_value(value: AnyValue, kind: str | None, depth: int) -> Any:
    match kind:
        case "string_value":
            return value.string_value
        case "int_value":
            return _integer(value.int_value)
        case "bool_value":
            return value.bool_value
        case "double_value":
            # JSON has no NaN and no infinity.
            return value.double_value if math.isfinite(value.double_value) else str(value.double_value)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case _ if depth > _DEEPEST:
            return None
        case "array_value":
            return [_any_value(one, one.WhichOneof("value"), depth + 1) for one in value.array_value.values]
        case "kvlist_value":
            return {
                entry.key: _any_value(entry.value, entry.value.WhichOneof("value"), depth + 1)
                for entry in value.kvlist_value.values
            }
    return None


def number_of(attributes: Mapping[str, Any], name: str) -> int | None:
    """An attribute that should be a whole number, None where it is none."""
    value = attributes.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
