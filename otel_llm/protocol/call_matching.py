"""Which call a tool-call delta belongs to.  Pure.

- The index within the choice decides; without an index, the id; without both, the delta continues the last call.
  Indexes need not start at 0, be dense or be in order. They are only keys, so a huge one allocates nothing.
- An index that comes late is given to the call that came without one: the call of that id, or else the one counted at
  that place.
- A different id at an index in use starts a new call if it comes with a name, and if that name differs or the arguments
  so far are already one whole JSON value (Ollama, LiteLLM and SGLang reuse indexes). An id that an earlier call of the
  same index has continues that call. Any other id contradicts the call at the index.
- The legacy `function_call` is one call, which has neither index nor id.
"""

from __future__ import annotations

from typing import NamedTuple

from otel_llm.protocol.choice import Choice
from otel_llm.protocol.tool_call import CallKind, ToolCall
from otel_llm.protocol.tool_names import ToolNames


class LegacyKey:
    """The key of the `function_call` among the indexes of a choice. Equal to nothing that a server can send."""


LEGACY = LegacyKey()


class TextKey(NamedTuple):
    """The key of a call that was found in the text of a choice."""

    number: int


Key = int | LegacyKey | TextKey


def find_call(
    choice: Choice, key: Key | None, call_id: str | None, name: str | None, names: ToolNames
) -> ToolCall | None:
    """The call that a delta continues, or None if it starts a new one."""
    if key is None:
        return _without_index(choice, call_id, name)
    call = choice.by_index.get(key)
    if call is None:
        return _with_new_index(choice, key, call_id, name, names) if isinstance(key, int) else None
    if call_id is None or call_id == call.id:
        return call
    return _with_another_id(choice, key, call, call_id, name, names)


def _without_index(choice: Choice, call_id: str | None, name: str | None) -> ToolCall | None:
    last = choice.last_call
    if call_id is None:
        return last
    known = choice.by_id.get(call_id)
    if known is None and name is None and last is not None and last.id is None:
        # The id of the last call comes late.
        return last
    return known


def _with_new_index(
    choice: Choice, key: int, call_id: str | None, name: str | None, names: ToolNames
) -> ToolCall | None:
    """The call that came without its index until now. It gets the index."""
    call = None if call_id is None else choice.by_id.get(call_id)
    if call is None:
        call = choice.without_index.get(key)
        if call is None or (call_id is not None and call.id is not None):
            return None
        if name is not None and (names.contradicts(call, name) or call.is_whole()):
            return None
    if choice.without_index.get(call.index) is not call:
        return None
    del choice.without_index[call.index]
    call.index = key
    choice.by_index[key] = call
    return call


def _with_another_id(
    choice: Choice, key: Key, call: ToolCall, call_id: str, name: str | None, names: ToolNames
) -> ToolCall | None:
    """The call that a delta continues whose id is not that of `call`, the last one at its index."""
    earlier = choice.by_id.get(call_id)
    if earlier is not None and earlier.index == call.index and (name is None or not earlier.is_whole()):
        choice.by_index[key] = earlier
        return earlier
    if name is None:
        return call
    differs = names.contradicts(call, name)
    if call.id is None:
        return None if differs and call.is_whole() else call
    return None if differs or call.is_whole() else call


def begin_call(choice: Choice, key: Key | None, kind: CallKind, time_ns: int) -> ToolCall:
    """Add a call to a choice. Without an index it gets the next free one."""
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
