"""The output indexes and sequence numbers of a rewritten response.  Pure.

Items and events that the server does not know of move those behind them. A server that sends no indexes, or no numbers,
gets none.
"""

from __future__ import annotations

from typing import Any


class OutputIndexes:
    """Where items come out: those of the server in their order, and others among them."""

    __slots__ = ("_known", "_last", "_shift")

    def __init__(self) -> None:
        self._shift = 0
        self._last = -1
        # Items that are no messages, and messages that were given back.
        self._known: dict[Any, int] = {}

    def next(self, index: int | None) -> int | None:
        """Where a message of the server comes out."""
        return None if index is None else self._next(index)

    def insert(self, index: int | None) -> int | None:
        """Where an item comes out that the server does not know of. `index`: that of the message it was found in."""
        if index is None:
            return None
        self._last = max(self._last + 1, index + self._shift)
        self._shift += 1
        return self._last

    def drop(self) -> None:
        """The server counts an item that does not come out."""
        self._shift -= 1

    def keep(self, key: Any, place: int) -> None:
        """All that is still to come of an item comes out at `place`."""
        self._known[key] = place

    def of(self, key: Any, index: int) -> int:
        """Where an item of the server comes out that is no message."""
        place = self._known.get(key)
        if place is None:
            place = self._known[key] = self._next(index)
        return place

    def _next(self, index: int) -> int:
        place = index + self._shift
        if self._shift and place <= self._last:
            place = self._last + 1
        self._last = max(self._last, place)
        return place


class SequenceNumbers:
    """Counts events on where some are added or left out."""

    __slots__ = ("_last", "_shift")

    def __init__(self) -> None:
        self._shift = 0
        self._last: int | None = None

    def same(self, event: Any) -> None:
        """An event comes out as the only one for itself."""
        number = getattr(event, "sequence_number", None)
        if type(number) is int:
            if self._shift:
                event.sequence_number = number = number + self._shift
            self._last = number

    def instead(self, event: Any, out: list[Any]) -> list[Any]:
        """The events `out` come out for one of the server. Returns them."""
        number = getattr(event, "sequence_number", None)
        if type(number) is not int:
            return out
        number += self._shift
        for place, made in enumerate(out):
            if getattr(made, "sequence_number", None) != number + place:
                made.sequence_number = number + place
        self._shift += len(out) - 1
        self._last = number + len(out) - 1
        return out

    def behind(self, out: list[Any]) -> list[Any]:
        """The events `out` come out behind the last one of the server. Returns them."""
        for event in out:
            if self._last is not None:
                event.sequence_number = self._last = self._last + 1
        return out
