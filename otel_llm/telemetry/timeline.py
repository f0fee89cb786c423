"""The events of one response, in order and as many as fit: facts and anomalies in, events out.  Pure.

A span keeps a limited number of events (128 unless configured) and drops the oldest beyond it. So what is sent is
made to fit before it is sent: adjacent argument deltas of one call are folded into one event that says how many
deltas it stands for. Only where one delta event a call is still too much are events left out, those first whose
facts another event holds too, and an anomaly says how many. Names and attributes: the telemetry contract in
docs/telemetry.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from otel_llm.diagnosis.case import Anomaly
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.tool_call import Delta, ToolCall
from otel_llm.protocol.unicode_text import exportable, join_surrogates

if TYPE_CHECKING:
    from otel_llm.protocol.choice import TagRewrite

AttributeValue = str | int

DETECTED = "otel_llm.tool_call.detected"
NAME = "otel_llm.tool_call.name"
ARGUMENTS_DELTA = "otel_llm.tool_call.arguments.delta"
COMPLETED = "otel_llm.tool_call.completed"
TEXT_STARTED = "otel_llm.text.started"
REASONING_STARTED = "otel_llm.reasoning.started"
FINISH_REASON = "otel_llm.finish_reason"
ANOMALY = "otel_llm.anomaly"
TAG_REWRITE = "otel_llm.tag_rewrite"

# What is left out first where not all fits. `completed` holds what a call's other events say, but for their times.
_LEAST_TELLING_FIRST = (
    ARGUMENTS_DELTA,
    NAME,
    TEXT_STARTED,
    REASONING_STARTED,
    TAG_REWRITE,
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
    recording: Recording, anomalies: Sequence[Anomaly], limit: int | None, preview: int | None
) -> Timeline:
    """The events of an ended recording.

    `limit`: how many events fit, None for any number. `preview`: characters of arguments to show, None for no
    arguments at all.
    """
    anomalies = list(anomalies)
    ended_ns = recording.ended_ns or recording.started_ns
    calls = recording.calls
    placed: list[_Placed] = []
    for number, call in enumerate(calls):
        for event in _life(call, preview):
            placed.append((event.time_ns, 2 if event.name == COMPLETED else 1, number, len(placed), event))
    for choice in recording.choices:
        if choice.reasoning_started_ns is not None:
            event = Event(REASONING_STARTED, choice.reasoning_started_ns, {"otel_llm.choice.index": choice.index})
            placed.append((event.time_ns, 0, 0, len(placed), event))
        if choice.text_started_ns is not None:
            event = Event(TEXT_STARTED, choice.text_started_ns, {"otel_llm.choice.index": choice.index})
            placed.append((event.time_ns, 0, 0, len(placed), event))
        for time_ns, reason in choice.finish_reasons:
            attributes: dict[str, AttributeValue] = {
                FINISH_REASON: exportable(reason),
                "otel_llm.choice.index": choice.index,
            }
            placed.append((time_ns, 3, 0, len(placed), Event(FINISH_REASON, time_ns, attributes)))
    for time_ns, rewrite in recording.rewrites:
        placed.append((time_ns, 2, 0, len(placed), _rewrite_event(rewrite, time_ns)))

    folded = [call.deltas for call in calls] if recording.streamed else []
    shown_anomalies = anomalies
    missing = 0
    total = len(placed) + sum(map(len, folded)) + len(anomalies)
    if limit is not None and total > limit:
        folded = _fold_to_fit(folded, limit - len(placed) - len(anomalies), recording.preview)
        delta_events = sum(map(len, folded))
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
    coalesced = 0
    for number, deltas in enumerate(folded):
        call = calls[number]
        coalesced += call.delta_count - len(deltas)
        made = len(placed)
        placed += [
            (event.time_ns, 1, number, made + place, event)
            for place, event in enumerate(_delta_events(call, deltas, preview))
        ]
    for anomaly in shown_anomalies:
        placed.append((ended_ns, 4, 0, len(placed), _anomaly_event(anomaly, ended_ns)))
    if missing:
        placed = _leave_out(placed, missing)
    placed.sort()
    return Timeline([entry[-1] for entry in placed], coalesced, anomalies)


# An event and its place: its time, and among those of one chunk its group (what ends things behind), its call, and the
# order in which it was made, which is unique.
_Placed = tuple[int, int, int, int, Event]


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


def _delta_events(call: ToolCall, deltas: Sequence[Delta], preview: int | None) -> list[Event]:
    choice_index, call_index = call.choice_index, call.index
    events: list[Event] = []
    for time_ns, stands_for, text, length in deltas:
        attributes: dict[str, AttributeValue] = {
            "otel_llm.choice.index": choice_index,
            "otel_llm.tool_call.index": call_index,
            "otel_llm.delta.count": stands_for,
            "otel_llm.arguments.length": length,
        }
        if preview is not None:
            attributes["gen_ai.tool.call.arguments"] = text[:preview] if text.isascii() else _shown(text, preview)
        events.append(Event(ARGUMENTS_DELTA, time_ns, attributes))
    return events


def _shown(arguments: str, preview: int) -> str:
    # Cut twice: the first time so that little is worked on, the second because escapes are longer.
    return exportable(join_surrogates(arguments[: 2 * preview])[:preview])[:preview]


def _rewrite_event(rewrite: TagRewrite, time_ns: int) -> Event:
    attributes: dict[str, AttributeValue] = {
        "otel_llm.choice.index": rewrite.choice_index,
        "otel_llm.tag_rewrite.format": rewrite.format,
        "otel_llm.tag_rewrite.length": rewrite.length,
        "otel_llm.tag_rewrite.target": exportable(rewrite.target),
    }
    if rewrite.name is not None:
        attributes["gen_ai.tool.name"] = exportable(rewrite.name)
    return Event(TAG_REWRITE, time_ns, attributes)


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
    """Fold each call's deltas so that all of them fit `room`, but never to less than one a call.

    What must be folded is folded to half the room: sending costs half as much, the timeline still has its shape, and
    the span has room for what others note on it.
    """
    total = sum(map(len, calls))
    if total <= room:
        return calls
    room //= 2
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
        if len(group) == 1:
            groups.append(group[0])
            continue
        text = ""
        for delta in group:
            if len(text) >= preview:
                break
            text += delta.text
        count = sum(delta.stands_for for delta in group)
        groups.append(Delta(group[0].time_ns, count, text[:preview], group[-1].length))
    return groups


def _leave_out(placed: list[_Placed], number: int) -> list[_Placed]:
    """Without the `number` least telling events, of equals the last made."""
    ranked = sorted(placed, key=lambda entry: (_LEAST_TELLING_FIRST.index(entry[4].name), -entry[3]))
    return ranked[number:]
