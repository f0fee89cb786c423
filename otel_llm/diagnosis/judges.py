"""The judges: facts about one response and its request in, anomalies out.  Pure.

How they judge:

- At the end of the response, choice by choice, on the joined deltas. Each judge is a generator of faults; a new anomaly
  is a new judge.
- Nothing is reported that further chunks could have corrected. If a stream was stopped before a choice had its finish
  reason, what the choice lacks is nobody's fault. If the server ended the stream, everything is judged.
- If a choice ends with `length`, `content_filter` or `error` while a call's arguments are not one whole value, the call
  is `truncated`, and nothing that it lacks is reported. Contradictions are reported however a choice ends.
- The arguments of a call are exactly one of: nothing, one object, one other value, several values, not JSON. Only the
  matching type is reported.
- A detail names positions, lengths, ids and names. It never repeats arguments, whose capture may be switched off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from otel_llm.diagnosis import schemas
from otel_llm.diagnosis.case import Anomaly, Case
from otel_llm.protocol import json_values
from otel_llm.protocol.choice import CUTTING_FINISH_REASONS, Choice
from otel_llm.protocol.json_values import Shape
from otel_llm.protocol.request import ChatRequest
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.protocol.unicode_text import ends_with_half, has_lone_surrogate, one_line

CALLING_FINISH_REASONS = frozenset({"tool_calls", "function_call"})


class Fault(NamedTuple):
    """What a judge yields. A judge of a choice sets `tool_call_index` if the fault is one call's."""

    type: str
    detail: str
    tool_call_index: int | None = None


def diagnose_request(request: ChatRequest) -> list[Anomaly]:
    """What is wrong with the tool results in a request. A server may refuse the request because of it."""
    turn = request.turn
    if turn is None:
        return []
    found = []
    # Even if the call is known to have been made: the server sees only the conversation that it is sent.
    where = "conversation that was sent" if turn.previous_response is None else "response before"
    for call in turn.without_call:
        lacks = f"{_shown(call)} is the id of no call in the {where}" if call else "it does not say of which call"
        found.append(Anomaly("result_without_call", f"a result, but {lacks}"))
    found += [Anomaly("unanswered_call", f"{_shown(call)} has no result") for call in turn.unanswered]
    found += [Anomaly("duplicate_result", f"{_shown(call)} has a result already") for call in turn.repeated]
    return found


def diagnose(case: Case) -> list[Anomaly]:
    """All anomalies of one response: those of the stream, then those of its choices and calls."""
    found: list[Anomaly] = []
    for judge in STREAM_JUDGES:
        _ask(judge, (case,), found)
    for choice in case.recording.choices:
        for choice_judge in CHOICE_JUDGES:
            _ask(choice_judge, (case, choice), found, choice.index)
        if not choice.call_count:
            continue
        for choice_judge in CALLING_CHOICE_JUDGES:
            _ask(choice_judge, (case, choice), found, choice.index)
        for call in choice.calls:
            for call_judge in CALL_JUDGES:
                _ask(call_judge, (case, choice, call), found, choice.index, call.index)
    return found


def _ask(
    judge: Callable[..., Iterator[Fault]],
    about: tuple[Case, ...] | tuple[Case, Choice] | tuple[Case, Choice, ToolCall],
    found: list[Anomaly],
    choice_index: int | None = None,
    call_index: int | None = None,
) -> None:
    """Add the findings of one judge. A judge that raises does not silence the others."""
    try:
        for type_, detail, of_call in judge(*about):
            found.append(Anomaly(type_, detail, choice_index, call_index if of_call is None else of_call))
    except Exception as error:
        on_fault = about[0].on_fault
        if on_fault is None:
            raise
        on_fault(f"the judge of {judge.__name__}", error)


# One call -----------------------------------------------------------------------------------------------------


def arguments(case: Case, choice: Choice, call: ToolCall) -> Iterator[Fault]:
    if call.arguments_not_string is not None:
        yield Fault(
            "arguments_not_string",
            f"arguments came as {call.arguments_not_string}, not as a string",
        )
    if call.exceeds_limit:
        return
    if case.settled(choice) and case.is_truncated(choice, call):
        yield Fault("truncated", f"{choice.finish_reason} after {call.length} characters of arguments")
        return
    if case.is_free_text(call) or not case.settled(choice):
        return
    reading = case.reading(call)
    if reading.shape is Shape.INVALID:
        yield Fault("invalid_json", reading.error)
    elif reading.shape is Shape.SEVERAL:
        yield Fault("arguments_duplicated", f"several JSON values in {call.length} characters")
    elif reading.shape is Shape.OTHER:
        yield Fault("arguments_not_object", f"arguments are {_json_type(reading.value)}")
    elif reading.shape is Shape.NOTHING:
        tool = case.tool(call)
        if tool is not None and tool.requires_arguments:
            yield Fault("empty_arguments", f"{_shown(tool.name)} requires parameters")


def schema(case: Case, choice: Choice, call: ToolCall) -> Iterator[Fault]:
    tool = case.tool(call)
    if tool is None or tool.parameters is None or call.exceeds_limit or case.is_free_text(call):
        return
    if not case.judged_whole(choice, call):
        return
    reading = case.reading(call)
    if reading.shape is not Shape.OBJECT:
        return
    try:
        broken = schemas.violation(tool.name, tool.parameters, reading.value)
    except schemas.TooDeepError:
        yield Fault("limit_exceeded", "arguments are nested too deep to be checked against the schema")
        return
    if broken is not None:
        where = f" at {one_line(broken)}" if broken else ""
        yield Fault("schema_violation", f"against the schema of {_shown(tool.name)}{where}")


def identity(case: Case, choice: Choice, call: ToolCall) -> Iterator[Fault]:
    whole = case.judged_whole(choice, call)
    if call.name is None and whole:
        yield Fault("missing_name", "no name came")
    if call.id is None and whole and call.kind not in {"legacy", "text"}:
        yield Fault("missing_id", "no id came")
    if call.other_names:
        yield Fault("name_changed", f"{_shown(call.name)}, then {_listed(call.other_names)}")
    if call.other_ids:
        yield Fault("id_changed", f"{_shown(call.id)}, then {_listed(call.other_ids)}")
    if call.index_reused:
        yield Fault(
            "index_reused",
            f"{_shown(call.id)} begins at index {call.index}, which was in use",
        )


def declared(case: Case, choice: Choice, call: ToolCall) -> Iterator[Fault]:
    names = case.recording.declared
    if names is None or call.name is None or call.name in names or case.name_may_become(choice, call, names):
        return
    yield Fault("unknown_tool", f"{_shown(call.name)} is none of {len(names)} declared tools")


def unicode(case: Case, choice: Choice, call: ToolCall) -> Iterator[Fault]:
    fields = {"name": call.name or "", "id": call.id or "", "arguments": call.arguments}
    if not case.judged_whole(choice, call) or call.over_long_label:
        # The other half may have been in the next delta, or beyond the length that is kept.
        fields = {name: text[:-1] if ends_with_half(text) else text for name, text in fields.items()}
    wrong = [name for name, text in fields.items() if has_lone_surrogate(text)]
    may_be_escaped = "\\u" in call.arguments and not call.exceeds_limit and not case.is_free_text(call)
    # An escape only has a meaning in valid JSON.
    if may_be_escaped and "arguments" not in wrong and _holds_lone_surrogate(case.reading(call).value):
        wrong.append("arguments")
    if wrong:
        yield Fault("invalid_unicode", f"half a surrogate pair in {' and '.join(wrong)}")


def call_limits(case: Case, choice: Choice, call: ToolCall) -> Iterator[Fault]:
    if call.exceeds_limit:
        kept = len(call.arguments)
        yield Fault(
            "limit_exceeded",
            f"{call.length} characters of arguments, of which {kept} were kept to be judged",
        )
    elif case.judged_whole(choice, call) and case.is_too_deep(call):
        yield Fault("limit_exceeded", "arguments are nested too deep to be read")
    if call.over_long_label:
        yield Fault("limit_exceeded", "a name or id longer than what is kept")


# One choice ---------------------------------------------------------------------------------------------------


def _speaks_of_a_call(reason: str) -> bool:
    """Whether a finish reason implies a call, in the API's words or in a gateway's.

    A gateway reports a lost call as `function_call_filter: MALFORMED_FUNCTION_CALL`.
    """
    word = reason.lower()
    return "tool_call" in word or "function_call" in word


def finish_reason(case: Case, choice: Choice) -> Iterator[Fault]:
    reason = choice.finish_reason
    if reason is None:
        if case.recording.outcome == "completed":
            yield Fault("missing_finish_reason", "the response ended without one")
        return
    # The server does not see calls that stay text, and answers `stop`.
    count = choice.call_count
    if count:
        count -= choice.over_text_calls + sum(call.kind == "text" for call in choice.calls)
    if count and reason not in CALLING_FINISH_REASONS | CUTTING_FINISH_REASONS:
        # If the request names the tool, OpenAI's API itself answers `stop`.
        named = case.request is not None and case.request.tool_choice.mode == "named"
        if not (named and reason == "stop"):
            detail = f"{_shown(reason)} after {_number(count, 'call')}"
            yield Fault("finish_reason_mismatch", detail)
    elif not count and reason != "stop" and _speaks_of_a_call(reason):
        yield Fault("finish_reason_mismatch", f"{_shown(reason)} without a call")


def order(_case: Case, choice: Choice) -> Iterator[Fault]:
    if choice.missing_index:
        detail = f"{_number(choice.missing_index, 'delta')} without a usable index"
        yield Fault("missing_index", detail)
    if choice.deltas_after_finish:
        detail = f"{_number(choice.deltas_after_finish, 'delta')} after the finish reason"
        yield Fault("delta_after_finish", detail)


def tool_choice(case: Case, choice: Choice) -> Iterator[Fault]:
    if case.request is None:
        return
    wanted = case.request.tool_choice
    count = choice.call_count
    if wanted.mode == "none":
        if count:
            yield Fault("tool_choice_violated", f"none, yet {_number(count, 'call')}")
        return
    if wanted.mode in {"required", "named"} and not count:
        if case.settled(choice) and not case.cut(choice):
            yield Fault("tool_choice_violated", f"{wanted.mode}, yet no call")
        return
    if wanted.names is not None:
        others = [
            call.name
            for call in choice.calls
            if call.name is not None
            and call.name not in wanted.names
            and not case.name_may_become(choice, call, wanted.names)
        ]
        if others:
            detail = f"{_listed(sorted(wanted.names))} allowed, {_listed(others)} called"
            yield Fault("tool_choice_violated", detail)


def parallel(case: Case, choice: Choice) -> Iterator[Fault]:
    if case.request is not None and case.request.parallel_tool_calls is False and choice.call_count > 1:
        yield Fault("parallel_violated", f"{choice.call_count} calls, not one")


def text_leak(case: Case, choice: Choice) -> Iterator[Fault]:
    request = case.request
    if request is None or not request.tools or not choice.text_parts:
        return
    if any(call.kind == "text" for call in choice.calls):
        # The application asked for these calls to stay in the text, in its own tags.
        return
    from otel_llm.diagnosis.text_leak import find_leaks  # only needed if there is text

    leaks, unread = find_leaks(
        "".join(choice.text_parts), request.tools, ended=case.settled(choice), marked_only=request.wants_json
    )
    if leaks:
        syntaxes = _listed(sorted({leak.format for leak in leaks}))
        names = _listed(sorted({leak.name or "" for leak in leaks}))
        detail = f"{_number(len(leaks), 'call')} of {names} in the text, in the syntax {syntaxes}"
        yield Fault("text_leak", detail)
    if unread:
        yield Fault("limit_exceeded", f"{unread} characters of text were not searched for calls")


def duplicates(case: Case, choice: Choice) -> Iterator[Fault]:
    if len(choice.calls) < 2:
        return
    ids = Counter(call.id for call in choice.calls if call.id is not None)
    for call_id, count in ids.items():
        if count > 1:
            yield Fault("duplicate_id", f"{_shown(call_id)} is the id of {count} calls")
    meanings: dict[tuple[str, str], ToolCall] = {}
    for call in choice.calls:
        if call.name is None or call.exceeds_limit or not case.judged_whole(choice, call):
            continue
        first = meanings.setdefault((call.name, _meaning(case, call)), call)
        if first is not call:
            detail = f"{_shown(call.name)} with the arguments of the call at index {first.index}"
            yield Fault("duplicate_call", detail, call.index)


# The stream ---------------------------------------------------------------------------------------------------


def nothing_at_all(case: Case) -> Iterator[Fault]:
    if not case.recording.choices and case.recording.outcome == "completed":
        yield Fault("missing_finish_reason", "the response ended without any choice")


def stalled(case: Case) -> Iterator[Fault]:
    seconds = case.recording.max_wait_ns / 1e9
    if seconds > case.stall_seconds:
        yield Fault("stalled", f"{seconds:.1f} s between two chunks")


def stream_limits(case: Case) -> Iterator[Fault]:
    recording = case.recording
    if recording.over_deltas:
        kept = recording.limits.calls
        over = f"{_number(recording.over_calls, 'call')} beyond {kept} ({_number(recording.over_deltas, 'delta')})"
        yield Fault("limit_exceeded", f"{over} were only counted")
    if recording.over_choices:
        kept = recording.limits.choices
        detail = f"{_number(recording.over_choices, 'delta')} of choices beyond {kept} were only counted"
        yield Fault("limit_exceeded", detail)
    if recording.over_rewrites:
        kept = recording.limits.calls
        detail = f"{_number(recording.over_rewrites, 'rewritten call')} beyond {kept} were only counted"
        yield Fault("limit_exceeded", detail)
    if recording.over_text:
        yield Fault("limit_exceeded", f"{recording.over_text} characters of text were not kept")


CALL_JUDGES: tuple[Callable[[Case, Choice, ToolCall], Iterator[Fault]], ...] = (
    identity,
    declared,
    arguments,
    schema,
    unicode,
    call_limits,
)
CHOICE_JUDGES: tuple[Callable[[Case, Choice], Iterator[Fault]], ...] = (
    finish_reason,
    tool_choice,
    text_leak,
)
# For choices with at least one call.
CALLING_CHOICE_JUDGES: tuple[Callable[[Case, Choice], Iterator[Fault]], ...] = (
    order,
    parallel,
    duplicates,
)
STREAM_JUDGES: tuple[Callable[[Case], Iterator[Fault]], ...] = (nothing_at_all, stalled, stream_limits)


# Wording ------------------------------------------------------------------------------------------------------


def _meaning(case: Case, call: ToolCall) -> str:
    """The arguments in canonical form, so that equal ones compare equal. No arguments equal an empty object."""
    if case.is_free_text(call):
        return call.arguments
    reading = case.reading(call)
    if reading.shape is Shape.NOTHING:
        return "{}"
    if reading.shape in {Shape.OBJECT, Shape.OTHER, Shape.SEVERAL}:
        try:
            return json_values.canonical(reading.value)
        except RecursionError:
            return call.arguments
    return call.arguments


def _holds_lone_surrogate(value: object) -> bool:
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            if has_lone_surrogate(value):
                return True
        elif isinstance(value, dict):
            pending.extend(value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return False


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {str: "a string", bool: "a boolean", list: "an array"}
    return names.get(type(value), "a number")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _shown(text: str | None) -> str:
    return "a call without one" if text is None else one_line(text[:80])


def _listed(texts: list[str]) -> str:
    shown = ", ".join(_shown(text) for text in texts[:4])
    return shown if len(texts) <= 4 else f"{shown} and {len(texts) - 4} more"
