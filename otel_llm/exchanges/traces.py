"""Spans of chat completions as entries: those of otel-llm as they were observed, others by their captured messages.

It needs the protobuf messages of OTLP.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from otel_llm.exchanges.bodies import whole_entries
from otel_llm.exchanges.entries import Entry, ReportedSpan, ResponseStart
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.json_values import parse_json
from otel_llm.telemetry import semconv

_ERROR = 2  # opentelemetry.proto.trace.v1.Status.STATUS_CODE_ERROR


def trace_entries(document: Any) -> Iterator[Entry]:
    """The entries of decoded OTLP JSON, which is changed. Raises UnreadableError."""
    try:
        from otel_llm.exchanges import otlp
    except ImportError as error:
        raise UnreadableError(f"it is OTLP JSON, which needs {error.name}: pip install 'otel-llm[cli]'") from None
    for resource_spans in otlp.parse_document(document).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                attributes = otlp.attributes_of(span.attributes)
                events = [
                    (event.name, event.time_unix_nano, otlp.attributes_of(event.attributes)) for event in span.events
                ]
                names = (*attributes, *(name for name, *_ in events))
                if any(name.startswith(semconv.NAMESPACE) for name in names):
                    started = span.start_time_unix_nano
                    ended = span.end_time_unix_nano or started
                    message = span.status.message if span.status.code == _ERROR else ""
                    yield ReportedSpan(span.name, attributes, events, started, ended, message)
                else:
                    yield from _captured(span.name, attributes)


def _captured(name: str, attributes: Mapping[str, Any]) -> Iterator[Entry]:
    """The response in the attributes of another instrumentation, if it captured the messages."""
    messages = _json(attributes.get(semconv.GEN_AI_OUTPUT_MESSAGES))
    if not isinstance(messages, list) or not messages:
        return
    tools = _json(attributes.get(semconv.GEN_AI_TOOL_DEFINITIONS))
    request = {"tools": [_tool(tool) for tool in tools]} if isinstance(tools, list) else None
    yield ResponseStart(f"span {name}", request)
    choices = [_choice(index, _map(message)) for index, message in enumerate(messages)]
    response = {"model": attributes.get(semconv.GEN_AI_RESPONSE_MODEL), "choices": choices}
    yield from whole_entries(response, json.dumps(response)[:1000])


def _choice(index: int, message: Mapping[str, Any]) -> dict[str, Any]:
    """A choice of the API from a message of the GenAI conventions, in which arguments are parsed already."""
    calls = []
    texts = []
    for part in map(_map, _list(message.get("parts"))):
        if part.get("type") == "tool_call":
            arguments = part.get("arguments")
            text = arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
            function = {"name": part.get("name"), "arguments": text}
            calls.append({"id": part.get("id"), "type": "function", "function": function})
        elif part.get("type") == "text":
            texts.append(str(part.get("content", "")))
    reason = message.get("finish_reason")
    return {
        "index": index,
        "message": {"role": "assistant", "content": "".join(texts) or None, "tool_calls": calls or None},
        "finish_reason": "tool_calls" if reason == "tool_call" else reason,
    }


def _tool(definition: Any) -> Any:
    return definition if "function" in _map(definition) else {"type": "function", "function": definition}


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except UnreadableError:
        return None


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
