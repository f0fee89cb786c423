"""What the page shows of a request: its span in, a summary and a detail document out.  Pure.

Offsets are milliseconds since the request's start.
"""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from otel_llm.diagnosis.explanations import BY_TYPE
from otel_llm.protocol import json_values
from otel_llm.telemetry import semconv
from otel_llm.view import copies
from otel_llm.view.spans import Event

if TYPE_CHECKING:
    from otel_llm.view.spans import Delta, Span

Document = dict[str, Any]

_INFERENCE = {semconv.OPERATION_CHAT, semconv.OPERATION_GENERATE_CONTENT, semconv.OPERATION_TEXT_COMPLETION}
_POSITION = re.compile(r"^(.*) at character (\d+) of \d+$", re.DOTALL)
_LONGEST_SEARCHED = 2000  # characters
_LONGEST_NAME = 500  # characters
_MOST_NAMED = 100  # tools and anomalies in a summary
_MESSAGES = {
    "input": semconv.GEN_AI_INPUT_MESSAGES,
    "output": semconv.GEN_AI_OUTPUT_MESSAGES,
    "system": semconv.GEN_AI_SYSTEM_INSTRUCTIONS,
}
_REWRITE = {
    "format": semconv.OTEL_LLM_TAG_REWRITE_FORMAT,
    "target": semconv.OTEL_LLM_TAG_REWRITE_TARGET,
    "length": semconv.OTEL_LLM_TAG_REWRITE_LENGTH,
}


def request_id(trace_id: str, span_id: str) -> str:
    """The id under which the page knows a request."""
    return f"{trace_id}-{span_id}"


def is_request(span: Span) -> bool:
    """Whether a span is of one request to a model: of ours, or of anybody who names it as the conventions do."""
    if str(span.attributes.get(semconv.GEN_AI_OPERATION_NAME)) in _INFERENCE:
        return True
    return any(name.startswith(semconv.NAMESPACE) for name in span.attributes) or any(
        event.name.startswith(semconv.NAMESPACE) for event in _told(span)
    )


def _told(span: Span) -> Iterator[Event]:
    return (event for event in span.events if isinstance(event, Event))


def summarize(span: Span) -> Document:
    """A row of the list of requests."""
    attributes = span.attributes
    tools: list[str] = []
    anomalies: list[str] = []
    for event in _told(span):
        if event.name == semconv.EVENT_TOOL_CALL_NAME and len(tools) < _MOST_NAMED:
            tools.append(short(event.attributes.get(semconv.GEN_AI_TOOL_NAME, "")))
        elif event.name == semconv.EVENT_ANOMALY and len(anomalies) < _MOST_NAMED:
            kind = short(event.attributes.get(semconv.OTEL_LLM_ANOMALY_TYPE, ""))
            if kind not in anomalies:
                anomalies.append(kind)
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
        "duration_ms": _ms(span.ended_ns, span),
        "outcome": None if outcome is None else short(outcome),
        "error": None if error is None else short(error),
        "stream": semconv.OTEL_LLM_STREAM_OUTCOME in attributes
        or attributes.get(semconv.GEN_AI_REQUEST_STREAM) is True,
        "text_only": attributes.get(semconv.OTEL_LLM_STREAM_TEXT_ONLY) is True,
        "tools": tools,
        "tool_call_count": _number(attributes, semconv.OTEL_LLM_STREAM_TOOL_CALL_COUNT, len(tools)),
        "anomalies": anomalies,
        "input_tokens": _number(attributes, semconv.GEN_AI_USAGE_INPUT_TOKENS, None),
        "output_tokens": _number(attributes, semconv.GEN_AI_USAGE_OUTPUT_TOKENS, None),
        "chunk_count": _number(attributes, semconv.OTEL_LLM_STREAM_CHUNK_COUNT, None),
        "caused_by": _answered(span),
    }


def _answered(span: Span) -> list[str]:
    """The requests whose calls' results this one carries. A link may say anything else, too."""
    answered = (
        request_id(link.trace_id, link.span_id) for link in span.links if semconv.GEN_AI_TOOL_CALL_ID in link.attributes
    )
    return list(dict.fromkeys(answered))[:_MOST_NAMED]


def short(text: Any) -> str:
    """A name as a list has it: nobody reads a megabyte there."""
    return str(text)[:_LONGEST_NAME]


def searched_text(span: Span, summary: Mapping[str, Any]) -> str:
    """What a search looks at, in one case."""
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
    for event in _told(span):
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


# -- one request --


def detail(span: Span) -> Document:
    """All of one request but for what only the store knows: `leads_to` and `trace`."""
    lanes = _Lanes(span)
    for event in span.events:
        if isinstance(event, Event):
            lanes.take(event)
        else:
            lanes.delta(event)
    lanes.end()
    attributes = span.attributes
    parameters = {name: value for name, value in attributes.items() if name.startswith(semconv.GEN_AI_REQUEST_PREFIX)}
    tools = _json(attributes.get(semconv.GEN_AI_TOOL_DEFINITIONS))
    messages = {kind: _json(attributes.get(name)) for kind, name in _MESSAGES.items()}
    document: Document = {
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


class _Lanes:
    """A lane for each call and for each choice's text and reasoning, in the order in which they began."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.lanes: list[Document] = []
        self.deltas: list[tuple[Any, ...]] = []
        self.finish_reasons: list[Document] = []
        self.anomalies: list[Document] = []
        self.rewrites: list[Document] = []
        self.others: list[Document] = []
        self._latest: dict[tuple[Any, Any], int] = {}
        """The lane of the call that last began at a choice and an index."""
        self._open: dict[tuple[Any, ...], deque[int]] = {}
        """The lanes of the calls that are not completed, by choice, index and id, in the order in which they began."""
        self._joined: dict[int, list[str]] = {}
        """The texts of a lane's deltas, as far as none is missing between them."""
        self._joined_length: dict[int, int] = {}

    def take(self, event: Event) -> None:
        name, at = event.name, _ms(event.time_ns, self._span)
        attributes = event.attributes
        if name == semconv.EVENT_TOOL_CALL_DETECTED:
            number = self._new(*self._key(attributes), _text(attributes.get(semconv.GEN_AI_TOOL_CALL_ID)))
            self._call(number, "detected_ms", at, attributes)
        elif name == semconv.EVENT_TOOL_CALL_NAME:
            self._call(self._lane(attributes), "named_ms", at, attributes)
        elif name == semconv.EVENT_TOOL_CALL_COMPLETED:
            self._completed(at, attributes)
        elif name in {semconv.EVENT_TEXT_STARTED, semconv.EVENT_REASONING_STARTED}:
            kind = "text" if name == semconv.EVENT_TEXT_STARTED else "reasoning"
            self.lanes.append(
                _lane(kind, _integer(attributes.get(semconv.OTEL_LLM_CHOICE_INDEX), 0), None) | {"first_ms": at}
            )
        elif name == semconv.EVENT_FINISH_REASON:
            reason = {
                "choice": _integer(attributes.get(semconv.OTEL_LLM_CHOICE_INDEX), 0),
                "reason": attributes.get(semconv.OTEL_LLM_FINISH_REASON),
            }
            self.finish_reasons.append(reason | {"at_ms": at})
        elif name == semconv.EVENT_ANOMALY:
            self._anomaly(at, attributes)
        elif name == semconv.EVENT_TAG_REWRITE:
            rewrite = {part: attributes.get(name) for part, name in _REWRITE.items()}
            self.rewrites.append({"at_ms": at, "name": attributes.get(semconv.GEN_AI_TOOL_NAME), **rewrite})
        else:
            self.others.append({"name": name, "at_ms": at, "attributes": attributes})

    def _key(self, attributes: Mapping[str, Any]) -> tuple[int, int | None]:
        choice, index = attributes.get(semconv.OTEL_LLM_CHOICE_INDEX), attributes.get(semconv.OTEL_LLM_TOOL_CALL_INDEX)
        return _integer(choice, 0), _integer(index, None)

    def _new(self, choice: int, index: int | None, call_id: str | None = None) -> int:
        self._latest[choice, index] = number = len(self.lanes)
        self._open.setdefault((choice, index, call_id), deque()).append(number)
        self.lanes.append(_lane("tool_call", choice, index))
        return number

    def _lane(self, attributes: Mapping[str, Any]) -> int:
        number = self._latest.get(self._key(attributes))
        return self._new(*self._key(attributes)) if number is None else number

    def _call(self, number: int, when: str, at: float, attributes: Mapping[str, Any]) -> Document:
        lane = self.lanes[number]
        lane[when] = at
        for field, name in (("call_id", semconv.GEN_AI_TOOL_CALL_ID), ("name", semconv.GEN_AI_TOOL_NAME)):
            if name in attributes:
                lane[field] = str(attributes[name])
        return lane

    def delta(self, delta: Delta) -> None:
        time_ns, choice, index, text, length, folded = delta
        at = _ms(time_ns, self._span)
        number = self._latest.get((choice, index))
        if number is None:
            number = self._new(choice, index)
        lane = self.lanes[number]
        if length is None:
            length = lane["arguments_length"]
        self.deltas.append((at, number, text, length, folded))
        if lane["first_ms"] is None:
            lane["first_ms"] = at
        lane["last_ms"] = at
        lane["delta_count"] += folded
        lane["arguments_length"] = length
        # Behind a delta that was cut nothing joins any more.
        held = self._joined_length.get(number, 0)
        if text is not None and held >= 0:
            self._joined.setdefault(number, []).append(text)
            held += len(text)
            self._joined_length[number] = held if held >= length else -1

    def _completed(self, at: float, attributes: Mapping[str, Any]) -> None:
        key, call_id = self._key(attributes), _text(attributes.get(semconv.GEN_AI_TOOL_CALL_ID))
        waiting = self._open.get((*key, call_id)) or self._open.get((*key, None))
        number = waiting.popleft() if waiting else self._lane(attributes)
        lane = self._call(number, "completed_ms", at, attributes)
        arguments = attributes.get(semconv.GEN_AI_TOOL_CALL_ARGUMENTS)
        lane["arguments"] = arguments if isinstance(arguments, str) else None
        lane["arguments_length"] = _integer(attributes.get(semconv.OTEL_LLM_ARGUMENTS_LENGTH), lane["arguments_length"])
        lane["delta_count"] = _integer(attributes.get(semconv.OTEL_LLM_DELTA_COUNT), lane["delta_count"])

    def _anomaly(self, at: float, attributes: Mapping[str, Any]) -> None:
        kind = str(attributes.get(semconv.OTEL_LLM_ANOMALY_TYPE, ""))
        index = _integer(attributes.get(semconv.OTEL_LLM_TOOL_CALL_INDEX), None)
        known = BY_TYPE.get(kind)
        self.anomalies.append(
            {
                "type": kind,
                "detail": str(attributes.get(semconv.OTEL_LLM_ANOMALY_DETAIL, "")),
                "choice": _integer(attributes.get(semconv.OTEL_LLM_CHOICE_INDEX), None),
                "index": index,
                "lane": None if index is None else self._latest.get(self._key(attributes)),
                "at_ms": at,
                "meaning": known.means if known else "",
                "causes": [f"{seen.where}: {seen.what}" for seen in known.seen] if known else [],
                "advice": known.do if known else "",
            }
        )

    def end(self) -> None:
        """When all events were taken."""
        ended = _ms(self._span.ended_ns, self._span)
        finished = {one["choice"]: one["at_ms"] for one in reversed(self.finish_reasons)}
        for number, lane in enumerate(self.lanes):
            if lane["kind"] == "tool_call":
                joined = "".join(self._joined.get(number, ()))
                if joined and len(joined) > len(lane["arguments"] or ""):
                    lane["arguments"] = joined
                if lane["arguments"] is not None:
                    lane["arguments_cut"] = len(lane["arguments"]) < lane["arguments_length"]
                    if not lane["arguments_cut"]:
                        lane["arguments_error"] = _arguments_error(lane["arguments"])
            else:
                # When text ends nobody says: at the latest with its choice.
                end = finished.get(lane["choice"], ended)
                lane["last_ms"] = end if end >= lane["first_ms"] else ended


def _lane(kind: str, choice: int, index: int | None) -> Document:
    return {
        "kind": kind,
        "choice": choice,
        "index": index,
        "call_id": None,
        "name": None,
        "detected_ms": None,
        "named_ms": None,
        "first_ms": None,
        "last_ms": None,
        "completed_ms": None,
        "arguments": None,
        "arguments_length": 0,
        "arguments_cut": False,
        "delta_count": 0,
        "arguments_error": None,
    }


def _arguments_error(text: str) -> Document | None:
    """Where and why arguments are not one JSON value; None where they are one, or nothing."""
    reading = json_values.read(text)
    if reading.shape is json_values.Shape.INVALID:
        found = _POSITION.match(reading.error)
        if found:
            return {"position": int(found.group(2)), "message": found.group(1)}
        return {"position": 0, "message": reading.error}
    if reading.shape is json_values.Shape.SEVERAL:
        # Where the first value ends; numbers may have any number of digits.
        _, end = json.JSONDecoder(parse_int=str).raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
        behind = text[end:]
        position = end + len(behind) - len(behind.lstrip(" \t\r\n"))
        return {"position": position, "message": "Another JSON value begins"}
    return None


def _ms(time_ns: int, span: Span) -> float:
    return round((time_ns - span.started_ns) / 1e6, 6) if time_ns else 0.0


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _integer(value: Any, otherwise: Any) -> Any:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _number(attributes: Mapping[str, Any], name: str, otherwise: int | None) -> int | None:
    found: int | None = _integer(attributes.get(name), otherwise)
    return found


def _json(value: Any) -> Any:
    """An attribute that holds a value, or its JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=str, parse_float=_float)
    except (ValueError, RecursionError):
        return value


def _float(text: str) -> float | str:
    # JSON has no infinity, and reading it makes one of 1e999.
    number = float(text)
    return number if math.isfinite(number) else text
