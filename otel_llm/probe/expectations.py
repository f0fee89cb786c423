"""What responses are expected to be like.  Pure.

A model that does not do what it is asked says nothing about the server: then the check is not judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from otel_llm.diagnosis.answers import BROKEN
from otel_llm.probe.check import Expectation, Finding
from otel_llm.protocol.fields import field, index_of
from otel_llm.protocol.unicode_text import one_line
from otel_llm.protocol.usage import reasoning_tokens

if TYPE_CHECKING:
    from otel_llm.probe.answers import Answer

_THOUGHT_MARK = re.compile(r"</?(?:mm:)?think(?:ing)?>|\[/?THINK\]|◁/?think▷|</?reasoning>")
_MARKUP = re.compile(
    r"<\|[^\s|<>]{1,40}\|>|<[|｜][^\n>]{1,60}[|｜]>|<\|[a-z_]{1,20}>|<[a-z_]{1,20}\|>"  # noqa: RUF001
    r"|</?(?:tool_calls?|function_calls?|function|parameter|invoke|arg_key|arg_value|tools?|tool_response)(?:[\s=][^<>]*)?>"
    r"|</?(?:start_of_turn|end_of_turn|eos|bos|s)>|\[/?(?:TOOL_CALLS|ARGS|CALL_ID|INST|AVAILABLE_TOOLS)\]"
    r"|" + _THOUGHT_MARK.pattern
)
# Markup of calls, which models also write where they think about one.
_OF_CALLS = re.compile(r"tool|call|func|python|plugin|action|constrain|arg|param|invoke|DSML|\"", re.IGNORECASE)
_MOST_CHARACTERS_OF_A_TOKEN = 32


def calls(number: int) -> Expectation:
    """The model made at least so many calls."""

    def expect(answer: Answer) -> Iterator[Finding]:
        count = len(answer.calls)
        if count < number:
            yield Finding("unjudged", f"{answer.way}: the model made {count} of the {number} requested calls")

    return expect


def no_call(answer: Answer) -> Iterator[Finding]:
    """The model made no call."""
    if answer.calls:
        yield Finding("unjudged", f"{answer.way}: the model called a tool, although the prompt needs none")


def holds(value: str) -> Expectation:
    """The arguments contain this text exactly."""

    def expect(answer: Answer) -> Iterator[Finding]:
        written = [json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
        if not any(text in call.meaning for call in answer.calls for text in written):
            yield Finding("unjudged", f"{answer.way}: the model did not write the requested text")

    return expect


def in_deltas(answer: Answer) -> Iterator[Finding]:
    """Long arguments are streamed in more than a few deltas."""
    if not answer.streamed or answer.recording is None:
        return
    for call in answer.recording.calls:
        if call.length < 400:
            yield Finding("unjudged", f"the arguments have only {call.length} characters")
        elif call.delta_count < 4:
            seconds = answer.recording.max_wait_ns / 1e9
            yield Finding(
                "remark",
                f"the server buffers arguments: {call.length} characters arrived in {call.delta_count} deltas,"
                f" after a wait of {seconds:.1f} s",
            )


def choices(number: int) -> Expectation:
    """The response has so many choices."""

    def expect(answer: Answer) -> Iterator[Finding]:
        count = len(answer.choices())
        if count != number:
            yield Finding("fault", f"{answer.way}: n={number}, but the number of choices is {count}")

    return expect


def named_once(answer: Answer) -> Iterator[Finding]:
    """Each call has its name in one delta: many clients join the names of all deltas."""
    if answer.repeats_names:
        yield Finding("remark", f"{answer.way}: the name comes again in later deltas; clients that join them double it")


def some_arguments(answer: Answer) -> Iterator[Finding]:
    """A call without arguments has an empty object: many clients parse the text as JSON."""
    if any(not call.arguments.strip() for call in answer.calls):
        yield Finding(
            "remark", f"{answer.way}: the arguments are an empty text instead of {{}}; clients that parse it fail"
        )


def is_cut(limit: int) -> Expectation:
    """The response was cut off by max_tokens, which is `limit`, and says so."""

    def expect(answer: Answer) -> Iterator[Finding]:
        lengths = [
            choice.text.length + choice.reasoning.length + sum(call.length for call in choice.calls)
            for choice in (answer.recording.choices if answer.recording is not None else ())
        ]
        if max(lengths, default=0) > limit * _MOST_CHARACTERS_OF_A_TOKEN:
            yield Finding("fault", f"{answer.way}: max_tokens={limit}, but {max(lengths)} characters came")
        else:
            yield from _says_that_it_is_cut(answer)

    return expect


def _says_that_it_is_cut(answer: Answer) -> Iterator[Finding]:
    reasons = {choice.finish_reason for choice in answer.choices()}
    if reasons != {"length"}:
        if answer.verdict is not None and any(
            anomaly.type == "invalid_json" for anomaly, _ in answer.verdict.anomalies
        ):
            yield Finding("fault", f"{answer.way}: a call was cut off, but the finish reason is {_list(reasons)}")
        else:
            yield Finding("unjudged", f"{answer.way}: the response ended before max_tokens, with {_list(reasons)}")


def usage(answer: Answer) -> Iterator[Finding]:
    """The response has its usage, and it counts something."""
    if answer.recording is None:
        return
    found = answer.recording.usage
    counts = [
        next((count for name in names if (count := index_of(field(found, name)))), 0)
        for names in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"), ("total_tokens",))
    ]
    prompt, completion, total = counts
    if found is None:
        asked = "usage was requested, but is" if answer.asks_for_usage else "usage is"
        yield Finding("fault", f"{answer.way}: {asked} missing")
    elif not prompt or not completion:
        yield Finding(
            "fault", f"{answer.way}: usage counts {prompt} tokens of the prompt and {completion} of the answer"
        )
    elif total and total != prompt + completion:
        yield Finding("remark", f"{answer.way}: usage has a total of {total} tokens, but {prompt} + {completion}")


def no_markup(answer: Answer) -> Iterator[Finding]:
    """Nothing of the model's chat template is left: the prompt gives no reason to write any of it."""
    if answer.recording is None:
        return
    for choice in answer.recording.choices:
        where = [("the text", choice.text.whole)]
        where += [
            (f"a call of {one_line((call.name or '')[:40])}", f"{call.name} {call.arguments}") for call in choice.calls
        ]
        for name, text in where:
            marks = dict.fromkeys(one_line(mark.group()[:40]) for mark in _MARKUP.finditer(text))
            if marks:
                yield Finding("fault", f"{answer.way}: {', '.join(list(marks)[:4])} in {name}")
        marks = dict.fromkeys(one_line(mark.group()[:40]) for mark in _MARKUP.finditer(choice.reasoning.whole))
        residue = [mark for mark in marks if _OF_CALLS.search(mark) is None]
        drafts = [mark for mark in marks if _OF_CALLS.search(mark) is not None]
        if residue:
            yield Finding("fault", f"{answer.way}: {', '.join(residue[:4])} in the thoughts")
        if drafts:
            yield Finding("remark", f"{answer.way}: {', '.join(drafts[:4])} in the thoughts, perhaps a draft of a call")


def thoughts(answer: Answer) -> Iterator[Finding]:
    """Thoughts come as such, and not only as tokens to be paid for."""
    recording = answer.recording
    if recording is None:
        return
    if any(choice.finish_reason == "length" for choice in recording.choices):
        yield Finding("unjudged", f"{answer.way}: max_tokens cut the thoughts off")
    count = reasoning_tokens(recording.usage)
    if any(BROKEN in part for choice in recording.choices for part in choice.reasoning.parts):
        yield Finding("remark", f"{answer.way}: U+FFFD stands in the thoughts for a character that was cut")
    leaked = any(_THOUGHT_MARK.search(choice.text.whole) for choice in recording.choices)
    if count and not leaked and not any(choice.reasoning.parts for choice in recording.choices):
        yield Finding("remark", f"{answer.way}: the server counts {count} tokens of thoughts, but sends none")


def _list(values: set[str | None]) -> str:
    return ", ".join(sorted(str(value) for value in values))
