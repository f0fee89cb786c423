"""The chunk that is added behind the last one of a stream, for text that was held back.  Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from otel_llm.protocol.fields import index_of

# What a chunk said already must not be said twice.
_IN_DELTA = ("content", "role", "tool_calls", "function_call", "refusal", "reasoning_content")
_IN_CHUNK = ("usage", "tool_calls", "tool_results")


def one_more(last: Any, indexes: Iterable[int]) -> Any:
    """A copy of a chunk of an SDK, with a choice for each of `indexes`, in this order, whose deltas say nothing.

    A choice without a usable index counts as the first. One that the chunk lacks is made like its first one with a
    delta, and it must have such a choice.
    """
    chunk = copy.deepcopy(last)
    choices = [choice for choice in chunk.choices if getattr(choice, "delta", None) is not None]
    chunk.choices = [_choice(choices, index) for index in indexes]
    _clear(chunk, _IN_CHUNK)
    return chunk


def _choice(choices: Sequence[Any], index: int) -> Any:
    same = next((choice for choice in choices if (index_of(choice.index) or 0) == index), None)
    choice = copy.deepcopy(choices[0] if same is None else same)
    if same is None:
        choice.index = index
    choice.finish_reason = None
    _clear(choice.delta, _IN_DELTA)
    return choice


def _clear(thing: Any, names: Iterable[str]) -> None:
    for name in names:
        if getattr(thing, name, None) is not None:
            setattr(thing, name, None)
