"""Judges the tool calls and the text of a response: facts and the request in, anomalies out.  Pure.

- Each judge returns its findings, and judges at the end of the stream, per choice, with all deltas joined. It first
  looks at cheap facts that show that it has nothing to say, as about most responses.
- Nothing is reported that more chunks could have fixed: if the application stopped a stream before the finish reason of
  a choice, what that choice lacks is no anomaly. A stream that the server ended is judged as complete.
- A call whose arguments are not one whole value when its choice ends with `length`, `content_filter` or `error` is
  `truncated`, and nothing that it lacks is reported besides. Contradictions are reported however the choice ends.
- The arguments of a call are exactly one of: nothing, one object, one other value, several values, not JSON. Only the
  type that fits is reported.
- A detail names positions, lengths, ids and names. It never repeats arguments, which a user may have chosen not to
  record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from otel_llm.diagnosis import schemas
from otel_llm.diagnosis.answers import duplicated_text, empty_response, missing_usage, replacement_character
from otel_llm.diagnosis.case import Anomaly, Case, Finding
from otel_llm.diagnosis.conversations import id_reused, repeated_call, unacceptable
from otel_llm.diagnosis.counting import asks_for_several
from otel_llm.diagnosis.framing import framing
from otel_llm.diagnosis.markup import MARKUP, reasoning_leak, token_in_arguments, token_leak
from otel_llm.diagnosis.reasoning_calls import call_in_reasoning
from otel_llm.diagnosis.repetition import repetition
from otel_llm.diagnosis.wording import listed, number, shown
from otel_llm.protocol.choice import CUTTING_FINISH_REASONS, Choice
from otel_llm.protocol.conversation import Turn
from otel_llm.protocol.json_values import Shape, strings_in
from otel_llm.protocol.message_text import text_of_content
from otel_llm.protocol.past_calls import last_user_message
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, Tool, ToolChoice
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.protocol.unicode_text import ends_with_half, has_lone_surrogate, one_line

CALLING_FINISH_REASONS = frozenset({"tool_calls", "function_call"})
_FINISH_REASONS_AFTER_CALLS = CALLING_FINISH_REASONS | CUTTING_FINISH_REASONS
_LONGEST_QUESTION = 4096
_NO_ID = "a call without an id"


def diagnose_request(request: ChatRequest, provider: str | None = None) -> list[Anomaly]:
    """The anomalies of what a request sends. A server may refuse the request because of them.

    `provider`: the name of the provider in `gen_ai.provider.name`, None if it is only presumed.
    """
    found = [] if provider is None else list(unacceptable(request, provider))
    return found if request.turn is None else [*found, *_of_results(request.turn)]


def _of_results(turn: Turn) -> list[Anomaly]:
    # A call that the model did make counts as missing too, if the request does not show it to the server.
    where = "conversation that was sent" if turn.previous_response is None else "previous response"
    found = [
        Anomaly(
            "result_without_call",
            f"a result for {shown(call)}, which is no call in the {where}" if call else "a result without a call id",
        )
        for call in turn.without_call
    ]
    found += [Anomaly("unanswered_call", f"{shown(call, _NO_ID)} has no result") for call in turn.unanswered]
    found += [Anomaly("duplicate_result", f"{shown(call, _NO_ID)} already has a result") for call in turn.repeated]
    return found


def diagnose(case: Case) -> list[Anomaly]:
    """All anomalies of one response; those of the whole response come first."""
    try:
        return list(_anomalies(case))
    except Exception:
        if case.on_fault is None:
            raise
    return _anomalies_despite_faults(case, case.on_fault)


def diagnose_bytes(case: Case) -> list[Anomaly]:
    """The anomalies of a response that says nothing but an error."""
    return [Anomaly(type_, detail) for type_, detail, _ in framing(case)]


def _anomalies(case: Case) -> Iterator[Anomaly]:
    for judge in STREAM_JUDGES:
        for type_, detail, _ in judge(case):
            yield Anomaly(type_, detail)
    for choice in case.recording.choices:
        index = choice.index
        for choice_judge in _judges_of(case, choice):
            for type_, detail, call_index in choice_judge(case, choice):
                yield Anomaly(type_, detail, index, call_index)
        for call in choice.calls:
            for call_judge in CALL_JUDGES:
                for type_, detail, _ in call_judge(case, choice, call):
                    yield Anomaly(type_, detail, index, call.index)


def _judges_of(case: Case, choice: Choice) -> tuple[Callable[[Case, Choice], Iterable[Finding]], ...]:
    """Those that may have something to say about a choice."""
    judges = CHOICE_JUDGES
    parts = choice.text.parts
    if parts and (choice.text_is_thoughts or case.names_tool(choice) or any(map(MARKUP.search, parts))):
        judges += TEXT_JUDGES
    if choice.calls or choice.over_calls:
        return judges + OUTPUT_JUDGES + CALLING_CHOICE_JUDGES
    return judges + ANSWER_JUDGES + OUTPUT_JUDGES


def _anomalies_despite_faults(case: Case, on_fault: Callable[[str, Exception], None]) -> list[Anomaly]:
    """As `_anomalies`, each judge by itself. What a judge found before it raised stays, and the others still run."""
    found: list[Anomaly] = []

    def ask(judge: Callable[..., Iterable[Finding]], *subjects: object, choice: int | None, call: int | None) -> None:
        try:
            for type_, detail, index in judge(*subjects):
                found.append(Anomaly(type_, detail, choice, call if index is None else index))
        except Exception as error:  # noqa: BLE001
            on_fault(f"the {judge.__name__} judge", error)

    for judge in STREAM_JUDGES:
        ask(judge, case, choice=None, call=None)
    for choice in case.recording.choices:
        for choice_judge in _judges_of(case, choice):
            ask(choice_judge, case, choice, choice=choice.index, call=None)
        for call in choice.calls:
            for call_judge in CALL_JUDGES:
                ask(call_judge, case, choice, call, choice=choice.index, call=call.index)
    return found


# One call -----------------------------------------------------------------------------------------------------


def arguments(case: Case, choice: Choice, call: ToolCall) -> Iterator[Finding]:
    if call.arguments_not_string is not None:
        yield Finding("arguments_not_string", f"arguments came as {call.arguments_not_string}, not as a string")
    if call.exceeds_limit:
        return
    if case.is_settled(choice) and case.is_truncated(choice, call):
        yield Finding("truncated", f"{choice.finish_reason} after {number(call.length, 'character')} of arguments")
        return
    if case.is_free_text(call) or not case.is_settled(choice):
        return
    reading = case.reading(call)
    if reading.shape is Shape.INVALID:
        yield Finding("invalid_json", reading.error)
    elif reading.shape is Shape.SEVERAL:
        yield Finding("arguments_duplicated", f"several JSON values in {number(call.length, 'character')}")
    elif reading.shape is Shape.OTHER:
        yield Finding("arguments_not_object", f"arguments are {_json_type(reading.value)}")
    elif reading.shape is Shape.NOTHING:
        tool = case.tool(call)
        if tool is not None and tool.requires_arguments:
            yield Finding("empty_arguments", f"{shown(tool.name)} requires parameters")


def schema(case: Case, choice: Choice, call: ToolCall) -> Iterator[Finding]:
    tool = case.tool(call)
    if tool is None or tool.parameters is None or call.exceeds_limit or case.is_free_text(call):
        return
    if not case.is_final(choice, call):
        return
    reading = case.reading(call)
    if reading.shape is not Shape.OBJECT:
        return
    try:
        broken = schemas.violation(tool.name, tool.parameters, reading.value)
    except schemas.TooDeepError:
        yield Finding("limit_exceeded", "arguments are nested too deeply to be checked against the schema")
        return
    if broken is not None:
        where = f" at {one_line(broken)}" if broken else ""
        yield Finding("schema_violation", f"against the schema of {shown(tool.name)}{where}")


def identity(case: Case, choice: Choice, call: ToolCall) -> Iterator[Finding]:
    whole = case.is_final(choice, call)
    if call.name is None and whole:
        yield Finding("missing_name", "the call has no name")
    needs_id = call.kind not in {"legacy", "text"} and not case.recording.ids_are_optional
    if call.id is None and whole and needs_id:
        yield Finding("missing_id", "the call has no id")
    if call.other_names:
        yield Finding("name_changed", f"{shown(call.name)}, then {listed(call.other_names)}")
    if call.other_ids:
        yield Finding("id_changed", f"{shown(call.id)}, then {listed(call.other_ids)}")
    if call.index_reused:
        yield Finding("index_reused", f"{shown(call.id, _NO_ID)} begins at index {call.index}, which was in use")


def declared(case: Case, choice: Choice, call: ToolCall) -> Iterator[Finding]:
    names = case.recording.declared
    if names is None or call.name is None or call.name in names or case.name_may_continue(choice, call, names):
        return
    yield Finding("unknown_tool", f"{shown(call.name)} is {_none_of(names)}")


def unicode(case: Case, choice: Choice, call: ToolCall) -> Iterable[Finding]:
    name, call_id = call.name or "", call.id or ""
    if call.arguments.isascii() and name.isascii() and call_id.isascii() and "\\u" not in call.arguments:
        return ()
    return _half_characters(case, choice, call)


def _half_characters(case: Case, choice: Choice, call: ToolCall) -> Iterator[Finding]:
    fields = {"name": call.name or "", "id": call.id or "", "arguments": call.arguments}
    if not case.is_final(choice, call) or call.over_long_label:
        # The other half may have been still to come, or our limit may have cut it off.
        fields = {name: text[:-1] if ends_with_half(text) else text for name, text in fields.items()}
    wrong = [name for name, text in fields.items() if has_lone_surrogate(text)]
    may_be_escaped = "\\u" in call.arguments and not call.exceeds_limit and not case.is_free_text(call)
    # In text that is not JSON, an escape has no meaning.
    if (
        may_be_escaped
        and "arguments" not in wrong
        and any(map(has_lone_surrogate, strings_in(case.reading(call).value)))
    ):
        wrong.append("arguments")
    if wrong:
        yield Finding("invalid_unicode", f"half a surrogate pair in {' and '.join(wrong)}")


def call_limits(case: Case, choice: Choice, call: ToolCall) -> Iterator[Finding]:
    if call.exceeds_limit:
        kept = len(call.arguments)
        yield Finding("limit_exceeded", f"{call.length} characters of arguments, of which {kept} were kept")
    elif case.is_final(choice, call) and case.is_too_deep(call):
        yield Finding("limit_exceeded", "arguments are nested too deeply to be read")
    if call.over_long_label:
        yield Finding("limit_exceeded", "a name or id longer than what is kept")


# One choice ---------------------------------------------------------------------------------------------------


def _mentions_a_call(reason: str) -> bool:
    """Also in words that are not the API's: `function_call_filter: MALFORMED_FUNCTION_CALL`, if a call was lost."""
    word = reason.lower()
    return "tool_call" in word or "function_call" in word or "tool_use" in word


def finish_reason(case: Case, choice: Choice) -> Iterable[Finding]:
    reason = choice.finish_reason
    if reason is None:
        if case.recording.outcome == "completed":
            return (Finding("missing_finish_reason", "the response ended without one"),)
        return ()
    # The server does not see calls that stay text, and says `stop`.
    count = len(choice.calls) + choice.over_calls
    if count:
        if reason in _FINISH_REASONS_AFTER_CALLS:
            return ()
        count -= choice.over_text_calls + sum(call.kind == "text" for call in choice.calls)
    if count:
        # The API itself ends with `stop` if the request named the tool, which an unknown request may have done.
        named = case.request is None or case.request.tool_choice.mode == "named"
        if not (named and reason == "stop"):
            return (Finding("finish_reason_mismatch", f"{shown(reason)} after {number(count, 'call')}"),)
    elif reason != "stop" and _mentions_a_call(reason):
        return (Finding("finish_reason_mismatch", f"{shown(reason)} without a call"),)
    return ()


def order(_case: Case, choice: Choice) -> Iterable[Finding]:
    return _disorder(choice) if choice.missing_index or choice.deltas_after_finish else ()


def _disorder(choice: Choice) -> Iterator[Finding]:
    if choice.missing_index:
        detail = f"{number(choice.missing_index, 'delta')} without a usable index"
        yield Finding("missing_index", detail)
    if choice.deltas_after_finish:
        detail = f"{number(choice.deltas_after_finish, 'delta')} after the finish reason"
        yield Finding("delta_after_finish", detail)


def tool_choice(case: Case, choice: Choice) -> Iterable[Finding]:
    if case.request is None:
        return ()
    wanted = case.request.tool_choice
    return () if wanted.mode == "auto" and wanted.names is None else _other_choice(case, choice, wanted)


def _other_choice(case: Case, choice: Choice, wanted: ToolChoice) -> Iterator[Finding]:
    count = choice.call_count
    if wanted.mode == "none":
        if count:
            yield Finding("tool_choice_violated", f"none, but {number(count, 'call')}")
        return
    if wanted.mode in {"required", "named"} and not count:
        # A tool that the server ran by itself is a call, too. Text after a compaction is the model's own choice.
        compactions = case.recording.compacted and choice.has_text
        ran = wanted.mode == "required" and choice.server_items > compactions
        if not ran and case.is_settled(choice) and not case.was_cut_off(choice):
            yield Finding("tool_choice_violated", f"{wanted.mode}, but no call")
        return
    if wanted.names is not None:
        others = [
            call.name
            for call in choice.calls
            if call.name is not None
            and call.name not in wanted.names
            and not case.name_may_continue(choice, call, wanted.names)
        ]
        if others:
            detail = f"{listed(sorted(wanted.names))} allowed, {listed(others)} called"
            yield Finding("tool_choice_violated", detail)


def parallel(case: Case, choice: Choice) -> Iterable[Finding]:
    if case.request is None or case.request.parallel_tool_calls is not False or choice.call_count < 2:
        return ()
    return (Finding("parallel_violated", f"{choice.call_count} calls instead of one"),)


def text_leak(case: Case, choice: Choice) -> Iterable[Finding]:
    request = case.request
    if request is None or not request.tools or not case.names_tool(choice):
        return ()
    return _leaked_calls(case, choice, request.tools)


def _leaked_calls(case: Case, choice: Choice, tools: Mapping[str, Tool]) -> Iterator[Finding]:
    if any(call.kind == "text" for call in choice.calls):
        # They are calls that were rewritten to tags, which the application wants in the text.
        return
    text = choice.text.whole
    if not any(name in text for name in tools):
        return
    leaks, unread = case.answer(choice).leaks, case.answer(choice).unread
    if any(leak.format == "action" for leak in leaks) and _asks_for_actions(case):
        # The prompt of a ReAct agent asks for this form.
        leaks = tuple(leak for leak in leaks if leak.format != "action")
    if leaks:
        syntaxes = listed(sorted({leak.format for leak in leaks}))
        names = listed(sorted({leak.name or "" for leak in leaks}))
        detail = f"{number(len(leaks), 'call')} of {names} in the text, in the syntax {syntaxes}"
        yield Finding("text_leak", detail)
    if unread:
        yield Finding("limit_exceeded", f"{number(unread, 'character')} of text were not searched for calls")


def _asks_for_actions(case: Case) -> bool:
    return case.request is None or case.request.said.holds("action_input")


def duplicates(case: Case, choice: Choice) -> Iterable[Finding]:
    return _duplicates(case, choice) if len(choice.calls) > 1 else ()


def _duplicates(case: Case, choice: Choice) -> Iterator[Finding]:
    ids = Counter(call.id for call in choice.calls if call.id is not None)
    for call_id, count in ids.items():
        if count > 1:
            yield Finding("duplicate_id", f"{shown(call_id)} is the id of {count} calls")
    meanings: dict[tuple[str, str], ToolCall] = {}
    asked_for: bool | None = None
    for call in choice.calls:
        if call.name is None or call.exceeds_limit or not case.is_final(choice, call):
            continue
        first = meanings.setdefault((call.name, case.meaning(call)), call)
        if first is call or _is_always_the_same(case, call):
            continue
        if asked_for is None:
            asked_for = _asks_for_several(case)
        if not asked_for:
            detail = f"{shown(call.name)} with the arguments of the call at index {first.index}"
            yield Finding("duplicate_call", detail, call.index)


def _is_always_the_same(case: Case, call: ToolCall) -> bool:
    """Whether its tool takes no parameters, as a die that is rolled."""
    tool = case.tool(call)
    return tool is not None and tool.kind == "function" and not tool.takes_arguments and case.meaning(call) == "{}"


def _asks_for_several(case: Case) -> bool:
    """Whether the user's last message asks for so many calls. Only its end is read."""
    if case.request is None:
        return False
    return asks_for_several(text_of_content(last_user_message(case.request.conversation))[-_LONGEST_QUESTION:])


# The stream ---------------------------------------------------------------------------------------------------


def no_choices(case: Case) -> Iterable[Finding]:
    if case.recording.choices or case.recording.outcome != "completed":
        return ()
    return (Finding("missing_finish_reason", "the response ended without any choice"),)


def stalled(case: Case) -> Iterable[Finding]:
    seconds = case.recording.max_wait_ns / 1e9
    return (Finding("stalled", f"{seconds:.1f} s between two chunks"),) if seconds > case.stall_seconds else ()


def stream_limits(case: Case) -> Iterable[Finding]:
    recording = case.recording
    is_over = recording.over_deltas or recording.over_choices or recording.over_rewrites or recording.over_text
    return _stream_limits(case, recording) if is_over else ()


def _stream_limits(case: Case, recording: Recording) -> Iterator[Finding]:
    if recording.over_deltas:
        kept = recording.limits.calls
        over = f"{number(recording.over_calls, 'call')} beyond {kept} ({number(recording.over_deltas, 'delta')})"
        yield Finding("limit_exceeded", f"{over} were only counted")
    if recording.over_choices:
        kept = recording.limits.choices
        detail = f"{number(recording.over_choices, 'delta')} of choices beyond {kept} were only counted"
        yield Finding("limit_exceeded", detail)
    if recording.over_rewrites:
        kept = recording.limits.calls
        detail = f"{number(recording.over_rewrites, 'rewritten call')} beyond {kept} were only counted"
        yield Finding("limit_exceeded", detail)
    # Of a recording without its request, the text is neither sent nor searched for calls.
    if recording.over_text and case.request is not None:
        yield Finding("limit_exceeded", f"{number(recording.over_text, 'character')} of text were not kept")


CALL_JUDGES: tuple[Callable[[Case, Choice, ToolCall], Iterable[Finding]], ...] = (
    identity,
    declared,
    arguments,
    schema,
    unicode,
    call_limits,
)
CHOICE_JUDGES: tuple[Callable[[Case, Choice], Iterable[Finding]], ...] = (
    finish_reason,
    tool_choice,
)
# Only for choices whose text has markup or the name of a declared tool, or is thoughts.
TEXT_JUDGES: tuple[Callable[[Case, Choice], Iterable[Finding]], ...] = (text_leak, token_leak, reasoning_leak)
# Only for choices without calls.
ANSWER_JUDGES: tuple[Callable[[Case, Choice], Iterable[Finding]], ...] = (call_in_reasoning, empty_response)
# Of text, thoughts and calls alike.
OUTPUT_JUDGES: tuple[Callable[[Case, Choice], Iterable[Finding]], ...] = (
    duplicated_text,
    repetition,
    replacement_character,
)
# Only for choices with calls.
CALLING_CHOICE_JUDGES: tuple[Callable[[Case, Choice], Iterable[Finding]], ...] = (
    token_in_arguments,
    order,
    parallel,
    duplicates,
    id_reused,
    repeated_call,
)
STREAM_JUDGES: tuple[Callable[[Case], Iterable[Finding]], ...] = (
    no_choices,
    stalled,
    missing_usage,
    stream_limits,
    framing,
)


# Wording ------------------------------------------------------------------------------------------------------


def _none_of(names: frozenset[str]) -> str:
    if len(names) < 2:
        return "not the declared tool" if names else "called, but no tool is declared"
    return f"not one of the {len(names)} declared tools"


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {str: "a string", bool: "a boolean", list: "an array"}
    return names.get(type(value), "a number")
