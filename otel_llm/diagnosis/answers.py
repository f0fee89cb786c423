"""Judges what a response answers: nothing, a text that came twice, broken characters, no usage.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from unicodedata import category

from otel_llm.diagnosis.bounds import judged_part
from otel_llm.diagnosis.case import Case, Finding
from otel_llm.diagnosis.wording import number, shown
from otel_llm.protocol.choice import Choice
from otel_llm.protocol.json_values import Shape, strings_in
from otel_llm.protocol.kept_text import KeptText
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.protocol.usage import reasoning_tokens, says_something, token_counts

# Nothing ----------------------------------------------------------------------------------------------------

# States of a background response, which has not ended or was stopped by its user; what Ollama answers where it only
# loads a model, or removes it from memory; and Gemini's `continuation`, whose next response has the rest.
_NO_ANSWERS = frozenset({"queued", "in_progress", "cancelled", "load", "unload", "continuation"})
_NEEDS_NO_ANSWER = frozenset({"content_filter", "error"}) | _NO_ANSWERS
# The first and last characters of the marks around thoughts.
_MARK_BEGINS, _MARK_ENDS = frozenset("<[◁"), frozenset(">]▷")
_MAY_BE_EMPTY = _MARK_BEGINS | _MARK_ENDS | frozenset(" \t\r\n\f\v\xa0\u3000")


def empty_response(case: Case, choice: Choice) -> Iterable[Finding]:
    """Whether a choice that the server ended has no answer: nothing at all, or thoughts only."""
    reason = choice.finish_reason
    if choice.calls or reason is None or not _is_empty(case, choice):
        return ()
    if case.is_text_completion and (case.request is None or case.request.may_be_empty):
        return ()
    if choice.over_calls or choice.server_items or choice.has_media or reason in _NEEDS_NO_ANSWER:
        return ()
    if reason == "length" and case.request is not None and case.request.tool_choice.mode in {"required", "named"}:
        # The call that was asked for had not begun.
        return ()
    if case.thought_calls(choice):
        # `call_in_reasoning` says more.
        return ()
    has_thoughts = choice.reasoning_started_ns is not None or any(part.strip() for part in choice.text.parts)
    if has_thoughts:
        what = "thoughts only"
    elif len(case.recording.choices) == 1 and (hidden := reasoning_tokens(case.recording.usage)):
        what = f"thoughts only, which are not shown ({number(hidden, 'token')})"
    else:
        what = "nothing at all"
    return (Finding("empty_response", f"{what}, and the finish reason {shown(reason)}"),)


def _is_empty(case: Case, choice: Choice) -> bool:
    """Whether the text is white space, or thoughts and nothing behind them."""
    text = choice.text
    if text.over:
        return False
    if not text.parts or choice.text_is_thoughts:
        return True
    if text.parts[0][0] not in _MAY_BE_EMPTY and text.parts[-1][-1] not in _MAY_BE_EMPTY:
        return False
    whole = text.whole.strip()
    if not whole:
        return True
    if case.is_text_completion:
        return False
    if whole[0] not in _MARK_BEGINS and whole[-1] not in _MARK_ENDS:
        return False
    answer = case.answer(choice)
    return bool(answer.thoughts) and answer.is_empty


# Twice ------------------------------------------------------------------------------------------------------

_LEAST_REPEATED = 16


def duplicated_text(case: Case, choice: Choice) -> Iterable[Finding]:
    """Whether each delta repeats all text before it, or the last one repeats the whole."""
    text, thoughts = choice.text, choice.reasoning
    if not (text.length and _may_repeat(text)) and not (thoughts.length and _may_repeat(thoughts)):
        return ()
    return _duplicated(choice) if case.recording.streamed and case.is_settled(choice) else ()


def _may_repeat(kept: KeptText) -> bool:
    """Whether it is long enough, and neither its first deltas nor its last one show that nothing repeats in it."""
    first = kept.first
    if kept.length < _LEAST_REPEATED:
        return False
    return len(kept.last) >= _LEAST_REPEATED or len(first) < 2 or not first[1] or first[1].startswith(first[0])


def _duplicated(choice: Choice) -> Iterator[Finding]:
    for what, kept in (("text", choice.text), ("thoughts", choice.reasoning)):
        if not _may_repeat(kept):
            continue
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
# Runs that are looked at. Of a text with more, the rest is not judged.
_MOST_RUNS = 10_000
_QUOTES = frozenset("\"'`*_|\u2502\u2503\uff5c")
# Initial, final, opening and closing punctuation: the quotes of other languages, and brackets.
_QUOTING = frozenset({"Pi", "Pf", "Ps", "Pe"})
_SIGNS = frozenset({"Sm", "Sk"})
# So far around a row, the edges of a cell are looked for.
_WIDEST = 40
_ENDS_SENTENCE = frozenset(".!?\u2026\u3002\uff01\uff1f")
_MAY_BE_CODE = re.compile("`|~~~|^(?: {4}|\t)", re.MULTILINE)
_IS_ABOUT_IT = re.compile(
    r"U\+FFFD|\\u\{?fffd|&#(?:xfffd|65533);|\bEF ?BF ?BD\b|mojibake|replacement char|Ersatzzeichen"
    r"|caract\u00e8re de remplacement|carattere sostitutivo"
    r"|car[a\u00e1]c?tere? de (?:reemplazo|sustituci\u00f3n|substitui\u00e7\u00e3o)"
    r"|\u66ff\u6362\u5b57\u7b26|\u66ff\u63db\u5b57\u5143|\u7f6e\u63db\u6587\u5b57|\u7f6e\u304d\u63db\u3048\u6587\u5b57",
    re.IGNORECASE,
)


def replacement_character(case: Case, choice: Choice) -> Iterable[Finding]:
    """Whether the text or a call holds U+FFFD, which stands for a character that was cut, and the request does not."""
    for part in choice.text.parts:
        if BROKEN in part:
            # The text behind it may show that the text is about the character.
            in_text = case.is_settled(choice) and _is_cut(choice.text.whole)
            break
    else:
        if not choice.calls:
            return ()
        in_text = False
    in_calls = [(call, where) for call in choice.calls if (where := _cut_in(case, call))]
    if not in_text and not in_calls:
        return ()
    if case.request is None or case.request.said.holds(BROKEN):
        return ()
    return _cut_characters(in_text, in_calls)


def _cut_characters(in_text: bool, in_calls: Iterable[tuple[ToolCall, str]]) -> Iterator[Finding]:
    if in_text:
        yield Finding("replacement_character", "U+FFFD stands in the text for a character that was cut")
    for call, where in in_calls:
        detail = f"U+FFFD stands in the {where} of the call for a character that was cut"
        yield Finding("replacement_character", detail, call.index)


def _cut_in(case: Case, call: ToolCall) -> str:
    """Where in the call a cut character is: in the name, in the arguments or in both."""
    arguments = call.arguments
    is_in_name = call.name is not None and BROKEN in call.name
    if not is_in_name and BROKEN not in arguments and "\\u" not in arguments:
        return ""
    found = ["name"] if is_in_name else []
    if BROKEN in arguments or _ESCAPE.search(arguments):
        is_json = not case.is_free_text(call) and not call.exceeds_limit
        if is_json and case.reading(call).shape in {Shape.OBJECT, Shape.OTHER, Shape.SEVERAL}:
            cut = any(_is_cut(text, is_value=True) for text in strings_in(case.reading(call).value))
        else:
            cut = _is_cut(arguments)
        found += ["arguments"] if cut else []
    return " and in the ".join(found)


def _is_cut(text: str, *, is_value: bool = False) -> bool:
    """Whether U+FFFD stands in the text for a character that was cut, and not for itself.

    It stands for itself where no word touches it: alone between spaces, quotes and punctuation; in a row only in
    quotes, in a cell of a table, in code, or in a text that is about the character. `is_value`: the text is a string in
    JSON, whose quotes are around it.
    """
    if BROKEN not in text or _CONTROL.search(text):
        return False
    doubtful: list[re.Match[str]] = []
    is_about_it = False
    for count, run in enumerate(_BROKEN_RUN.finditer(text)):
        before, behind = text[max(0, run.start() - 1) : run.start()], text[run.end() : run.end() + 1]
        if before in _ENDS_SENTENCE or not (_sets_apart(before) and _sets_apart(behind)):
            # A text about the character shows words that have it, in quotes.
            return not (_encloses(behind) and _IS_ABOUT_IT.search(text))
        is_row, is_at_edge = run.end() - run.start() > 1, not (before and behind)
        if _is_enclosed(text, run) or (not is_row and f"{before}{behind}".strip() and not is_value):
            is_about_it = True
        elif is_row or (is_at_edge and not is_value):
            doubtful.append(run)
        if count >= _MOST_RUNS:
            break
    if not doubtful or is_about_it or _IS_ABOUT_IT.search(text):
        return False
    if _MAY_BE_CODE.search(text) is None:
        return True
    from otel_llm.tags.thoughts import read_layout  # slow to import, and rarely needed

    plain = read_layout(judged_part(text)).plain
    return any(plain[run.start() : run.start() + 1] == BROKEN for run in doubtful)


def _sets_apart(character: str) -> bool:
    """Whether no word goes on at this character, or at the edge of the text. Emoji are words, too."""
    return not character or character.isspace() or category(character)[0] == "P" or category(character) in _SIGNS


def _is_enclosed(text: str, run: re.Match[str]) -> bool:
    """Whether there are quotes or brackets around, or the edges of a table's cell."""
    if _encloses(text[run.start() - 1 : run.start()]) and _encloses(text[run.end() : run.end() + 1]):
        return True
    before = text[max(0, run.start() - _WIDEST) : run.start()].rpartition("\n")[2].rstrip(" \t")
    behind = text[run.end() : run.end() + _WIDEST].partition("\n")[0].lstrip(" \t")
    sides = before[-1:], behind[:1]
    return sides in {("|", "|"), ("|", ""), ("", "|"), ("\u2502", "\u2502")}


def _encloses(character: str) -> bool:
    return character in _QUOTES or (character != "" and category(character) in _QUOTING)


# Usage ------------------------------------------------------------------------------------------------------


def missing_usage(case: Case) -> Iterable[Finding]:
    """Whether a completed stream that was asked for its usage has none, or all of it is zero."""
    recording = case.recording
    if case.request is None or not case.request.wants_usage:
        return ()
    if not recording.streamed or recording.outcome != "completed" or not recording.choices:
        return ()
    if recording.usage is not None and says_something(recording.usage):
        return ()
    came = any(True for _ in token_counts(recording.usage))
    what = "all of it is zero" if came else "none came"
    return (Finding("missing_usage", f"`include_usage` asked for it, and {what}"),)
