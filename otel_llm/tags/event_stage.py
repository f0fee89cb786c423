"""Rewrites the tool calls in the text of chunks that are inside of events, as Mistral's SDK has them.  Pure.

The models of that SDK have no field for thoughts, so these stay in the text.
"""

from __future__ import annotations

import copy
from typing import Any

from otel_llm.tags.stage import Stage


class EventStage(Stage):
    """Rewrites one stream of events, or one response."""

    _event: Any = None

    def take(self, event: Any) -> Any:
        """Rewrite the chunk of one event. Returns the same object."""
        super().take(event.data)
        self._event = event
        return event

    def finish(self) -> list[Any]:
        """The stream is over: one more event with the text that was held back, if any was."""
        return self._in_events(super().finish())

    def give_back_rest(self) -> list[Any]:
        """After a failure: the same."""
        return self._in_events(super().give_back_rest())

    def give_back(self, event: Any) -> Any:
        """The stage failed at this event or an earlier one: see `Stage.give_back`."""
        super().give_back(event.data)
        return event

    def _in_events(self, chunks: list[Any]) -> list[Any]:
        events = []
        for chunk in chunks:
            event = copy.copy(self._event)
            event.data = chunk
            events.append(event)
        return events
