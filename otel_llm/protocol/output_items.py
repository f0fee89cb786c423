"""Which call an output item of the Responses API is, and how much of it is known.  Pure.

Servers repeat the ids of calls and of items, change them between events, leave them out, or give every item the index
0. So none of them decides alone.
"""

from __future__ import annotations

from typing import Any

from otel_llm.protocol.choice import Limits
from otel_llm.protocol.fields import is_a


class ItemCall:
    """A call that an output item is: what identifies it, and how much of its arguments has been fed."""

    __slots__ = ("id", "index", "name", "received")

    def __init__(self, index: int | None, call_id: str | None) -> None:
        self.index = index
        self.id = call_id
        self.name: str | None = None
        self.received = 0
        """Characters of its arguments."""

    def has_id(self, call_id: str | None) -> bool:
        return call_id is not None and call_id == self.id

    def new_arguments(self, arguments: Any) -> Any:
        """What the complete arguments add to those received, or None. A value that is no string is returned once."""
        if is_a(arguments, str):
            rest = arguments[self.received :]
            self.received += len(rest)
            return rest if len(rest) else None
        if arguments is None or self.received:
            return None
        self.received = 1
        return arguments


class ItemCalls:
    """The calls of one response."""

    __slots__ = ("_by_id", "_by_item", "_limits", "by_index")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.by_index: dict[int, ItemCall] = {}
        self._by_item: dict[str, ItemCall] = {}
        self._by_id: dict[str, ItemCall] = {}

    def of_item(self, index: int | None, item_id: str | None, call_id: str | None, *, at_end: bool) -> ItemCall | None:
        """The call of a whole item, or None if it is a new one. `at_end`: the index is only a position in a list."""
        here = None if index is None else self.by_index.get(index)
        if here is not None and here.has_id(call_id):
            return here
        known = None if call_id is None else self._by_id.get(call_id)
        if known is None and item_id is not None:
            known = self._by_item.get(item_id)
            if known is not None and not known.has_id(call_id) and known.index != index:
                known = None
        elif known is not None and not at_end and None not in {index, known.index} and known.index != index:
            # Two calls that share an id.
            known = None
        return known or (here if here is not None and (here.id is None or call_id is None) else None)

    def of_delta(self, index: int | None, item_id: str | None) -> ItemCall | None:
        """The call of a delta, or None if it is not known."""
        call = None if index is None else self.by_index.get(index)
        return call or self._by_item.get(item_id or "")

    def begin(self, index: int | None, item_id: str | None, call_id: str | None) -> ItemCall:
        call = ItemCall(index, call_id)
        if self._has_room:
            if index is not None:
                self.by_index[index] = call
            if item_id is not None:
                self._keep(self._by_item, item_id, call)
            if call_id is not None:
                self._keep(self._by_id, call_id, call)
        return call

    def identify(self, call: ItemCall, call_id: str | None, name: str | None) -> None:
        """Add what a later item says of a call. The first id and the first name stay."""
        call.id, call.name = call.id or call_id, call.name or name
        if call_id is not None and call_id not in self._by_id and self._has_room:
            self._keep(self._by_id, call_id, call)

    @property
    def _has_room(self) -> bool:
        return len(self.by_index) + len(self._by_item) + len(self._by_id) < 3 * self._limits.calls

    def _keep(self, calls: dict[str, ItemCall], key: str, call: ItemCall) -> None:
        if len(key) <= self._limits.id:
            calls[key] = call
