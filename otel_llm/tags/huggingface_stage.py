"""Rewrites the tool calls in the text of Hugging Face's chunks, which are data classes and mappings in one.  Pure.

Both forms say the same, but the items hold mappings where the attributes hold objects, made once for all. So a chunk
whose attributes were changed has its items made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from otel_llm.tags.stage import Stage
from otel_llm.tags.writers import Part

# Whether a value is one of the SDK's data classes: a hostile server has it hold anything.
_is_data: Callable[[Any], bool] = is_dataclass


class HuggingFaceStage(Stage):
    """Rewrites one stream, or one response."""

    def take(self, chunk: Any) -> Any:
        """Rewrite one chunk. Returns the same object."""
        return _agreeing(super().take(chunk), "delta")

    def give_back(self, chunk: Any) -> Any:
        """The stage failed at this chunk or an earlier one: see `Stage.give_back`."""
        return _agreeing(super().give_back(chunk), "delta")

    def rewrite_response(self, response: Any) -> None:
        """Rewrite an unstreamed response, in place."""
        super().rewrite_response(response)
        _agreeing(response, "message")

    def _plain_chunk(self, index: int, text: str) -> Any:
        """As JSON has it, which is what both forms are made of."""
        fields = asdict(self._last)
        choice = next(one for one in fields["choices"] if one.get("delta") is not None)
        delta = {"role": None, "content": text}
        fields["choices"] = [{**choice, "index": index, "finish_reason": None, "delta": delta}]
        fields["usage"] = None
        return type(self._last).parse_obj_as_instance(fields)

    def _copied(self, thing: Any) -> Any:
        """A copy of a chunk or a choice. A deep copy would have mappings where the attributes had objects."""
        return type(thing).parse_obj_as_instance(asdict(thing))

    def _one_more(self, parts_of: Mapping[int, Sequence[Part]]) -> Any:
        chunk = super()._one_more(parts_of)
        return None if chunk is None else _agreeing(chunk, "delta")


def _agreeing(chunk: Any, place: str) -> Any:
    """The chunk, whose items say what its attributes say."""
    items = dict.get(chunk, "choices")
    choices = chunk.choices
    if not isinstance(items, list) or not isinstance(choices, list):
        return chunk
    if len(items) == len(choices) and all(
        _agree(item, choice, place) for item, choice in zip(items, choices, strict=True)
    ):
        return chunk
    # Not by `chunk[...] = `, which would put these mappings in the place of the attributes.
    dict.__setitem__(chunk, "choices", [asdict(one) if _is_data(one) else one for one in choices])
    return chunk


def _agree(item: Any, choice: Any, place: str) -> bool:
    if not (isinstance(item, dict) and _is_data(choice)):
        # Not what the API sends, and nothing that was rewritten.
        return True
    said, told = getattr(choice, place), item.get(place)
    if not (isinstance(told, dict) and _is_data(said)):
        return True
    calls: Any = said.tool_calls
    told_calls: Any = told.get("tool_calls")
    return (
        said.content is told.get("content")
        and (calls is told_calls or (bool(calls) and bool(told_calls) and len(calls) == len(told_calls)))
        and choice.finish_reason == item.get("finish_reason")
        and getattr(said, "reasoning", None) == told.get("reasoning")
    )
