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
from otel_llm.telemetry.semconv import (
    EVENT_ANOMALY,
    EVENT_FINISH_REASON,
    EVENT_REASONING_STARTED,
    EVENT_TAG_REWRITE,
    EVENT_TEXT_STARTED,
    EVENT_TOOL_CALL_ARGUMENTS_DELTA,
    EVENT_TOOL_CALL_COMPLETED,
    EVENT_TOOL_CALL_DETECTED,
    EVENT_TOOL_CALL_NAME,
    GEN_AI_TOOL_CALL_ARGUMENTS,
    GEN_AI_TOOL_CALL_ID,
    GEN_AI_TOOL_NAME,
    OTEL_LLM_ANOMALY_DETAIL,
    OTEL_LLM_ANOMALY_TYPE,
    OTEL_LLM_ARGUMENTS_LENGTH,
    OTEL_LLM_CHOICE_INDEX,
    OTEL_LLM_DELTA_COUNT,
    OTEL_LLM_FINISH_REASON,
    OTEL_LLM_TAG_REWRITE_FORMAT,
    OTEL_LLM_TAG_REWRITE_LENGTH,
    OTEL_LLM_TAG_REWRITE_TARGET,
    OTEL_LLM_TOOL_CALL_INDEX,
)

if TYPE_CHECKING:
    from otel_llm.protocol.choice import TagRewrite

AttributeValue = str | int

# What is left out first where not all fits. `completed` holds what a call's other events say, but for their times.
_LEAST_TELLING_FIRST = (
    EVENT_TOOL_CALL_ARGUMENTS_DELTA,
    EVENT_TOOL_CALL_NAME,
    EVENT_TEXT_STARTED,
    EVENT_REASONING_STARTED,
    EVENT_TAG_REWRITE,
    EVENT_TOOL_CALL_DETECTED,
    EVENT_TOOL_CALL_COMPLETED,
    EVENT_FINISH_REASON,
    EVENT_ANOMALY,
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
            placed.append(
                (event.time_ns, 2 if event.name == EVENT_TOOL_CALL_COMPLETED else 1, number, len(placed), event)
            )
    for choice in recording.choices:
        if choice.reasoning_started_ns is not None:
            event = Event(EVENT_REASONING_STARTED, choice.reasoning_started_ns, {OTEL_LLM_CHOICE_INDEX: choice.index})
            placed.append((event.time_ns, 0, 0, len(placed), event))
        if choice.text_started_ns is not None:
            event = Event(EVENT_TEXT_STARTED, choice.text_started_ns, {OTEL_LLM_CHOICE_INDEX: choice.index})
            placed.append((event.time_ns, 0, 0, len(placed), event))
        for time_ns, reason in choice.finish_reasons:
            attributes: dict[str, AttributeValue] = {
                OTEL_LLM_FINISH_REASON: exportable(reason),
                OTEL_LLM_CHOICE_INDEX: choice.index,
            }
            placed.append((time_ns, 3, 0, len(placed), Event(EVENT_FINISH_REASON, time_ns, attributes)))
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
    return {OTEL_LLM_CHOICE_INDEX: call.choice_index, OTEL_LLM_TOOL_CALL_INDEX: call.index}


def _life(call: ToolCall, preview: int | None) -> list[Event]:
    detected = _indexes(call)
    if call.id is not None:
        detected[GEN_AI_TOOL_CALL_ID] = exportable(call.id)
    life = [Event(EVENT_TOOL_CALL_DETECTED, call.first_delta_ns, detected)]
    if call.name is not None:
        named = _indexes(call) | {GEN_AI_TOOL_NAME: exportable(call.name)}
        life.append(Event(EVENT_TOOL_CALL_NAME, call.named_ns or call.first_delta_ns, named))
    if call.completed_ns is not None:
        completed = {key: value for event in life for key, value in event.attributes.items()}
        if preview is not None:
            completed[GEN_AI_TOOL_CALL_ARGUMENTS] = _shown(call.arguments, preview)
        completed[OTEL_LLM_ARGUMENTS_LENGTH] = call.length
        completed[OTEL_LLM_DELTA_COUNT] = call.delta_count
        life.append(Event(EVENT_TOOL_CALL_COMPLETED, call.completed_ns, completed))
    return life


def _delta_events(call: ToolCall, deltas: Sequence[Delta], preview: int | None) -> list[Event]:
    choice_index, call_index = call.choice_index, call.index
    events: list[Event] = []
    for time_ns, stands_for, text, length in deltas:
        attributes: dict[str, AttributeValue] = {
            OTEL_LLM_CHOICE_INDEX: choice_index,
            OTEL_LLM_TOOL_CALL_INDEX: call_index,
            OTEL_LLM_DELTA_COUNT: stands_for,
            OTEL_LLM_ARGUMENTS_LENGTH: length,
        }
        if preview is not None:
            attributes[GEN_AI_TOOL_CALL_ARGUMENTS] = text[:preview] if text.isascii() else _shown(text, preview)
        events.append(Event(EVENT_TOOL_CALL_ARGUMENTS_DELTA, time_ns, attributes))
    return events


def _shown(arguments: str, preview: int) -> str:
    # Cut twice: the first time so that little is worked on, the second because escapes are longer.
    return exportable(join_surrogates(arguments[: 2 * preview])[:preview])[:preview]


def _rewrite_event(rewrite: TagRewrite, time_ns: int) -> Event:
    attributes: dict[str, AttributeValue] = {
        OTEL_LLM_CHOICE_INDEX: rewrite.choice_index,
        OTEL_LLM_TAG_REWRITE_FORMAT: rewrite.format,
        OTEL_LLM_TAG_REWRITE_LENGTH: rewrite.length,
        OTEL_LLM_TAG_REWRITE_TARGET: exportable(rewrite.target),
    }
    if rewrite.name is not None:
        attributes[GEN_AI_TOOL_NAME] = exportable(rewrite.name)
    return Event(EVENT_TAG_REWRITE, time_ns, attributes)


def _anomaly_event(anomaly: Anomaly, time_ns: int) -> Event:
    attributes: dict[str, AttributeValue] = {
        OTEL_LLM_ANOMALY_TYPE: anomaly.type,
        OTEL_LLM_ANOMALY_DETAIL: exportable(anomaly.detail),
    }
    if anomaly.choice_index is not None:
        attributes[OTEL_LLM_CHOICE_INDEX] = anomaly.choice_index
    if anomaly.tool_call_index is not None:
        attributes[OTEL_LLM_TOOL_CALL_INDEX] = anomaly.tool_call_index
    return Event(EVENT_ANOMALY, time_ns, attributes)


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
