"""Judges what a response answers: nothing, a text that came twice, broken characters, no usage.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from unicodedata import category

from otel_llm.diagnosis.case import Case, Finding
from otel_llm.diagnosis.wording import shown
from otel_llm.protocol.choice import Choice
from otel_llm.protocol.json_values import Shape, strings_in
from otel_llm.protocol.kept_text import KeptText
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.protocol.usage import token_counts

# Nothing ----------------------------------------------------------------------------------------------------

# The last three are states of a background response, which has not ended or was stopped by its user.
_NEEDS_NO_ANSWER = frozenset({"content_filter", "error", "queued", "in_progress", "cancelled"})
# The first and last characters of the marks around thoughts.
_MARK_BEGINS, _MARK_ENDS = frozenset("<[◁"), frozenset(">]▷")
_MAY_BE_EMPTY = _MARK_BEGINS | _MARK_ENDS | frozenset(" \t\r\n\f\v\xa0\u3000")


def empty_response(case: Case, choice: Choice) -> Iterator[Finding]:
    """Whether a choice that the server ended has no answer: nothing at all, or thoughts only."""
    reason = choice.finish_reason
    if reason is None or reason in _NEEDS_NO_ANSWER:
        return
    if reason == "length" and case.request is not None and case.request.tool_choice.mode in {"required", "named"}:
        # The call that was asked for had not begun.
        return
    if choice.call_count or choice.server_items or choice.has_media or not _is_empty(case, choice):
        return
    if case.thought_calls(choice):
        # `call_in_reasoning` says more.
        return
    has_thoughts = choice.reasoning_started_ns is not None or any(part.strip() for part in choice.text.parts)
    what = "thoughts only" if has_thoughts else "nothing at all"
    yield Finding("empty_response", f"{what}, and the finish reason {shown(reason)}")


def _is_empty(case: Case, choice: Choice) -> bool:
    """Whether the text is white space, or thoughts in marks and nothing behind them."""
    text = choice.text
    if text.over:
        return False
    if not text.parts:
        return True
    if text.parts[0][0] not in _MAY_BE_EMPTY and text.parts[-1][-1] not in _MAY_BE_EMPTY:
        return False
    whole = text.whole.strip()
    if not whole:
        return True
    if whole[0] not in _MARK_BEGINS and whole[-1] not in _MARK_ENDS:
        return False
    answer = case.answer(choice)
    return bool(answer.thoughts) and not answer.leaks and not answer.rest.strip()


# Twice ------------------------------------------------------------------------------------------------------

_LEAST_REPEATED = 16


def duplicated_text(case: Case, choice: Choice) -> Iterator[Finding]:
    """Whether each delta repeats all text before it, or the last one repeats the whole."""
    if (
        not case.recording.streamed
        or not case.is_settled(choice)
        or choice.text.length + choice.reasoning.length < _LEAST_REPEATED
    ):
        return
    for what, kept in (("text", choice.text), ("thoughts", choice.reasoning)):
        if len(kept.last) >= _LEAST_REPEATED and _repeats_the_whole(kept):
            yield Finding("duplicated_text", f"the last delta is all {what} before it once more")
        elif _is_cumulative(kept):
            yield Finding("duplicated_text", f"each delta repeats the {what} before it")


def _repeats_the_whole(kept: KeptText) -> bool:
    last = kept.last
    if kept.over or abs(kept.length - 2 * len(last)) > _LEAST_REPEATED:
        return False
    repeated = last.strip()
    return bool(repeated) and kept.whole[: -len(last)].strip() == repeated


def _is_cumulative(kept: KeptText) -> bool:
    """Whether the first deltas, and the last one, each begin with the one before."""
    if kept.length < _LEAST_REPEATED:
        return False
    first = kept.first
    if len(first) > 1 and first[0] and first[1] and not first[1].startswith(first[0]):
        return False
    deltas = [delta for delta in kept.first if delta]
    if len(deltas) < 2 or not deltas[1].startswith(deltas[0]):
        return False
    if kept.last:
        deltas.append(kept.last)
    if len(deltas[-1]) < _LEAST_REPEATED or (len(kept.first) < 3 and len(deltas[0]) < _LEAST_REPEATED):
        return False
    grown = sum(len(one) < len(other) for one, other in pairwise(deltas))
    return 2 * grown >= len(kept.first) - 1 and all(other.startswith(one) for one, other in pairwise(deltas))


# Broken characters ------------------------------------------------------------------------------------------

BROKEN = "\ufffd"
_BROKEN_RUN = re.compile(BROKEN + "+")
_ESCAPE = re.compile(r"\\u[fF]{3}[dD]")
# A model that writes these writes bytes at random, and no server cut them.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_QUOTES = frozenset("\"'`")
# Initial, final, opening and closing punctuation: the quotes of other languages, and brackets.
_QUOTING = frozenset({"Pi", "Pf", "Ps", "Pe"})


def replacement_character(case: Case, choice: Choice) -> Iterator[Finding]:
    """Whether the text or a call holds U+FFFD, which stands for a character that was cut, and the request does not."""
    # The text behind it may show that the text is about the character.
    in_text = (
        case.is_settled(choice) and any(BROKEN in part for part in choice.text.parts) and _is_cut(choice.text.whole)
    )
    in_calls = [(call, where) for call in choice.calls if (where := _cut_in(case, call))]
    if not in_text and not in_calls:
        return
    if case.request is None or case.request.said.holds(BROKEN):
        return
    if in_text:
        yield Finding("replacement_character", "U+FFFD stands in the text for a character that was cut")
    for call, where in in_calls:
        detail = f"U+FFFD stands in the {where} of the call for a character that was cut"
        yield Finding("replacement_character", detail, call.index)


def _cut_in(case: Case, call: ToolCall) -> str:
    """Where in the call a cut character is: in the name, in the arguments or in both."""
    found = ["name"] if call.name is not None and BROKEN in call.name else []
    arguments = call.arguments
    if BROKEN in arguments or ("\\u" in arguments and _ESCAPE.search(arguments)):
        is_json = not case.is_free_text(call) and not call.exceeds_limit
        if is_json and case.reading(call).shape in {Shape.OBJECT, Shape.OTHER, Shape.SEVERAL}:
            cut = any(_is_cut(f'"{text}"') for text in strings_in(case.reading(call).value))
        else:
            cut = _is_cut(arguments)
        found += ["arguments"] if cut else []
    return " and in the ".join(found)


def _is_cut(text: str) -> bool:
    """Whether U+FFFD is in the text, other than alone between spaces or quotes, where the text is about it."""
    if _CONTROL.search(text):
        return False
    for run in _BROKEN_RUN.finditer(text):
        before, behind = text[max(0, run.start() - 1) : run.start()], text[run.end() : run.end() + 1]
        if run.end() - run.start() > 1 or not (_sets_apart(before) and _sets_apart(behind)):
            return True
    return False


def _sets_apart(character: str) -> bool:
    return character.isspace() or character in _QUOTES or (character != "" and category(character) in _QUOTING)


# Usage ------------------------------------------------------------------------------------------------------


def missing_usage(case: Case) -> Iterator[Finding]:
    """Whether a completed stream that was asked for its usage has none, or all of it is zero."""
    recording = case.recording
    if case.request is None or not case.request.wants_usage:
        return
    if not recording.streamed or recording.outcome != "completed" or not recording.choices:
        return
    numbers = [*token_counts(recording.usage)]
    if recording.usage is None or not numbers:
        yield Finding("missing_usage", "`include_usage` asked for it, and none came")
    elif not any(count > 0 for count in numbers):
        yield Finding("missing_usage", "`include_usage` asked for it, and all of it is zero")
