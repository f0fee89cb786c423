"""Which call a delta is of.  Pure.

- A call is known by its index within its choice; where the index is missing, by its id; where both are missing, the
  delta goes on with the choice's last call. Indexes need not start at 0, be dense or be in order; they are keys, so a
  huge one allocates nothing.
- Another id at an index in use begins a call of its own if it comes with a name, and that name differs or the
  arguments so far are already one whole JSON value. Without that it contradicts the call it stands on, unless it is
  the id of an earlier call of that index, which then goes on.
- A name may come in pieces: while the pieces joined begin the name of a declared tool they are one name.
- The legacy `function_call` is one call that needs neither index nor id.
"""

from __future__ import annotations

from typing import NamedTuple

from otel_llm.protocol.choice import Choice
from otel_llm.protocol.tool_call import CallKind, ToolCall
from otel_llm.protocol.unicode_text import ends_with_half


class LegacyKey:
    """The key of the `function_call` among a choice's indexes: equal to nothing that a server can send."""


LEGACY = LegacyKey()


class TextKey(NamedTuple):
    """The key of a call that was found in a choice's text."""

    number: int


Key = int | LegacyKey | TextKey


class Names:
    """The names that calls may have; `declared` is None where any may be right."""

    __slots__ = ("declared",)

    def __init__(self, declared: frozenset[str] | None) -> None:
        self.declared = declared

    def may_become_declared(self, name: str) -> bool:
        """Whether more pieces could make a declared name of it, or it is one."""
        if self.declared is None:
            return False
        if ends_with_half(name):
            name = name[:-1]
        return any(tool.startswith(name) for tool in self.declared)

    def is_another(self, call: ToolCall, name: str) -> bool:
        """Whether `name` is neither the call's own nor a piece that goes on with it."""
        if call.name is None or name == call.name:
            return False
        is_declared = self.declared is not None and name in self.declared
        return is_declared or not self.may_become_declared(call.name + name)


def find_call(choice: Choice, key: Key | None, call_id: str | None, name: str | None, names: Names) -> ToolCall | None:
    """The call that a delta goes on with, None where it begins one."""
    of_same_id = None if call_id is None else choice.by_id.get(call_id)
    if key is None:
        last = choice.last_call
        if call_id is None:
            return last
        # An id that comes late is the last call's, if that has none yet.
        late = of_same_id is None and name is None and last is not None and last.id is None
        return last if late else of_same_id

    call = choice.by_index.get(key)
    if call is None:
        return None if isinstance(key, (LegacyKey, TextKey)) else _of_new_index(choice, key, call_id, name, names)
    if call_id is None or call_id == call.id:
        return call
    if of_same_id is not None and of_same_id.index == call.index and (name is None or not of_same_id.is_whole()):
        choice.by_index[key] = of_same_id
        return of_same_id
    if name is None:
        return call
    differs = names.is_another(call, name)
    if call.id is None:
        return None if differs and call.is_whole() else call
    return None if differs or call.is_whole() else call


def _of_new_index(choice: Choice, key: int, call_id: str | None, name: str | None, names: Names) -> ToolCall | None:
    """The call that came without its index until now: the one of that id, else the one that is at its place."""
    call = None if call_id is None else choice.by_id.get(call_id)
    if call is None:
        call = choice.without_index.get(key)
        if call is None or (call_id is not None and call.id is not None):
            return None
        if name is not None and (names.is_another(call, name) or call.is_whole()):
            return None
    if choice.without_index.get(call.index) is not call:
        return None
    del choice.without_index[call.index]
    call.index = key
    choice.by_index[key] = call
    return call


def begin_call(choice: Choice, key: Key | None, kind: CallKind, time_ns: int) -> ToolCall:
    """One more call of a choice."""
    index = 0
    if isinstance(key, int):
        index = key
    elif not isinstance(key, LegacyKey):
        index = len(choice.calls)
        while index in choice.by_index or index in choice.without_index:
            index += 1
    call = ToolCall(choice.index, index, kind, time_ns)
    if key is None:
        choice.without_index[index] = call
    else:
        call.index_reused = key in choice.by_index
        choice.by_index[key] = call
    choice.calls.append(call)
    return call
