"""A row of the list of requests, and the text that a search looks at.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from otel_llm.telemetry import semconv
from otel_llm.view.spans import Event, number_of

if TYPE_CHECKING:
    from otel_llm.view.spans import Span

_INFERENCE = {semconv.OPERATION_CHAT, semconv.OPERATION_GENERATE_CONTENT, semconv.OPERATION_TEXT_COMPLETION}
_LONGEST_SEARCHED = 2000  # characters
_LONGEST_NAME = 500  # characters
_MOST_NAMED = 100  # tools and anomalies in a summary


def request_id(trace_id: str, span_id: str) -> str:
    """The page's id of a request."""
    return f"{trace_id}-{span_id}"


def is_request(span: Span) -> bool:
    """Whether a span is one request to a model, by otel-llm or by the semantic conventions."""
    if str(span.attributes.get(semconv.GEN_AI_OPERATION_NAME)) in _INFERENCE:
        return True
    return any(name.startswith(semconv.NAMESPACE) for name in span.attributes) or any(
        event.name.startswith(semconv.NAMESPACE) for event in _events(span)
    )


def _events(span: Span) -> Iterator[Event]:
    return (event for event in span.events if isinstance(event, Event))


def summarize(span: Span) -> dict[str, Any]:
    """A row of the list of requests."""
    attributes = span.attributes
    tools: list[str] = []
    anomalies: list[str] = []
    for event in _events(span):
        if event.name == semconv.EVENT_TOOL_CALL_NAME and len(tools) < _MOST_NAMED:
            tools.append(short(event.attributes.get(semconv.GEN_AI_TOOL_NAME, "")))
        elif event.name == semconv.EVENT_ANOMALY and len(anomalies) < _MOST_NAMED:
            kind = short(event.attributes.get(semconv.OTEL_LLM_ANOMALY_TYPE, ""))
            if kind not in anomalies:
                anomalies.append(kind)
    tool_call_count = number_of(attributes, semconv.OTEL_LLM_STREAM_TOOL_CALL_COUNT)
    outcome = attributes.get(semconv.OTEL_LLM_STREAM_OUTCOME)
    error = attributes.get(semconv.ERROR_TYPE)
    if outcome is None and span.status == "error":
        outcome = "error"
    return {
        "id": request_id(span.trace_id, span.span_id),
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "service": short(span.resource.get(semconv.SERVICE_NAME, "")),
        "model": short(
            attributes.get(semconv.GEN_AI_REQUEST_MODEL) or attributes.get(semconv.GEN_AI_RESPONSE_MODEL) or ""
        ),
        "provider": short(attributes.get(semconv.GEN_AI_PROVIDER_NAME) or attributes.get(semconv.GEN_AI_SYSTEM) or ""),
        "name": short(span.name),
        "started": span.started_ns / 1e6,
        "duration_ms": span.offset_ms(span.ended_ns),
        "outcome": None if outcome is None else short(outcome),
        "error": None if error is None else short(error),
        "stream": semconv.OTEL_LLM_STREAM_OUTCOME in attributes
        or attributes.get(semconv.GEN_AI_REQUEST_STREAM) is True,
        "text_only": attributes.get(semconv.OTEL_LLM_STREAM_TEXT_ONLY) is True,
        "tools": tools,
        "tool_call_count": len(tools) if tool_call_count is None else tool_call_count,
        "anomalies": anomalies,
        "input_tokens": number_of(attributes, semconv.GEN_AI_USAGE_INPUT_TOKENS),
        "output_tokens": number_of(attributes, semconv.GEN_AI_USAGE_OUTPUT_TOKENS),
        "chunk_count": number_of(attributes, semconv.OTEL_LLM_STREAM_CHUNK_COUNT),
        "caused_by": _causes(span),
    }


def _causes(span: Span) -> list[str]:
    """The requests whose tool results this one carries. Other links are ignored."""
    causes = (
        request_id(link.trace_id, link.span_id) for link in span.links if semconv.GEN_AI_TOOL_CALL_ID in link.attributes
    )
    return list(dict.fromkeys(causes))[:_MOST_NAMED]


def short(text: Any) -> str:
    """A name, cut for the list."""
    return str(text)[:_LONGEST_NAME]


def searched_text(span: Span, summary: Mapping[str, Any]) -> str:
    """The text that a search looks at, case-folded."""
    parts = [
        summary["id"],
        summary["service"],
        summary["model"],
        summary["provider"],
        summary["name"],
        summary["outcome"] or "",
        summary["error"] or "",
        *summary["anomalies"],
        span.message,
        str(span.attributes.get(semconv.GEN_AI_RESPONSE_ID, "")),
    ]
    room = _LONGEST_SEARCHED
    for event in _events(span):
        if room <= 0:
            break
        if event.name in {semconv.EVENT_TOOL_CALL_COMPLETED, semconv.EVENT_ANOMALY}:
            for name in (
                semconv.GEN_AI_TOOL_NAME,
                semconv.GEN_AI_TOOL_CALL_ID,
                semconv.GEN_AI_TOOL_CALL_ARGUMENTS,
                semconv.OTEL_LLM_ANOMALY_DETAIL,
            ):
                text = str(event.attributes.get(name, ""))[:room]
                if text:
                    parts.append(text)
                    room -= len(text)
    return "\n".join([*summary["tools"], *parts]).casefold()[: 2 * _LONGEST_SEARCHED]
