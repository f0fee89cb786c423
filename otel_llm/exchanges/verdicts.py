"""Diagnoses recorded responses as live ones are: the entries of a file in, a verdict for each response out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from otel_llm.diagnosis.case import Anomaly, Case
from otel_llm.diagnosis.judges import diagnose, diagnose_bytes, diagnose_request
from otel_llm.exchanges.entries import Chunk, Entry, ReportedSpan, ResponseEnd, ResponseStart, Unread, WholeResponse
from otel_llm.exchanges.evidence import Evidence, Excerpt
from otel_llm.protocol.apis import UNKNOWN, kind_of, model_in_path
from otel_llm.protocol.dialects import arguments_of, reader_of
from otel_llm.protocol.fields import field
from otel_llm.protocol.framing import Framing
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import Api, ChatRequest, api_of_request, read_request
from otel_llm.protocol.tools_found import FoundTools
from otel_llm.telemetry import semconv
from otel_llm.telemetry.provider import provider_at
from otel_llm.telemetry.timeline import build_timeline

# Between two chunks without times.
_STEP_NS = 1_000_000
# Chunks that tell no API.
_MOST_HELD = 256
_SHOWN_OF_A_MESSAGE = 1000
UNREAD = "unread"
"""The outcome of a response that is not read."""


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
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    events: list[tuple[str, int, Mapping[str, Any]]] = dataclasses.field(default_factory=list)
    anomalies: list[tuple[Anomaly, list[Excerpt]]] = dataclasses.field(default_factory=list)
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
    judging = Judging(request, stall_seconds)
    try:
        for entry in entries:
            verdict = judging.take(entry)
            if verdict is not None:
                yield verdict
    except Exception:
        verdict = judging.take(ResponseEnd("error", "the file ends here"))
        if verdict is not None:
            yield verdict
        raise


class Judging:
    """Takes the entries of a file, or of a body that is still coming, one by one."""

    def __init__(self, request: Mapping[str, Any] | None = None, stall_seconds: float = 10.0) -> None:
        self._request = request
        self._stall_seconds = stall_seconds
        self._running: _Response | None = None
        self._found_tools = FoundTools()

    def take(self, entry: Entry) -> Verdict | None:
        """The verdict that this entry completes."""
        if isinstance(entry, ReportedSpan):
            return _reported(entry)
        if isinstance(entry, Unread):
            return _unread(entry.title, entry.what)
        if isinstance(entry, ResponseStart):
            self._running = _Response(entry, self._request, self._stall_seconds, self._found_tools)
        elif self._running is not None and isinstance(entry, ResponseEnd):
            ended, self._running = self._running, None
            return ended.verdict(entry)
        elif self._running is not None:
            self._running.take(entry)  # type: ignore[arg-type]
        return None


class _Response:
    """One response: its chunks in, a verdict out. The first chunk that tells decides which API it is."""

    def __init__(
        self, start: ResponseStart, request: Mapping[str, Any] | None, stall_seconds: float, found_tools: FoundTools
    ) -> None:
        self._title, self._url = start.title, start.url
        self._body = start.request if start.request is not None else request
        self._stall_seconds = stall_seconds
        self._found_tools = found_tools
        self._held: list[Chunk | WholeResponse] = []
        """What came before anything told the API."""
        self._reading: _Reading | None = None
        self._what = ""
        """What it is, if it is not read."""

    def take(self, entry: Chunk | WholeResponse) -> None:
        if self._reading is not None:
            self._reading.take(entry)
            return
        if self._what:
            return
        kind = kind_of(entry.value)
        if kind is None and len(self._held) < _MOST_HELD:
            self._held.append(entry)
        elif kind is None or kind.api is None:
            self._what = (kind or UNKNOWN).name
        else:
            self._read_as(kind.api).take(entry)

    def verdict(self, end: ResponseEnd) -> Verdict:
        if self._reading is None and end.outcome != "error":
            values = [entry.value for entry in self._held]
            if not self._what and values and not any(isinstance(field(value, "choices"), list) for value in values):
                self._what = UNKNOWN.name
            if self._what:
                return _unread(self._title, self._what)
        reading = self._reading or self._read_as("chat" if self._body is None else api_of_request(self._body))
        return reading.verdict(end)

    def _read_as(self, api: Api) -> _Reading:
        self._reading = _Reading(self._title, self._body, api, self._stall_seconds, self._found_tools, self._url)
        for held in self._held:
            self._reading.take(held)
        self._held.clear()
        return self._reading


class _Reading:
    """A response that is read as one of an API."""

    def __init__(
        self,
        title: str,
        body: Mapping[str, Any] | None,
        api: Api,
        stall_seconds: float,
        found_tools: FoundTools,
        url: str = "",
    ) -> None:
        self._title = title
        self._api = api
        if body is not None and (model := model_in_path(url.partition("?")[0])) is not None:
            body = {"modelId" if api == "converse" else "model": unquote(model), "stream": "-stream" in url, **body}
        self._request: ChatRequest | None = (
            None if body is None else found_tools.complete(read_request(arguments_of(api, body), api))
        )
        self._found_tools = found_tools
        self._model = "" if self._request is None else self._request.model
        self._provider = provider_at(url)
        self._stall_seconds = stall_seconds
        self._recording = Recording(
            declared=None if self._request is None else self._request.tool_names,
        )
        self._reader = reader_of(api, self._recording, self._request)
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
            self._reader.read_response(entry.value, self._now)
            self._evidence.take(entry.value, entry.raw, 0)
            return
        longest = self._recording.max_wait_ns
        # Without times there are no waits.
        waited_from = before if self._timed else self._now
        self._reader.feed(entry.value, waited_from, self._now)
        self._evidence.take(entry.value, entry.raw, entry.offset, longest_wait=self._recording.max_wait_ns > longest)

    def verdict(self, end: ResponseEnd) -> Verdict:
        recording = self._recording
        before = self._now
        self._now = max(before, end.time_ns) if end.time_ns is not None else before + (0 if self._timed else _STEP_NS)
        recording.end(end.outcome, self._now)
        outcome, note = recording.outcome or end.outcome, end.note
        if recording.failure is not None and not note:
            note = f"an error: {recording.failure.message[:_SHOWN_OF_A_MESSAGE]}"
        case = Case(recording, self._request, self._stall_seconds, framing=end.framing, api=self._api)
        has_no_answer = outcome == "error" and not recording.choices
        anomalies = diagnose_bytes(case) if has_no_answer else diagnose(case)
        if self._request is not None:
            if outcome == "completed" and self._api == "responses":
                self._found_tools.remember(self._request, recording)
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
            [(anomaly, self._evidence.of(anomaly) or _stray(anomaly, end.framing)) for anomaly in timeline.anomalies],
            recording,
        )


def _stray(anomaly: Anomaly, framing: Framing | None) -> list[Excerpt]:
    """The line that shows an anomaly of the bytes."""
    if framing is None or anomaly.type != "invalid_framing":
        return []
    return [Excerpt(0, framing.first_stray, framing.first_stray_text)]


def _unread(title: str, what: str) -> Verdict:
    return Verdict(title, UNREAD, f"{what}; not read")


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
