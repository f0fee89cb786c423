"""What a request says of the calls before it: which results it brings, and which calls it leaves open.  Pure.

A conversation is sent whole each time, so only its end is new: the results behind the last message of the model.
Nothing here reads further than it must, and nothing is read of a conversation that is an iterator, which is the
caller's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from otel_llm.protocol.fields import field, given, items_of, text_of

# How many faults of each kind are named, and how many messages before the turn are looked at.
_MOST = 256
_EARLIER = 16
_CALLS = frozenset({"function_call", "custom_tool_call"})
_RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})
# Items that stand for others, which the server has.
_REFERENCES = frozenset({"item_reference", "compaction"})

_Kind = Literal["model", "result", "other"]


class Turn(NamedTuple):
    """The end of a conversation, where it has to do with calls. All are ids of calls, in order."""

    results: tuple[str, ...] = ()
    """Calls that this request answers."""
    earlier: tuple[str, ...] = ()
    """Calls that were answered further up, the last one first: new too, if nobody sent their results so far."""
    without_call: tuple[str, ...] = ()
    """Results of calls that nobody made; empty strings for results that do not say of which call."""
    unanswered: tuple[str, ...] = ()
    """Calls of the model's last message that have no result."""
    repeated: tuple[str, ...] = ()
    """Calls that are answered twice, or again."""
    tools: tuple[tuple[str, str], ...] = ()
    """Id and tool of the calls of the model's last message, as far as it names them."""
    previous_response: str | None = None
    """The response that this request goes on from, where nothing of the model's is in between."""


def read_turn(kwargs: Mapping[str, Any]) -> Turn | None:
    """The last turn of the conversation in the arguments of `create`, None where it has nothing to do with calls."""
    messages = given(kwargs.get("messages"))
    if messages is not None:
        return _read(items_of(messages), _message, whole=True)
    items = items_of(given(kwargs.get("input")))
    previous = text_of(given(kwargs.get("previous_response_id")))
    # Where the server holds a part of the conversation, what is not here may be there.
    whole = previous is None and given(kwargs.get("conversation")) is None
    turn = _read(items, _item, whole=whole)
    if previous is not None and all(_item(item).kind != "model" for item in items):
        return (turn or Turn())._replace(previous_response=previous)
    return turn


class _Entry(NamedTuple):
    """A message or item as far as calls go."""

    kind: _Kind
    calls: tuple[str, ...] = ()
    result: str | None = None
    # A reference to something that the server holds.
    is_reference: bool = False


_OTHER = _Entry("other")
_Reader = Callable[[Any], _Entry]


def _message(message: Any) -> _Entry:
    role = message.get("role") if type(message) is dict else field(message, "role")
    if role == "user":
        return _OTHER
    if role == "assistant":
        calls = items_of(field(message, "tool_calls"))
        return _Entry("model", tuple(call_id for call in calls if (call_id := text_of(field(call, "id")))))
    if role == "tool":
        return _Entry("result", result=text_of(field(message, "tool_call_id")) or "")
    return _OTHER


def _item(item: Any) -> _Entry:
    kind = text_of(field(item, "type")) or ""
    if kind in _RESULTS:
        return _Entry("result", result=text_of(field(item, "call_id")) or "")
    if kind == "reasoning" or kind.endswith("_call") or field(item, "role") == "assistant":
        call_id = text_of(field(item, "call_id")) if kind in _CALLS else None
        return _Entry("model", () if call_id is None else (call_id,))
    # A reference may come without its type.
    if kind in _REFERENCES or (not kind and field(item, "id") is not None and field(item, "role") is None):
        return _Entry("model", is_reference=True)
    return _OTHER


def _read(messages: Sequence[Any], read: _Reader, *, whole: bool) -> Turn | None:
    at = len(messages) - 1
    # What the model shall go on writing is no turn of it. (No request ends with a message of the model otherwise.)
    while at >= 0 and (entry := read(messages[at])).kind == "model" and not (entry.calls or entry.is_reference):
        at -= 1
    results: list[str] = []
    # Behind the model's last message; then that message, which may be several: a response's items are.
    while at >= 0 and entry.kind != "model":
        if entry.result is not None:
            results.append(entry.result)
        at -= 1
        if at >= 0:
            entry = read(messages[at])
    if at < 0 and not results:
        return None
    calls: Counter[str] = Counter()
    tools: list[tuple[str, str]] = []
    while at >= 0 and entry.kind == "model":
        calls.update(reversed(entry.calls))
        if entry.calls and results:
            tools += _tools_of(messages[at])
        whole = whole and not entry.is_reference
        at -= 1
        if at >= 0:
            entry = read(messages[at])
    if not results and not calls:
        return None
    results.reverse()
    times = Counter(results)
    # Calls that share an id have a result each.
    repeated = [call for call, count in times.items() if call and count > max(1, calls[call])]
    without_call: list[str] = []
    strangers = [result for result in times if result not in calls]
    if strangers and whole:
        known, earlier_results = _all_of(messages[: at + 1], read)
        if known is not None:
            repeated += [result for result in strangers if result in earlier_results and result not in repeated]
            without_call = [result for result in strangers if result not in known and result not in earlier_results]
    return Turn(
        tuple(call for call in times if call),
        tuple(_earlier(messages, at, read)),
        tuple(without_call[:_MOST]),
        tuple(call for call in reversed(calls) if call not in times)[:_MOST],
        tuple(repeated[:_MOST]),
        tuple(tools),
    )


def _tools_of(message: Any) -> Iterator[tuple[str, str]]:
    """Id and tool of each call of a message, or of the one that an item is."""
    call_id, name = text_of(field(message, "call_id")), text_of(field(message, "name"))
    if call_id and name:
        yield call_id, name
    for call in items_of(field(message, "tool_calls")):
        function = field(call, "function")
        call_id = text_of(field(call, "id"))
        name = text_of(field(field(call, "custom") if function is None else function, "name"))
        if call_id and name:
            yield call_id, name


def _earlier(messages: Sequence[Any], at: int, read: _Reader) -> Iterator[str]:
    """Results before the model's last message, back to the message that is neither result nor the model's."""
    for position in range(at, max(-1, at - _EARLIER), -1):
        entry = read(messages[position])
        if entry.kind == "other":
            return
        if entry.result:
            yield entry.result


def _all_of(messages: Sequence[Any], read: _Reader) -> tuple[set[str] | None, set[str]]:
    """All calls and all results of a conversation; None for the calls where some of them cannot be seen."""
    calls: set[str] = set()
    results: set[str] = set()
    for message in messages:
        entry = read(message)
        if entry.is_reference:
            return None, results
        calls.update(entry.calls)
        if entry.result:
            results.add(entry.result)
    return calls, results
