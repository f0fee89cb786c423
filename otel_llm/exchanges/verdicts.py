"""Diagnoses recorded responses as live ones are: the entries of a file in, a verdict for each response out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from otel_llm.diagnosis.case import Anomaly, Case
from otel_llm.diagnosis.judges import diagnose, diagnose_request
from otel_llm.exchanges.entries import Chunk, Entry, ReportedSpan, ResponseEnd, ResponseStart, WholeResponse
from otel_llm.exchanges.evidence import Evidence, Excerpt
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, read_request
from otel_llm.telemetry import semconv
from otel_llm.telemetry.provider import provider_at
from otel_llm.telemetry.timeline import build_timeline

# Between two chunks without times.
_STEP_NS = 1_000_000


@dataclass
class Verdict:
    """What happened in one response, and what is wrong with it."""

    title: str
    outcome: str
    note: str = ""
    """Why it ended, if it did not simply end."""
    timed: bool = False
    """Whether times are real, not just an order."""
    started_ns: int = 0
    ended_ns: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: list[tuple[str, int, Mapping[str, Any]]] = field(default_factory=list)
    anomalies: list[tuple[Anomaly, list[Excerpt]]] = field(default_factory=list)
    recording: Recording | None = None
    """What the verdict is based on, None for a response that was observed live."""


def judge(
    entries: Iterable[Entry],
    *,
    request: Mapping[str, Any] | None = None,
    stall_seconds: float = 10.0,
) -> Iterator[Verdict]:
    """A verdict for each response. `request`: the request's body, for files that do not have it.

    Raises what reading the entries raises, after a verdict on what could be read.
    """
    running: _Response | None = None
    try:
        for entry in entries:
            if isinstance(entry, ReportedSpan):
                yield _reported(entry)
            elif isinstance(entry, ResponseStart):
                running = _Response(entry, request, stall_seconds)
            elif running is not None:
                if isinstance(entry, ResponseEnd):
                    ended, running = running, None
                    yield ended.verdict(entry)
                else:
                    running.take(entry)
    except Exception:
        if running is not None:
            yield running.verdict(ResponseEnd("error", "the file ends here"))
        raise


class _Response:
    def __init__(self, start: ResponseStart, request: Mapping[str, Any] | None, stall_seconds: float) -> None:
        body = start.request if start.request is not None else request
        self._title = start.title
        self._request: ChatRequest | None = None if body is None else read_request(body)
        self._model = "" if self._request is None else self._request.model
        self._provider = provider_at(start.url)
        self._stall_seconds = stall_seconds
        self._recording = Recording(
            declared=None if self._request is None else self._request.tool_names,
        )
        self._evidence = Evidence()
        self._now = 0
        self._timed = False

    def take(self, entry: Chunk | WholeResponse) -> None:
        before = self._now
        if entry.time_ns is not None:
            self._timed = True
            self._now = max(before, entry.time_ns)
        else:
            self._now += _STEP_NS
        if isinstance(entry, WholeResponse):
            self._recording.read_response(entry.value, self._now)
            self._evidence.take(entry.value, entry.raw, 0)
            return
        longest = self._recording.max_wait_ns
        # Without times there are no waits.
        waited_from = before if self._timed else self._now
        self._recording.feed(entry.value, waited_from, self._now)
        self._evidence.take(entry.value, entry.raw, entry.offset, longest_wait=self._recording.max_wait_ns > longest)

    def verdict(self, end: ResponseEnd) -> Verdict:
        recording = self._recording
        before = self._now
        self._now = max(before, end.time_ns) if end.time_ns is not None else before + (0 if self._timed else _STEP_NS)
        recording.end(end.outcome, self._now)
        outcome, note = recording.outcome or end.outcome, end.note
        if recording.failure is not None and not note:
            note = f"an error: {recording.failure.message}"
        has_no_answer = outcome == "error" and not recording.choices
        case = Case(recording, self._request, self._stall_seconds)
        anomalies = [] if has_no_answer else diagnose(case)
        if self._request is not None:
            anomalies = [*diagnose_request(self._request, self._provider), *anomalies]
        timeline = build_timeline(recording, anomalies, limit=None, preview=recording.preview)
        attributes: dict[str, Any] = {
            semconv.GEN_AI_REQUEST_MODEL: self._model or recording.response_model or "",
            semconv.OTEL_LLM_STREAM_OUTCOME: outcome,
            semconv.OTEL_LLM_STREAM_TOOL_CALL_COUNT: recording.tool_call_count,
            semconv.OTEL_LLM_STREAM_ANOMALY_COUNT: len(timeline.anomalies),
        }
        if case.repeated_turns:
            attributes[semconv.OTEL_LLM_CONVERSATION_REPEATED_CALLS] = case.repeated_turns
        if recording.streamed:
            attributes[semconv.OTEL_LLM_STREAM_CHUNK_COUNT] = recording.chunk_count
        if self._timed and recording.streamed:
            attributes[semconv.OTEL_LLM_STREAM_MAX_CHUNK_GAP] = recording.max_wait_ns / 1e9
            if recording.first_tool_call_ns is not None:
                attributes[semconv.OTEL_LLM_STREAM_TIME_TO_FIRST_TOOL_CALL] = recording.first_tool_call_ns / 1e9
        return Verdict(
            self._title,
            outcome,
            note,
            self._timed,
            0,
            self._now,
            attributes,
            [(event.name, event.time_ns, event.attributes) for event in timeline.events],
            [(anomaly, self._evidence.of(anomaly)) for anomaly in timeline.anomalies],
            recording,
        )


def _reported(entry: ReportedSpan) -> Verdict:
    """The anomalies that were found live: a trace has only the beginnings of arguments, so nothing is judged again."""
    anomalies = [
        Anomaly(
            str(attributes.get(semconv.OTEL_LLM_ANOMALY_TYPE, "")),
            str(attributes.get(semconv.OTEL_LLM_ANOMALY_DETAIL, "")),
            attributes.get(semconv.OTEL_LLM_CHOICE_INDEX),
            attributes.get(semconv.OTEL_LLM_TOOL_CALL_INDEX),
        )
        for name, _, attributes in entry.events
        if name == semconv.EVENT_ANOMALY
    ]
    return Verdict(
        entry.title,
        str(entry.attributes.get(semconv.OTEL_LLM_STREAM_OUTCOME, "error" if entry.error else "completed")),
        entry.error,
        True,
        entry.started_ns,
        entry.ended_ns,
        entry.attributes,
        list(entry.events),
        [(anomaly, []) for anomaly in anomalies],
    )
