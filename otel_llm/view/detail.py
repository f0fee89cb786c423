"""The page's document about one request.  Pure."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from otel_llm.telemetry import semconv
from otel_llm.view import copies
from otel_llm.view.lanes import Lanes
from otel_llm.view.spans import Event
from otel_llm.view.summary import summarize

if TYPE_CHECKING:
    from otel_llm.view.spans import Span

_MESSAGES = {
    "input": semconv.GEN_AI_INPUT_MESSAGES,
    "output": semconv.GEN_AI_OUTPUT_MESSAGES,
    "system": semconv.GEN_AI_SYSTEM_INSTRUCTIONS,
}


def detail(span: Span) -> dict[str, Any]:
    """One request's document, without what only the store knows: `leads_to` and `trace`."""
    lanes = Lanes(span)
    for event in span.events:
        if isinstance(event, Event):
            lanes.take(event)
        else:
            lanes.take_delta(event)
    lanes.end()
    attributes = span.attributes
    parameters = {name: value for name, value in attributes.items() if name.startswith(semconv.GEN_AI_REQUEST_PREFIX)}
    tools = _json(attributes.get(semconv.GEN_AI_TOOL_DEFINITIONS))
    messages = {kind: _json(attributes.get(name)) for kind, name in _MESSAGES.items()}
    document: dict[str, Any] = {
        **summarize(span),
        "attributes": attributes,
        "resource": span.resource,
        "scope": span.scope,
        "status": {"code": span.status, "message": span.message},
        "dropped_events": span.dropped_events,
        "lanes": lanes.lanes,
        "deltas": lanes.deltas,
        "finish_reasons": lanes.finish_reasons,
        "anomalies_explained": lanes.anomalies,
        "rewrites": lanes.rewrites,
        "events": lanes.others,
        "parameters": parameters,
        "declared_tools": tools if isinstance(tools, list) else None,
        "messages": messages if any(value is not None for value in messages.values()) else None,
    }
    document["copy"] = {"curl": copies.curl(document), "test": copies.test_case(document)}
    return document


def _json(value: Any) -> Any:
    """The value of an attribute that holds JSON, or the value itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=str, parse_float=_float)
    except (ValueError, RecursionError):
        return value


def _float(text: str) -> float | str:
    # 1e999 would be read as infinity, which JSON does not have.
    number = float(text)
    return number if math.isfinite(number) else text
