"""Handmade spans, with sizes and contents that no server of these tests produces."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

STARTED_NS = 1_790_000_000_000_000_000
_MS = 1_000_000
_numbers = itertools.count(1)


def made(
    events: Iterable[tuple[str, float, Mapping[str, Any]]] = (),
    *,
    model: str = "made-model",
    at_ms: float = 0,
    duration_ms: float = 1000,
    trace: bytes | None = None,
    links: Iterable[Span] = (),
    **attributes: Any,
) -> Span:
    """One request. `events`: name without `otel_llm.`, ms since the start, attributes. `__` in a keyword is a dot."""
    number = next(_numbers)
    started = STARTED_NS + int(at_ms * _MS)
    given = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": model,
        "otel_llm.stream.outcome": "completed",
        "otel_llm.stream.chunk_count": 10,
        **{name.replace("__", "."): value for name, value in attributes.items()},
    }
    return Span(
        trace_id=trace or number.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        name=f"chat {model}",
        start_time_unix_nano=started,
        end_time_unix_nano=started + int(duration_ms * _MS),
        attributes=_attributes(given),
        events=[
            Span.Event(
                name=name if name.startswith("!") else f"otel_llm.{name}",
                time_unix_nano=started + int(when * _MS),
                attributes=_attributes(of),
            )
            for name, when, of in events
        ],
        links=[
            Span.Link(
                trace_id=link.trace_id, span_id=link.span_id, attributes=_attributes({"gen_ai.tool.call.id": "call_1"})
            )
            for link in links
        ],
    )


def body(spans: Iterable[Span], service: str = "agent") -> bytes:
    """An OTLP request with these spans."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(_attributes({"service.name": service}))
    resource.scope_spans.add().spans.extend(spans)
    return request.SerializeToString()


def call(
    name: str,
    arguments: str,
    *,
    index: int = 0,
    call_id: str = "call_1",
    at_ms: float = 100,
    every_ms: float = 10,
    size: int = 4,
) -> list[tuple[str, float, dict[str, Any]]]:
    """The events of one tool call, with a delta of `size` characters every `every_ms`."""
    where: dict[str, Any] = {"otel_llm.choice.index": 0, "otel_llm.tool_call.index": index}
    events: list[tuple[str, float, dict[str, Any]]] = [
        ("tool_call.detected", at_ms, {**where, "gen_ai.tool.call.id": call_id}),
        ("tool_call.name", at_ms, {**where, "gen_ai.tool.name": name}),
    ]
    for number, begin in enumerate(range(0, len(arguments), size), 1):
        text = arguments[begin : begin + size]
        delta = {"gen_ai.tool.call.arguments": text, "otel_llm.delta.count": 1}
        length = {"otel_llm.arguments.length": begin + len(text)}
        events.append(("tool_call.arguments.delta", at_ms + number * every_ms, {**where, **delta, **length}))
    ended = at_ms + (len(events) - 1) * every_ms
    whole = {"gen_ai.tool.call.arguments": arguments[:200], "otel_llm.arguments.length": len(arguments)}
    counted = {"gen_ai.tool.name": name, "gen_ai.tool.call.id": call_id, "otel_llm.delta.count": len(events) - 2}
    events.append(("tool_call.completed", ended, {**where, **whole, **counted}))
    return events


def _attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_value(one) for one in value]))
    return AnyValue(string_value=str(value))
