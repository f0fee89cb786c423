"""The tool calls and results at the end of the conversation that a request sends.  Pure.

Each request sends the whole conversation, so only its end is new: the results after the model's last message. Nothing
here reads further back than it must, and a conversation that is an iterator is not read, because that would consume it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from otel_llm.protocol.fields import field, given, items_of, text_of

# Most ids of each kind of fault.
_MOST = 256
# How many messages before the turn are searched for earlier results.
_EARLIER = 16
_CALLS = frozenset({"function_call", "custom_tool_call"})
_RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})
# Items that stand for others, which only the server has.
_REFERENCES = frozenset({"item_reference", "compaction"})

_Kind = Literal["model", "result", "other"]


class Turn(NamedTuple):
    """The last turn of a conversation that has tool calls or results in it. All fields hold call ids, in order."""

    results: tuple[str, ...] = ()
    """Calls that this request answers."""
    earlier: tuple[str, ...] = ()
    """Calls answered before the model's last message, the last one first. New too, if no request sent them before."""
    without_call: tuple[str, ...] = ()
    """Results that belong to no call in the conversation; an empty string for a result without a call id."""
    unanswered: tuple[str, ...] = ()
    """Calls of the model's last message that have no result."""
    repeated: tuple[str, ...] = ()
    """Calls that have more than one result, here or further up."""
    tools: tuple[tuple[str, str], ...] = ()
    """(id, tool name) of each call in the model's last message, if the request has results and the call has both."""
    previous_response: str | None = None
    """`previous_response_id`, if the request itself has no messages of the model."""


def read_turn(kwargs: Mapping[str, Any]) -> Turn | None:
    """The last turn in the arguments of a `create` call, or None if it has neither calls nor results."""
    messages = given(kwargs.get("messages"))
    if messages is not None:
        return _last_turn(items_of(messages), _message, whole=True)
    items = items_of(given(kwargs.get("input")))
    previous = text_of(given(kwargs.get("previous_response_id")))
    # Calls that are not in the request may be in the part of the conversation that the server holds.
    whole = previous is None and given(kwargs.get("conversation")) is None
    turn = _last_turn(items, _item, whole=whole)
    if previous is not None and all(_item(item).kind != "model" for item in items):
        return (turn or Turn())._replace(previous_response=previous)
    return turn


class _Entry(NamedTuple):
    """What one message or item has to do with calls. `is_reference`: its content is held by the server."""

    kind: _Kind
    calls: tuple[str, ...] = ()
    result: str | None = None
    is_reference: bool = False


_OTHER = _Entry("other")
_Reader = Callable[[Any], _Entry]


def _message(message: Any) -> _Entry:
    role = text_of(message.get("role") if type(message) is dict else field(message, "role"))
    if role == "user":
        return _OTHER
    if role == "assistant":
        calls = items_of(field(message, "tool_calls"))
        return _Entry("model", tuple([call_id for call in calls if (call_id := text_of(field(call, "id")))]))
    if role == "tool":
        return _Entry("result", result=text_of(field(message, "tool_call_id")) or "")
    return _OTHER


def _item(item: Any) -> _Entry:
    kind = text_of(field(item, "type")) or ""
    if kind in _RESULTS:
        return _Entry("result", result=text_of(field(item, "call_id")) or "")
    if kind == "reasoning" or kind.endswith("_call") or text_of(field(item, "role")) == "assistant":
        call_id = text_of(field(item, "call_id")) if kind in _CALLS else None
        return _Entry("model", () if call_id is None else (call_id,))
    # A reference may come without its type.
    if kind in _REFERENCES or (not kind and field(item, "id") is not None and field(item, "role") is None):
        return _Entry("model", is_reference=True)
    return _OTHER


def _last_turn(messages: Sequence[Any], read: _Reader, *, whole: bool) -> Turn | None:
    """The last turn, or None if it has neither calls nor results. `whole`: the conversation is all in `messages`."""
    start, calls, results, tools, has_reference = _end_of(messages, read)
    if not results and not calls:
        return None
    made, answered = Counter(calls), Counter(results)
    # Calls that share an id have a result each.
    repeated = [call for call, count in answered.items() if call and count > max(1, made[call])]
    without_call: list[str] = []
    unmatched = [result for result in answered if result not in made]
    if unmatched and whole and not has_reference:
        known, earlier = _calls_and_results(messages[:start], read)
        if known is not None:
            repeated += [result for result in unmatched if result in earlier and result not in repeated]
            without_call = [result for result in unmatched if result not in known and result not in earlier]
    return Turn(
        results=tuple(call for call in answered if call),
        earlier=tuple(_earlier_results(messages, start, read)),
        without_call=tuple(without_call[:_MOST]),
        unanswered=tuple(call for call in reversed(made) if call not in answered)[:_MOST],
        repeated=tuple(repeated[:_MOST]),
        tools=tuple(tools),
    )


def _end_of(messages: Sequence[Any], read: _Reader) -> tuple[int, list[str], list[str], list[tuple[str, str]], bool]:
    """The model's last message (which may be several items) and the results after it, read backwards.

    Returns how many messages come before it, its calls from last to first, the results in order, (id, tool name) of the
    calls if there are results, and whether one of its items is a reference.
    """
    calls: list[str] = []
    results: list[str] = []
    tools: list[tuple[str, str]] = []
    # A message of the model at the very end, without a call, is there to be continued (a prefill), and is no turn.
    is_prefill, in_model_message, has_reference = True, False, False
    start = len(messages)
    while start > 0:
        entry = read(messages[start - 1])
        if entry.kind != "model":
            if in_model_message:
                break
            is_prefill = False
            if entry.result is not None:
                results.append(entry.result)
        elif not is_prefill or entry.calls or entry.is_reference:
            is_prefill, in_model_message = False, True
            has_reference = has_reference or entry.is_reference
            if entry.calls:
                calls += reversed(entry.calls)
                if results:
                    tools += _tools_of(messages[start - 1])
        start -= 1
    results.reverse()
    return start, calls, results, tools, has_reference


def _tools_of(message: Any) -> Iterator[tuple[str, str]]:
    """(id, tool name) of each call in a message, or of the call that an item is."""
    calls = items_of(field(message, "tool_calls"))
    for call in calls:
        function = field(call, "function")
        call_id = text_of(field(call, "id"))
        name = text_of(field(field(call, "custom") if function is None else function, "name"))
        if call_id and name:
            yield call_id, name
    if not calls:
        call_id, name = text_of(field(message, "call_id")), text_of(field(message, "name"))
        if call_id and name:
            yield call_id, name


def _earlier_results(messages: Sequence[Any], end: int, read: _Reader) -> Iterator[str]:
    """Results in `messages[:end]`, the last one first, back to a message that is neither a result nor the model's."""
    for at in range(end - 1, max(-1, end - 1 - _EARLIER), -1):
        entry = read(messages[at])
        if entry.kind == "other":
            return
        if entry.result:
            yield entry.result


def _calls_and_results(messages: Sequence[Any], read: _Reader) -> tuple[set[str] | None, set[str]]:
    """All calls and all results in `messages`. None for the calls if a reference hides some of them."""
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
