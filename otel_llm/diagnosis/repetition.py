"""Finds a text that ends in one unit over and over: a model that no longer stops.  Pure.

Only the last characters are searched, and a unit must come at least `_LEAST_UNITS` times within them. A healthy text
costs one search for its last characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from otel_llm.diagnosis.case import Case, Finding
from otel_llm.protocol.choice import Choice
from otel_llm.protocol.json_values import Shape
from otel_llm.protocol.kept_text import TAIL
from otel_llm.protocol.tool_call import ToolCall

_LEAST_UNITS = 8
# Characters of repetition in a response that was cut off, and in one that ended by itself.
_LEAST_OF_CUT = 400
_LEAST = 2_000
_LONGEST_UNIT = TAIL // _LEAST_UNITS
# A repetition is found by the place where the last characters stand once more.
_SOUGHT = 32


class Repetition(NamedTuple):
    """The end of a text: a unit of so many characters, and how many characters repeat it."""

    unit: int
    length: int


def find_repetition(text: str, least: int) -> Repetition | None:
    """The repetition of at least `least` characters that `text` ends in."""
    text = text[-TAIL:]
    end = len(text)
    if end < max(least, _LEAST_UNITS):
        return None
    last = text[-_SOUGHT:]
    # The last characters stand at each multiple of the unit, and perhaps within it.
    at = end - len(last)
    while (at := text.rfind(last, max(0, end - len(last) - _LONGEST_UNIT), at + len(last) - 1)) >= 0:
        unit = end - len(last) - at
        needed = max(least, _LEAST_UNITS * unit)
        if needed > end:
            return None
        if text[end - needed + unit :] == text[end - needed : end - unit]:
            return Repetition(unit, _length(text, unit, needed))
    return None


def _length(text: str, unit: int, known: int) -> int:
    """How many characters at the end repeat a unit, of which `known` are known to."""
    at = len(text) - known - 1
    while at >= 0 and text[at] == text[at + unit]:
        at -= 1
    return len(text) - at - 1


def repetition(case: Case, choice: Choice) -> Iterable[Finding]:
    """Whether the end of the text, the thoughts or the arguments is one unit over and over."""
    longest = max(choice.text.length, choice.reasoning.length)
    for call in choice.calls:
        longest = max(longest, call.length)
    return _repetitions(case, choice) if longest >= _LEAST_OF_CUT else ()


def _repetitions(case: Case, choice: Choice) -> Iterator[Finding]:
    recording = case.recording
    stopped = choice.finish_reason is None and recording.outcome in {"closed", "cancelled", "abandoned"}
    least = _LEAST_OF_CUT if stopped or choice.finish_reason == "length" else _LEAST
    for what, kept in (("the text", choice.text), ("the thoughts", choice.reasoning)):
        if kept.length >= least and (found := find_repetition(kept.end, least)) is not None:
            yield Finding("repetition", _detail(what, found))
    for call in choice.calls:
        if len(call.arguments) < least or call.exceeds_limit:
            continue
        found = find_repetition(call.arguments, least)
        if found is not None and not _may_end_so(case, call):
            yield Finding("repetition", _detail("the arguments", found), call.index)


def _may_end_so(case: Case, call: ToolCall) -> bool:
    """Whether it is a whole value, whose brackets close at its end, or one that `limit_exceeded` tells of."""
    if case.is_free_text(call):
        return False
    whole = case.reading(call).shape in {Shape.OBJECT, Shape.OTHER}
    return case.is_too_deep(call) or (whole and not call.arguments[-1].isspace())


def _detail(what: str, found: Repetition) -> str:
    unit = "one character" if found.unit == 1 else f"{found.unit} characters"
    at_least = "at least " if found.length >= TAIL - found.unit else ""
    return f"the end of {what} is {unit} over and over: {at_least}{found.length // found.unit} times"
