"""The tool calls and results at the end of the conversation that a request sends.  Pure.

Each request sends the whole conversation, so only its end is new: the results after the model's last message. Nothing
here reads further back than it must, and a conversation that is an iterator is not read, because that would consume it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from otel_llm.protocol.fields import field, given, items_of, text_of
from otel_llm.protocol.item_kinds import (
    calls_by_item,
    is_call,
    is_part_of_answer,
    name_of,
    named_by_item,
    result_of,
    runs_on_server,
)

# Most ids of each kind of fault.
_MOST = 256
# How many messages before the turn are searched for earlier results.
_EARLIER = 16
# Items that stand for others, which only the server has.
_REFERENCES = frozenset({"item_reference", "compaction"})

# Calls that the application answers, unless the server did.
_EITHER_CALLS = frozenset({"custom_tool_call", "shell_call"})

# Roles of messages that have nothing to do with calls.
_NOT_THE_MODEL = frozenset({"user", "system", "developer"})

_Kind = Literal["model", "result", "other"]


class Turn(NamedTuple):
    """The last turn of a conversation that has tool calls or results in it. All fields hold call ids, in order."""

    results: tuple[str, ...] = ()
    """Calls that this request answers."""
    earlier: Iterable[str] = ()
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
    by_item: tuple[str, ...] = ()
    """Those of `results` that may be ids of items of the previous response, and not of calls."""


def read_turn(
    kwargs: Mapping[str, Any], tools: Container[str] | None = None, *, has_server_tools: bool = False
) -> Turn | None:
    """The last turn in the arguments of a `create` call, or None if it has neither calls nor results.

    `tools`: the names of the tools that the application answers, None if they are not known. `has_server_tools`:
    whether the server runs tools, too.
    """
    messages = given(kwargs.get("messages"))
    previous = text_of(given(kwargs.get("previous_response_id")))
    if messages is not None:
        messages = items_of(messages)
        if previous is not None:
            return (_last_turn(messages, _message, whole=False) or Turn())._replace(previous_response=previous)
        return None if _has_no_turn(messages) else _last_turn(messages, _message, whole=True)
    items = items_of(given(kwargs.get("input")))
    # Calls that are not in the request may be in the part of the conversation that the server holds.
    whole = previous is None and given(kwargs.get("conversation")) is None
    turn = _last_turn(items, _item, whole=whole)
    if turn is not None and (turn.without_call or turn.unanswered) and (calls := calls_by_item(items)):
        turn = _last_turn(items, partial(_item, calls=calls), whole=whole)
    if turn is not None and turn.unanswered and tools is not None:
        turn = _without_calls_of_server(turn, items, tools, has_server_tools=has_server_tools)
    if previous is not None and all(_item(item).kind != "model" for item in items):
        return (turn or Turn())._replace(previous_response=previous, by_item=tuple(named_by_item(items)))
    return turn


def _has_no_turn(messages: Sequence[Any]) -> bool:
    """Whether a glance shows that there is no turn: the model has said nothing yet."""
    for message in reversed(messages):
        role = message.get("role") if type(message) is dict else None
        if type(role) is not str or role not in _NOT_THE_MODEL:
            return False
    return True


def holds_conversation(kwargs: Mapping[str, Any]) -> bool:
    """Whether the server has a part of the conversation that the request does not send."""
    return (
        text_of(given(kwargs.get("previous_response_id"))) is not None or given(kwargs.get("conversation")) is not None
    )


class _Entry(NamedTuple):
    """What one message or item has to do with calls. `is_reference`: its content is held by the server."""

    kind: _Kind
    calls: tuple[str, ...] = ()
    result: str | None = None
    is_reference: bool = False
    needs_results: bool = True
    """Whether the application must answer the calls."""


_OTHER, _MODEL = _Entry("other"), _Entry("model")
_Reader = Callable[[Any], _Entry]


def _message(message: Any) -> _Entry:
    # `field` would take longer than all else here, and an agent sends dozens of these with each request.
    read = message.get if type(message) is dict else partial(field, message)
    role = read("role")
    if type(role) is not str:
        role = text_of(role)
    if role == "tool":
        call_id = read("tool_call_id")
        return _Entry("result", (), call_id if type(call_id) is str else text_of(call_id) or "")
    if role == "assistant":
        calls = items_of(read("tool_calls"))
        return _Entry("model", tuple(ids_of(calls))) if calls else _MODEL
    return _OTHER


def ids_of(calls: Sequence[Any]) -> list[str]:
    """The ids of the `tool_calls` of a message."""
    ids = []
    for call in calls:
        call_id = call.get("id") if type(call) is dict else field(call, "id")
        if type(call_id) is not str:
            call_id = text_of(call_id)
        if call_id:
            ids.append(call_id)
    return ids


def _item(item: Any, calls: Mapping[str, str] | None = None) -> _Entry:
    """`calls`: ids of calls by the ids of their items, if results may have these."""
    kind = text_of(field(item, "type")) or ""
    result = result_of(item, kind)
    if result is not None:
        return _Entry("result", result=result if calls is None else calls.get(result, result))
    if is_part_of_answer(item, kind):
        call_id = text_of(field(item, "call_id")) if is_call(kind) else None
        if call_id is None:
            return _Entry("model")
        return _Entry("model", (call_id,), needs_results=not runs_on_server(item, kind))
    # A reference may come without its type.
    if kind in _REFERENCES or (not kind and field(item, "id") is not None and field(item, "role") is None):
        return _Entry("model", is_reference=True)
    return _OTHER


def _without_calls_of_server(
    turn: Turn, items: Sequence[Any], tools: Container[str], *, has_server_tools: bool
) -> Turn:
    """The turn without calls of custom tools that the server ran, and so answered, by itself.

    It did if the request does not declare the tool, and either has tools that the server runs, or goes on with what
    the model wrote after the call.
    """
    waiting = set(turn.unanswered)
    ran: set[str] = set()
    is_answered = has_server_tools
    for item in reversed(items):
        kind = text_of(field(item, "type")) or ""
        if kind in _EITHER_CALLS:
            call_id = text_of(field(item, "call_id"))
            if is_answered and call_id in waiting and name_of(item, kind) not in tools:
                ran.add(call_id)
        elif text_of(field(item, "role")) == "assistant":
            is_answered = True
        elif not has_server_tools and not is_part_of_answer(item, kind):
            is_answered = False
        waiting.discard(text_of(field(item, "call_id")) or "")
        if not waiting:
            break
    return turn._replace(unanswered=tuple(call for call in turn.unanswered if call not in ran)) if ran else turn


def _last_turn(messages: Sequence[Any], read: _Reader, *, whole: bool) -> Turn | None:
    """The last turn, or None if it has neither calls nor results. `whole`: the conversation is all in `messages`."""
    end = _end_of(messages, read)
    start, calls, results = end.start, end.calls, end.results
    if not results and not calls:
        return None
    made, answered = Counter(calls), Counter(results)
    # Calls that share an id have a result each.
    repeated = [call for call, count in answered.items() if call and count > max(1, made[call])]
    without_call: list[str] = []
    unmatched = [result for result in answered if result not in made]
    if unmatched and whole and not end.has_reference:
        known, earlier = _calls_and_results(messages[:start], read)
        if known is not None:
            repeated += [result for result in unmatched if result in earlier and result not in repeated]
            without_call = [result for result in unmatched if result not in known and result not in earlier]
    return Turn(
        results=tuple(call for call in answered if call),
        earlier=_EarlierResults(messages, start, read),
        without_call=tuple(without_call[:_MOST]),
        unanswered=tuple(call for call in reversed(made) if call not in answered and call not in end.done)[:_MOST],
        repeated=tuple(repeated[:_MOST]),
        tools=tuple(end.tools),
    )


class _End:
    """The model's last message (which may be several items) and the results after it."""

    __slots__ = ("calls", "done", "has_reference", "results", "start", "tools")

    def __init__(self, start: int) -> None:
        self.start = start
        """How many messages come before it."""
        self.calls: list[str] = []
        """From last to first."""
        self.done: set[str] = set()
        """Those of `calls` that the application need not answer."""
        self.results: list[str] = []
        """In order."""
        self.tools: list[tuple[str, str]] = []
        """(id, tool name) of the calls, if there are results."""
        self.has_reference = False
        """Whether one of its items is a reference."""


def _end_of(messages: Sequence[Any], read: _Reader) -> _End:
    """The end of a conversation, read backwards."""
    end = _End(len(messages))
    # A message of the model at the very end, without a call, is there to be continued (a prefill), and is no turn.
    is_prefill, in_model_message = True, False
    while end.start > 0:
        message = messages[end.start - 1]
        entry = read(message)
        if entry.kind != "model":
            if in_model_message:
                break
            is_prefill = False
            if entry.result is not None:
                end.results.append(entry.result)
        elif not is_prefill or entry.calls or entry.is_reference:
            is_prefill, in_model_message = False, True
            end.has_reference = end.has_reference or entry.is_reference
            if entry.calls:
                end.calls += reversed(entry.calls)
                if not entry.needs_results:
                    end.done.update(entry.calls)
                if end.results:
                    end.tools += _tools_of(message)
        end.start -= 1
    end.results.reverse()
    return end


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
        call_id, kind = text_of(field(message, "call_id")), text_of(field(message, "type")) or ""
        name = name_of(message, kind) if is_call(kind) else None
        if call_id and name:
            yield call_id, name


class _EarlierResults:
    """Results in `messages[:end]`, the last one first, back to a message that is neither a result nor the model's.

    They are read as they are asked for, because mostly the first one is known already.
    """

    __slots__ = ("_end", "_messages", "_read")

    def __init__(self, messages: Sequence[Any], end: int, read: _Reader) -> None:
        self._messages = messages
        self._end = end
        self._read = read

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (tuple, _EarlierResults)) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # the messages can change

    def __iter__(self) -> Iterator[str]:
        for at in range(self._end - 1, max(-1, self._end - 1 - _EARLIER), -1):
            entry = self._read(self._messages[at])
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
