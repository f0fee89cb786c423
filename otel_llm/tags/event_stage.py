"""Rewrites the tool calls in the text of chunks that are inside of events, as Mistral's SDK has them.  Pure.

The models of that SDK have no field for thoughts, so these stay in the text.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from otel_llm.tags.stage import Stage
from otel_llm.tags.writers import Part


class EventStage(Stage):
    """Rewrites one stream of events, or one response."""

    _event: Any = None

    def take(self, event: Any) -> Any:
        """Rewrite the chunk of one event. Returns the same object."""
        super().take(event.data)
        self._event = event
        return event

    def give_back(self, event: Any) -> Any:
        """The stage failed at this event or an earlier one: see `Stage.give_back`."""
        super().give_back(event.data)
        return event

    def _plain_chunk(self, index: int, text: str) -> Any:
        event = copy.copy(self._event)
        event.data = super()._plain_chunk(index, text)
        return event

    def _one_more(self, parts_of: Mapping[int, Sequence[Part]]) -> Any:
        chunk = super()._one_more(parts_of)
        if chunk is None:
            return None
        event = copy.copy(self._event)
        event.data = chunk
        return event
