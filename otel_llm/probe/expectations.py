"""What responses are expected to be like.  Pure.

A model that does not do what it is asked says nothing about the server: then the check is not judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from otel_llm.probe.check import Expectation, Finding

if TYPE_CHECKING:
    from otel_llm.probe.answers import Answer


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


def is_cut(answer: Answer) -> Iterator[Finding]:
    """The response was cut off by max_tokens, and says so."""
    reasons = {choice.finish_reason for choice in answer.choices()}
    if reasons != {"length"}:
        if answer.verdict is not None and any(
            anomaly.type == "invalid_json" for anomaly, _ in answer.verdict.anomalies
        ):
            yield Finding("fault", f"{answer.way}: a call was cut off, but the finish reason is {_list(reasons)}")
        else:
            yield Finding("unjudged", f"{answer.way}: the response ended before max_tokens, with {_list(reasons)}")


def usage(answer: Answer) -> Iterator[Finding]:
    """The response has its usage."""
    if answer.recording is not None and answer.recording.usage is None:
        yield Finding("fault", f"{answer.way}: usage was requested, but is missing")


def _list(values: set[str | None]) -> str:
    return ", ".join(sorted(str(value) for value in values))
