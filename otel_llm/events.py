"""The events of one response, in order and as many as fit: facts and anomalies in, events out.  Pure.

A span keeps a limited number of events (128 unless configured) and drops the oldest beyond it. So what is sent is
made to fit before it is sent: adjacent argument deltas of one call are folded into one event that says how many
deltas it stands for. Only where one delta event a call is still too much are events left out, those first whose
facts another event holds too, and an anomaly says how many. Names and attributes: the telemetry contract in
docs/telemetry.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from otel_llm.diagnosis import Anomaly
from otel_llm.recording import Choice, Delta, Recording, ToolCall
from otel_llm.unicode_text import exportable, join_surrogates

AttributeValue = str | int

DETECTED = "otel_llm.tool_call.detected"
NAME = "otel_llm.tool_call.name"
ARGUMENTS_DELTA = "otel_llm.tool_call.arguments.delta"
COMPLETED = "otel_llm.tool_call.completed"
TEXT_STARTED = "otel_llm.text.started"
REASONING_STARTED = "otel_llm.reasoning.started"
FINISH_REASON = "otel_llm.finish_reason"
ANOMALY = "otel_llm.anomaly"

# What is left out first where not all fits. `completed` holds what a call's other events say, but for their times.
_LEAST_TELLING_FIRST = (
    ARGUMENTS_DELTA,
    NAME,
    TEXT_STARTED,
    REASONING_STARTED,
    DETECTED,
    COMPLETED,
    FINISH_REASON,
    ANOMALY,
)


class Event(NamedTuple):
    """An event at `time_ns` of the recording's clock."""

    name: str
    time_ns: int
    attributes: dict[str, AttributeValue]


class Timeline(NamedTuple):
    """`coalesced`: deltas folded into another's event. `anomalies`: those given, and one if events were left out."""

    events: list[Event]
    coalesced: int
    anomalies: list[Anomaly]


def build_timeline(
    recording: Recording, anomalies: Sequence[Anomaly], *, limit: int | None, preview: int | None
) -> Timeline:
    """The events of an ended recording.

    `limit`: how many events fit, None for any number. `preview`: characters of arguments to show, None for no
    arguments at all.
    """
    anomalies = list(anomalies)
    ended_ns = recording.ended_ns or recording.started_ns
    placed: list[_Placed] = []
    for number, call in enumerate(recording.calls):
        placed.extend(_Placed(event, _group(event), number) for event in _life(call, preview))
    placed.extend(_Placed(event, _group(event)) for choice in recording.choices for event in _marks(choice))

    calls = recording.calls if recording.streamed else []
    folded = [call.deltas for call in calls]
    shown_anomalies = anomalies
    missing = 0
    if limit is not None:
        folded = _fold_to_fit(folded, limit - len(placed) - len(anomalies), recording.preview)
        delta_events = sum(len(deltas) for deltas in folded)
        total = len(placed) + delta_events + len(anomalies)
        if total > limit:
            missing = total + 1 - limit
            lost = Anomaly("limit_exceeded", f"{missing} of {total} events did not fit the span's {limit}")
            # Deltas go first; then thousands of anomalies must not push out the life of the calls.
            spare = max(0, len(anomalies) - max(8, limit // 4))
            unshown = min(spare, max(0, missing - delta_events))
            shown_anomalies = [*_first_of_each_type(anomalies, len(anomalies) - unshown), lost]
            missing -= unshown
            anomalies = [*anomalies, lost]
    for number, (call, deltas) in enumerate(zip(calls, folded, strict=True)):
        placed.extend(_Placed(_delta_event(call, delta, preview), 1, number) for delta in deltas)
    placed.extend(_Placed(_anomaly_event(anomaly, ended_ns), 4) for anomaly in shown_anomalies)
    placed = _leave_out(placed, missing)
    placed.sort(key=lambda entry: (entry.event.time_ns, entry.group, entry.call))
    coalesced = sum(call.delta_count for call in calls) - sum(len(deltas) for deltas in folded)
    return Timeline([entry.event for entry in placed], coalesced, anomalies)


class _Placed(NamedTuple):
    """An event and its place among those of the same chunk: call by call, what ends things behind."""

    event: Event
    group: int
    call: int = 0


def _group(event: Event) -> int:
    return {COMPLETED: 2, FINISH_REASON: 3, TEXT_STARTED: 0, REASONING_STARTED: 0}.get(event.name, 1)


def _marks(choice: Choice) -> Iterator[Event]:
    for name, time_ns in (
        (REASONING_STARTED, choice.reasoning_started_ns),
        (TEXT_STARTED, choice.text_started_ns),
    ):
        if time_ns is not None:
            yield Event(name, time_ns, {"otel_llm.choice.index": choice.index})
    for time_ns, reason in choice.finish_reasons:
        yield Event(FINISH_REASON, time_ns, {FINISH_REASON: exportable(reason), "otel_llm.choice.index": choice.index})


def _indexes(call: ToolCall) -> dict[str, AttributeValue]:
    return {"otel_llm.choice.index": call.choice_index, "otel_llm.tool_call.index": call.index}


def _life(call: ToolCall, preview: int | None) -> list[Event]:
    detected = _indexes(call)
    if call.id is not None:
        detected["gen_ai.tool.call.id"] = exportable(call.id)
    life = [Event(DETECTED, call.first_delta_ns, detected)]
    if call.name is not None:
        named = _indexes(call) | {"gen_ai.tool.name": exportable(call.name)}
        life.append(Event(NAME, call.named_ns or call.first_delta_ns, named))
    if call.completed_ns is not None:
        completed = {key: value for event in life for key, value in event.attributes.items()}
        if preview is not None:
            completed["gen_ai.tool.call.arguments"] = _shown(call.arguments, preview)
        completed["otel_llm.arguments.length"] = call.length
        completed["otel_llm.delta.count"] = call.delta_count
        life.append(Event(COMPLETED, call.completed_ns, completed))
    return life


def _delta_event(call: ToolCall, delta: Delta, preview: int | None) -> Event:
    attributes = _indexes(call)
    if preview is not None:
        attributes["gen_ai.tool.call.arguments"] = _shown(delta.text, preview)
    attributes["otel_llm.delta.count"] = delta.stands_for
    attributes["otel_llm.arguments.length"] = delta.length
    return Event(ARGUMENTS_DELTA, delta.time_ns, attributes)


def _shown(arguments: str, preview: int) -> str:
    # Cut twice: the first time so that little is worked on, the second because escapes are longer.
    return exportable(join_surrogates(arguments[: 2 * preview])[:preview])[:preview]


def _anomaly_event(anomaly: Anomaly, time_ns: int) -> Event:
    attributes: dict[str, AttributeValue] = {
        "otel_llm.anomaly.type": anomaly.type,
        "otel_llm.anomaly.detail": exportable(anomaly.detail),
    }
    if anomaly.choice_index is not None:
        attributes["otel_llm.choice.index"] = anomaly.choice_index
    if anomaly.tool_call_index is not None:
        attributes["otel_llm.tool_call.index"] = anomaly.tool_call_index
    return Event(ANOMALY, time_ns, attributes)


def _first_of_each_type(anomalies: Sequence[Anomaly], most: int) -> list[Anomaly]:
    """At most `most` anomalies, the first of every type before the second of any."""
    if len(anomalies) <= most:
        return list(anomalies)
    seen: Counter[str] = Counter()
    ranked = []
    for anomaly in anomalies:
        ranked.append((seen[anomaly.type], anomaly))
        seen[anomaly.type] += 1
    ranked.sort(key=lambda entry: entry[0])
    return [anomaly for _, anomaly in ranked[:most]]


def _fold_to_fit(calls: list[list[Delta]], room: int, preview: int) -> list[list[Delta]]:
    """Fold each call's deltas so that all of them fit `room`, but never to less than one a call."""
    total = sum(len(deltas) for deltas in calls)
    if total <= room:
        return calls
    counted = sum(1 for deltas in calls if deltas)
    extra = max(0, room - counted)
    foldable = total - counted
    return [
        _fold_to(deltas, 1 + extra * (len(deltas) - 1) // foldable, preview) if len(deltas) > 1 else deltas
        for deltas in calls
    ]


def _fold_to(deltas: list[Delta], number: int, preview: int) -> list[Delta]:
    """Fold neighbours into `number` groups of nearly equal size."""
    groups = []
    for position in range(number):
        group = deltas[len(deltas) * position // number : len(deltas) * (position + 1) // number]
        text = ""
        for delta in group:
            if len(text) >= preview:
                break
            text += delta.text
        count = sum(delta.stands_for for delta in group)
        groups.append(Delta(group[0].time_ns, count, text[:preview], group[-1].length))
    return groups


def _leave_out(placed: list[_Placed], number: int) -> list[_Placed]:
    if number <= 0:
        return placed
    ranked = sorted(
        range(len(placed)), key=lambda place: (_LEAST_TELLING_FIRST.index(placed[place].event.name), -place)
    )
    dropped = set(ranked[:number])
    return [entry for place, entry in enumerate(placed) if place not in dropped]
