"""The events of one response, in order and within the span's limit: facts and anomalies in, events out.  Pure.

A span keeps a limited number of events (128 unless configured) and drops the oldest beyond it. So the events are made
to fit before they are sent: adjacent argument deltas of one call are folded into one event, which says how many deltas
it stands for. Only if one delta event per call is still too much are events omitted, first those whose facts another
event repeats, and an anomaly says how many.
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
    from otel_llm.protocol.choice import Choice, TagRewrite
    from otel_llm.telemetry.redaction import RedactedArguments, Redaction

# Makes a named tuple in half the time of its own constructor. There may be as many deltas as the limit allows.
_new = tuple.__new__
AttributeValue = str | int

# Omitted in this order if even folded deltas do not fit: `completed` repeats all facts of a call's other events but
# their times.
_OMITTED_FIRST = (
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
    """`coalesced`: deltas folded into another delta's event. `anomalies`: those given, and `limit_exceeded` if events
    were omitted. `repeated_calls`: see `otel_llm.conversation.repeated_calls`.
    """

    events: list[Event]
    coalesced: int
    anomalies: list[Anomaly]
    repeated_calls: int = 0


# An event behind its sort key: its time, its rank among the events of one chunk, the number of its call, and the order
# of creation, which is unique, so that events are never compared.
_Entry = tuple[int, int, int, int, Event]
_STARTED, _IN_CALL, _COMPLETED, _FINISHED, _DIAGNOSED = range(5)


class _Fitted(NamedTuple):
    """What is sent of deltas and anomalies so that a limit is kept."""

    deltas: list[list[Delta]]
    """Of each call, folded where necessary."""
    shown: list[Anomaly]
    """The anomalies that get an event."""
    lost: list[Anomaly]
    """One that says how many events are omitted, if any."""
    omitted: int
    """How many of the other events must be omitted."""


def build_timeline(
    recording: Recording,
    anomalies: Sequence[Anomaly],
    limit: int | None,
    preview: int | None,
    delta_limit: int | None = None,
    redaction: Redaction | None = None,
) -> Timeline:
    """The events of an ended recording.

    `limit`: how many events fit, None for any number. `preview`: characters of arguments to show, None for no
    arguments at all. `delta_limit`: how many events of deltas there may be at most. `redaction`: of arguments.
    """
    calls = recording.calls
    entries: list[_Entry] = []
    redacted: list[RedactedArguments] = []
    if redaction is not None and preview is not None:
        redacted = [redaction.arguments(call.arguments) for call in calls]
    for number, call in enumerate(calls):
        _add_call(entries, number, call, redacted[number].whole if redacted else call.arguments, preview)
    for choice in recording.choices:
        _add_choice(entries, choice)
    for time_ns, rewrite in recording.rewrites:
        _add_rewrite(entries, time_ns, rewrite)

    deltas = [call.deltas for call in calls] if recording.streamed else []
    if delta_limit is not None:
        deltas = _at_most(deltas, delta_limit, recording.preview)
    anomalies = shown = list(anomalies)
    omitted = 0
    if limit is not None and len(entries) + sum(map(len, deltas)) + len(anomalies) > limit:
        deltas, shown, lost, omitted = _fit(deltas, anomalies, len(entries), limit, recording.preview)
        anomalies += lost

    coalesced = 0
    for number, sent in enumerate(deltas):
        coalesced += calls[number].delta_count - len(sent)
        shown_deltas = _redact(sent, redacted[number]) if redacted else sent
        _add_deltas(entries, number, calls[number], shown_deltas, preview)
    ended_ns = recording.ended_ns or recording.started_ns
    for anomaly in shown:
        detail = anomaly.detail if redaction is None else redaction.text(anomaly.detail)
        _add_anomaly(entries, ended_ns, anomaly, detail)
    if omitted:
        entries = _omit(entries, omitted)
    entries.sort()
    return Timeline([entry[-1] for entry in entries], coalesced, anomalies)


# -- events of what happened --


def _add_call(entries: list[_Entry], number: int, call: ToolCall, arguments: str, preview: int | None) -> None:
    """The life of a call, without its deltas. `arguments`: what may be shown of them."""
    indexes: dict[str, AttributeValue] = {
        OTEL_LLM_CHOICE_INDEX: call.choice_index,
        OTEL_LLM_TOOL_CALL_INDEX: call.index,
    }
    facts = indexes.copy()
    time_ns = call.first_delta_ns
    if call.id is not None:
        facts[GEN_AI_TOOL_CALL_ID] = exportable(call.id)
    entries.append((time_ns, _IN_CALL, number, len(entries), Event(EVENT_TOOL_CALL_DETECTED, time_ns, facts)))
    if call.name is not None:
        indexes[GEN_AI_TOOL_NAME] = exportable(call.name)
        time_ns = call.named_ns or time_ns
        entries.append((time_ns, _IN_CALL, number, len(entries), Event(EVENT_TOOL_CALL_NAME, time_ns, indexes)))
    if call.completed_ns is not None:
        facts = facts | indexes
        if preview is not None:
            facts[GEN_AI_TOOL_CALL_ARGUMENTS] = _preview(arguments, preview)
        facts[OTEL_LLM_ARGUMENTS_LENGTH] = call.length
        facts[OTEL_LLM_DELTA_COUNT] = call.delta_count
        time_ns = call.completed_ns
        entries.append((time_ns, _COMPLETED, number, len(entries), Event(EVENT_TOOL_CALL_COMPLETED, time_ns, facts)))


def _add_deltas(
    entries: list[_Entry], number: int, call: ToolCall, deltas: Sequence[Delta], preview: int | None
) -> None:
    choice_index, call_index = call.choice_index, call.index
    for time_ns, stands_for, text, length in deltas:
        attributes: dict[str, AttributeValue] = {
            OTEL_LLM_CHOICE_INDEX: choice_index,
            OTEL_LLM_TOOL_CALL_INDEX: call_index,
            OTEL_LLM_DELTA_COUNT: stands_for,
            OTEL_LLM_ARGUMENTS_LENGTH: length,
        }
        if preview is not None:
            attributes[GEN_AI_TOOL_CALL_ARGUMENTS] = text[:preview] if text.isascii() else _preview(text, preview)
        event = _new(Event, (EVENT_TOOL_CALL_ARGUMENTS_DELTA, time_ns, attributes))
        entries.append((time_ns, _IN_CALL, number, len(entries), event))


def _redact(deltas: Sequence[Delta], arguments: RedactedArguments) -> list[Delta]:
    redacted, start = [], 0
    for delta in deltas:
        redacted.append(delta._replace(text=arguments.piece(delta.text, start)))
        start = delta.length
    return redacted


def _preview(arguments: str, preview: int) -> str:
    # Cut twice: first to bound the work, then because escapes are longer.
    return exportable(join_surrogates(arguments[: 2 * preview])[:preview])[:preview]


def _add_choice(entries: list[_Entry], choice: Choice) -> None:
    time_ns = choice.reasoning_started_ns
    if time_ns is not None:
        event = Event(EVENT_REASONING_STARTED, time_ns, {OTEL_LLM_CHOICE_INDEX: choice.index})
        entries.append((time_ns, _STARTED, 0, len(entries), event))
    time_ns = choice.text_started_ns
    if time_ns is not None:
        event = Event(EVENT_TEXT_STARTED, time_ns, {OTEL_LLM_CHOICE_INDEX: choice.index})
        entries.append((time_ns, _STARTED, 0, len(entries), event))
    for time_ns, reason in choice.finish_reasons:
        attributes: dict[str, AttributeValue] = {
            OTEL_LLM_FINISH_REASON: exportable(reason),
            OTEL_LLM_CHOICE_INDEX: choice.index,
        }
        entries.append((time_ns, _FINISHED, 0, len(entries), Event(EVENT_FINISH_REASON, time_ns, attributes)))


def _add_rewrite(entries: list[_Entry], time_ns: int, rewrite: TagRewrite) -> None:
    attributes: dict[str, AttributeValue] = {
        OTEL_LLM_CHOICE_INDEX: rewrite.choice_index,
        OTEL_LLM_TAG_REWRITE_FORMAT: rewrite.format,
        OTEL_LLM_TAG_REWRITE_LENGTH: rewrite.length,
        OTEL_LLM_TAG_REWRITE_TARGET: exportable(rewrite.target),
    }
    if rewrite.name is not None:
        attributes[GEN_AI_TOOL_NAME] = exportable(rewrite.name)
    entries.append((time_ns, _COMPLETED, 0, len(entries), Event(EVENT_TAG_REWRITE, time_ns, attributes)))


def _add_anomaly(entries: list[_Entry], time_ns: int, anomaly: Anomaly, detail: str) -> None:
    """`detail`: what may be shown of the anomaly's."""
    attributes: dict[str, AttributeValue] = {
        OTEL_LLM_ANOMALY_TYPE: anomaly.type,
        OTEL_LLM_ANOMALY_DETAIL: exportable(detail),
    }
    if anomaly.choice_index is not None:
        attributes[OTEL_LLM_CHOICE_INDEX] = anomaly.choice_index
    if anomaly.tool_call_index is not None:
        attributes[OTEL_LLM_TOOL_CALL_INDEX] = anomaly.tool_call_index
    entries.append((time_ns, _DIAGNOSED, 0, len(entries), Event(EVENT_ANOMALY, time_ns, attributes)))


# -- as many as fit --


def _fit(deltas: list[list[Delta]], anomalies: list[Anomaly], others: int, limit: int, preview: int) -> _Fitted:
    """Fold deltas, and choose anomalies, so that they fit `limit` beside `others` events."""
    deltas = _fold_to_fit(deltas, limit - others - len(anomalies), preview)
    delta_events = sum(map(len, deltas))
    total = others + delta_events + len(anomalies)
    if total <= limit:
        return _Fitted(deltas, anomalies, [], 0)
    missing = total + 1 - limit
    lost = Anomaly("limit_exceeded", f"{missing} of {total} events did not fit the span's {limit}")
    # Deltas are omitted first. Thousands of anomalies must not displace the events of the calls.
    spare = max(0, len(anomalies) - max(8, limit // 4))
    unshown = min(spare, max(0, missing - delta_events))
    shown = [*_first_of_each_type(anomalies, len(anomalies) - unshown), lost]
    return _Fitted(deltas, shown, [lost], missing - unshown)


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


def _at_most(calls: list[list[Delta]], limit: int, preview: int) -> list[list[Delta]]:
    """Fold each call's deltas to `limit` in all. Of more calls than that, only the first ones keep one."""
    total = sum(map(len, calls))
    if total <= limit:
        return calls
    room = limit
    folded: list[list[Delta]] = []
    behind = sum(1 for deltas in calls if deltas)
    for deltas in calls:
        behind -= bool(deltas)
        # Each call gets its share of the room, and leaves one event to each call behind it.
        share = max(1, min(room * len(deltas) // max(total, 1), room - behind))
        folded.append(_fold_to(deltas, min(share, room), preview) if deltas else deltas)
        room -= len(folded[-1])
        total -= len(deltas)
    return folded


def _fold_to_fit(calls: list[list[Delta]], room: int, preview: int) -> list[list[Delta]]:
    """Fold each call's deltas until all of them fit `room`, but never to less than one event per call.

    If folding is necessary, deltas take half the room: that halves the cost of sending, keeps the shape of the
    timeline, and leaves room for events that others add to the span.
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


def _omit(entries: list[_Entry], number: int) -> list[_Entry]:
    """All but `number` entries: the first of `_OMITTED_FIRST`, and of one kind those created last."""
    ranked = sorted(entries, key=lambda entry: (_OMITTED_FIRST.index(entry[4].name), -entry[3]))
    return ranked[number:]
