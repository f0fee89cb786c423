"""The timeline of a request: a lane for each tool call, and for each choice's text and reasoning.  Pure.

Offsets are milliseconds since the request's start.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otel_llm.diagnosis.explanations import BY_TYPE
from otel_llm.protocol import json_values
from otel_llm.telemetry import semconv
from otel_llm.view.spans import number_of

if TYPE_CHECKING:
    from otel_llm.view.spans import Delta, Event, Span

Document = dict[str, Any]

_POSITION = re.compile(r"^(.*) at character (\d+) of \d+$", re.DOTALL)
_REWRITE = {
    "format": semconv.OTEL_LLM_TAG_REWRITE_FORMAT,
    "target": semconv.OTEL_LLM_TAG_REWRITE_TARGET,
    "length": semconv.OTEL_LLM_TAG_REWRITE_LENGTH,
}


class Lanes:
    """Lanes in the order in which they began, and everything else that the events say."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.lanes: list[Document] = []
        self.deltas: list[tuple[Any, ...]] = []
        self.finish_reasons: list[Document] = []
        self.anomalies: list[Document] = []
        self.rewrites: list[Document] = []
        self.others: list[Document] = []
        self._latest: dict[tuple[Any, Any], int] = {}
        """The lane of the latest call, by choice and index."""
        self._open: dict[tuple[Any, ...], deque[int]] = {}
        """The lanes of calls that are not completed, oldest first, by choice, index and id."""
        self._joined: dict[int, list[str]] = {}
        """The texts of a lane's deltas up to the first one that was cut."""
        self._joined_length: dict[int, int] = {}

    def take(self, event: Event) -> None:
        """Add an event that is not a delta."""
        name, at = event.name, self._span.offset_ms(event.time_ns)
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
                _lane(kind, number_of(attributes, semconv.OTEL_LLM_CHOICE_INDEX) or 0, None) | {"first_ms": at}
            )
        elif name == semconv.EVENT_FINISH_REASON:
            reason = {
                "choice": number_of(attributes, semconv.OTEL_LLM_CHOICE_INDEX) or 0,
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
        choice = number_of(attributes, semconv.OTEL_LLM_CHOICE_INDEX) or 0
        return choice, number_of(attributes, semconv.OTEL_LLM_TOOL_CALL_INDEX)

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

    def take_delta(self, delta: Delta) -> None:
        time_ns, choice, index, text, length, folded = delta
        at = self._span.offset_ms(time_ns)
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
        # Nothing can be joined after a delta that was cut.
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
        length = number_of(attributes, semconv.OTEL_LLM_ARGUMENTS_LENGTH)
        delta_count = number_of(attributes, semconv.OTEL_LLM_DELTA_COUNT)
        lane["arguments_length"] = lane["arguments_length"] if length is None else length
        lane["delta_count"] = lane["delta_count"] if delta_count is None else delta_count

    def _anomaly(self, at: float, attributes: Mapping[str, Any]) -> None:
        kind = str(attributes.get(semconv.OTEL_LLM_ANOMALY_TYPE, ""))
        index = number_of(attributes, semconv.OTEL_LLM_TOOL_CALL_INDEX)
        known = BY_TYPE.get(kind)
        self.anomalies.append(
            {
                "type": kind,
                "detail": str(attributes.get(semconv.OTEL_LLM_ANOMALY_DETAIL, "")),
                "choice": number_of(attributes, semconv.OTEL_LLM_CHOICE_INDEX),
                "index": index,
                "lane": None if index is None else self._latest.get(self._key(attributes)),
                "at_ms": at,
                "meaning": known.means if known else "",
                "causes": [f"{seen.where}: {seen.what}" for seen in known.seen] if known else [],
                "advice": known.do if known else "",
            }
        )

    def end(self) -> None:
        """Complete the lanes after the last event."""
        ended = self._span.offset_ms(self._span.ended_ns)
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
                # No event marks the end of text: it is over with its choice at the latest.
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
    """Where and why arguments are not one JSON value, None if they are one, or empty."""
    reading = json_values.read(text)
    if reading.shape is json_values.Shape.INVALID:
        found = _POSITION.match(reading.error)
        if found:
            return {"position": int(found.group(2)), "message": found.group(1)}
        return {"position": 0, "message": reading.error}
    if reading.shape is json_values.Shape.SEVERAL:
        # The end of the first value; numbers may have any number of digits.
        _, end = json.JSONDecoder(parse_int=str).raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
        behind = text[end:]
        position = end + len(behind) - len(behind.lstrip(" \t\r\n"))
        return {"position": position, "message": "Another JSON value begins"}
    return None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
