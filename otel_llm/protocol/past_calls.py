"""The calls of the conversation so far, turn by turn, from its end back to the last message of the user's.  Pure.

- The conversation is that of the request: messages, or input items. Its last `MOST_MESSAGES` are read. With
  `previous_response_id`, the turns that the server holds come from what was remembered of earlier responses.
- A turn is what the model said in one go (one message, or several items), and the results up to its next one. Results
  belong to calls of their own turn only, because many servers number the calls of each turn anew.
- Arguments and results are compared by meaning: JSON in one spelling, anything else as text.

Nothing is read until a judge asks, and then one turn at a time. Nothing here raises, whatever the messages are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from otel_llm.protocol import json_values
from otel_llm.protocol.conversation import ids_of
from otel_llm.protocol.fields import field, given, is_a, items_of, text_of
from otel_llm.protocol.item_kinds import (
    NAMED_CALLS,
    arguments_of,
    arguments_text,
    is_call,
    is_part_of_answer,
    is_shell_call,
    name_of,
    result_of,
    runs_on_server,
)
from otel_llm.protocol.json_values import Shape
from otel_llm.protocol.message_text import content_text

MOST_MESSAGES = 64
MOST_TURNS = 32
"""Turns before a response that are remembered."""
MOST_IDS = 256
"""Ids of calls before a response that are remembered."""

# Longer texts are compared by their digests, so that it takes little memory to remember a call.
_LONGEST_TEXT = 128
# Longer results are compared as text: parsing them could take longer than the request.
_LONGEST_JSON = 131_072
_LONGEST_CACHED = 512
# Items that stand for others, which only the server has.
_REFERENCES = frozenset({"item_reference", "compaction"})
# Stands for a value that has no meaning to compare.
_INCOMPARABLE: Any = object()

Call = tuple[str, str]
"""A call by what it means: the name of the tool, and its arguments in one spelling."""
Results = tuple[str, ...]
"""What the results of one call mean, in order."""


class MadeCall(NamedTuple):
    """A call in the conversation. `key`: what its result names, which is the id of all calls but the legacy ones."""

    id: str | None
    key: str | None
    name: str | None
    arguments: Any
    is_free_text: bool = False
    item: str | None = None
    """The id of its item, if its result may name that instead."""


class PastTurn(NamedTuple):
    """One turn: its calls, and the results behind them, each with the key of its call. At least one call."""

    calls: tuple[MadeCall, ...]
    results: tuple[tuple[str | None, Any], ...] = ()

    def meanings(self) -> dict[Call, list[str | None]]:
        """Each different call, and the keys of its results."""
        made: dict[Call, list[str | None]] = {}
        for call in self.calls:
            arguments = meaning_of_arguments(call.arguments, is_free_text=call.is_free_text)
            if call.name is not None and arguments is not None:
                made.setdefault((call.name, brief(arguments)), []).append(call.key)
        return made

    def results_of(self, keys: Sequence[str | None]) -> Results | None:
        """What the results of the calls with these keys mean; None if one is missing or cannot be compared."""
        found = []
        for key in set(keys):
            meanings = [_meaning_of_result(result) for of, result in self.results if of == key and key is not None]
            if not meanings or None in meanings:
                return None
            found += [brief(meaning) for meaning in meanings if meaning is not None]
        return tuple(sorted(set(found)))


class Remembered(NamedTuple):
    """What was observed of a conversation that the server holds: its turns, the last one first, and its calls' ids."""

    turns: tuple[PastTurn, ...] = ()
    ids: frozenset[str] = frozenset()


class Conversation(NamedTuple):
    """The end of the conversation that a request sends.

    `unread`: messages before it. `source`: the whole conversation, None if that is an iterator, which must not be read.
    `previous`: the response that it continues from, if the server holds the rest.
    """

    entries: Sequence[Any] = ()
    unread: int = 0
    source: Any = None
    previous: str | None = None
    remembered: Remembered = Remembered()


def read_conversation(kwargs: Mapping[str, Any]) -> Conversation:
    """The conversation in the arguments of a `create` call. Its messages are only looked at later."""
    source, previous = kwargs.get("messages"), text_of(given(kwargs.get("previous_response_id")))
    if type(source) is list and len(source) <= MOST_MESSAGES:
        return Conversation(source.copy(), 0, source, previous)
    source = given(source)
    if source is None:
        source = given(kwargs.get("input"))
    if is_a(source, str):
        return Conversation(({"role": "user", "content": source},), 0, source, previous)
    if source is None:
        return Conversation(source=(), previous=previous)
    if not is_a(source, (list, tuple)):
        return Conversation(previous=previous)
    # A copy, because an agent appends to its list while the response streams.
    return Conversation(source[-MOST_MESSAGES:], max(0, len(source) - MOST_MESSAGES), source, previous)


# Meaning ------------------------------------------------------------------------------------------------------


def brief(text: str) -> str:
    """The text, or its digest if it is long. Of what it returned it makes nothing else."""
    if len(text) <= _LONGEST_TEXT:
        return text
    return "#" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def meaning_of_arguments(arguments: Any, *, is_free_text: bool = False) -> str | None:
    """Arguments in one spelling for all that mean the same. No arguments count as an empty object."""
    if is_a(arguments, str):
        return str(arguments) if is_free_text else meaning_of_json(arguments)
    return _spelled({} if arguments is None else arguments)


def meaning_of_json(text: str) -> str:
    """JSON in one spelling. Nothing at all counts as an empty object; a text that is no JSON is left as it is."""
    if len(text) <= _LONGEST_CACHED:
        return _meaning_of_short(text)
    return meaning_of_reading(json_values.read(text), text)


@lru_cache(maxsize=256)
def _meaning_of_short(text: str) -> str:
    """Cached, because an agent sends the same calls with each request of a conversation."""
    return meaning_of_reading(json_values.read(text), text)


def meaning_of_reading(reading: json_values.Reading, text: str) -> str:
    """The same for a text that has been parsed."""
    if reading.shape is Shape.NOTHING:
        return "{}"
    if reading.shape in {Shape.OBJECT, Shape.OTHER, Shape.SEVERAL}:
        try:
            return json_values.canonical(reading.value)
        except RecursionError:
            return text
    return text


def _meaning_of_result(result: Any) -> str | None:
    """None for content that cannot be compared, such as an image that is an object of an SDK."""
    text = content_text(result)
    if text is None:
        if result is None:
            return ""
        texts = [text_of(field(part, "text")) for part in items_of(result)]
        if not texts or None in texts:
            return _spelled(result)
        text = "".join(filter(None, texts))
    text = text.strip()
    return meaning_of_json(text) if len(text) <= _LONGEST_JSON and text.startswith(("{", "[")) else text


def _spelled(value: Any) -> str | None:
    try:
        return json_values.canonical(value)
    except Exception:  # noqa: BLE001  nested too deeply, keys that cannot be sorted, objects of an SDK
        return None


# The conversation ---------------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    """What one message or item is. `hidden`: its content is held by the server."""

    kind: Literal["model", "result", "user", "hidden", "other"]
    calls: tuple[MadeCall, ...] = ()
    key: str | None = None
    result: Any = None
    result_id: str | None = None


_OTHER, _USER, _HIDDEN, _MODEL = _Entry("other"), _Entry("user"), _Entry("hidden"), _Entry("model")


def past_turns(conversation: Conversation) -> Iterator[PastTurn]:
    """The turns with calls, the last one first, back to a message of the user's or to what cannot be read."""
    calls: tuple[MadeCall, ...] = ()
    results: list[tuple[str | None, Any]] = []
    has_own_turn = False
    for message in reversed(conversation.entries):
        entry = _read(message)
        if entry.kind == "model":
            calls = (*entry.calls, *calls)
        elif entry.kind != "other":
            if calls:
                yield _turn_of(calls, results)
                calls, results, has_own_turn = (), [], True
            if entry.kind != "result":
                return
            results.append((entry.key, entry.result))
    if calls:
        yield _turn_of(calls, results)
        results, has_own_turn = [], True
    if conversation.unread:
        return
    for position, turn in enumerate(conversation.remembered.turns):
        # The last turn that the server holds has its results here.
        yield turn if position or has_own_turn else turn._replace(results=tuple(results[::-1]))


def _turn_of(calls: tuple[MadeCall, ...], results: list[tuple[str | None, Any]]) -> PastTurn:
    """`results`: the last one first."""
    by_item: dict[str | None, str | None] = {call.item: call.key for call in calls if call.item is not None}
    if by_item:
        results = [(by_item.get(key, key), result) for key, result in results]
    return PastTurn(calls, tuple(results[::-1]))


def past_ids(conversation: Conversation) -> set[str]:
    """The ids of the calls in the conversation, as far as it was sent or is remembered."""
    ids = set(conversation.remembered.ids)
    for message in conversation.entries:
        role = message.get("role") if type(message) is dict else None
        if type(role) is not str:
            ids.update(call.id for call in _read(message).calls if call.id is not None)
        elif role == "assistant" and (calls := items_of(message.get("tool_calls"))):
            # Other messages, which are most, need not be read for this.
            ids.update(ids_of(calls))
    return ids


def sent_ids(conversation: Conversation) -> list[str]:
    """The ids that a request sends with calls and with results, each once, in order."""
    ids: dict[str, None] = {}
    for message in conversation.entries:
        entry = _read(message)
        for call_id in [*(call.id for call in entry.calls), entry.result_id]:
            if call_id is not None:
                ids[call_id] = None
    return list(ids)


def last_user_message(conversation: Conversation) -> Any:
    """The content of the user's last message, None if it is not among those that are read."""
    for message in reversed(conversation.entries):
        if _read(message).kind == "user":
            return field(message, "content")
    return None


def remember(conversation: Conversation, calls: Sequence[MadeCall]) -> Remembered:
    """What a request needs to know that continues from the response with these calls."""
    turns: list[PastTurn] = [PastTurn(tuple(map(_briefly, calls)))] if calls else []
    for turn in past_turns(conversation):
        if len(turns) == MOST_TURNS:
            break
        results = tuple((key, _brief_result(result)) for key, result in turn.results)
        turns.append(PastTurn(tuple(map(_briefly, turn.calls)), results))
    ids = past_ids(conversation) | {call.id for call in calls if call.id is not None}
    return Remembered(tuple(turns), frozenset(sorted(ids)[:MOST_IDS]) if len(ids) > MOST_IDS else frozenset(ids))


def _briefly(call: MadeCall) -> MadeCall:
    arguments = meaning_of_arguments(call.arguments, is_free_text=call.is_free_text)
    return call._replace(arguments=_INCOMPARABLE if arguments is None else brief(arguments), is_free_text=True)


def _brief_result(result: Any) -> Any:
    meaning = _meaning_of_result(result)
    return _INCOMPARABLE if meaning is None else brief(meaning)


def _read(message: Any) -> _Entry:
    # As in `conversation.py`: `field` would take longer than all else here.
    read = message.get if type(message) is dict else partial(field, message)
    role = text_of(read("role"))
    if role == "tool":
        call_id = text_of(read("tool_call_id"))
        return _Entry("result", (), call_id, field(message, "content"), call_id)
    if role == "assistant":
        calls = items_of(read("tool_calls"))
        legacy = read("function_call")
        return _Entry("model", (*map(_call, calls), *_legacy(legacy))) if calls or legacy is not None else _MODEL
    if role == "user":
        return _USER
    if role == "function":
        return _Entry("result", (), text_of(field(message, "name")), field(message, "content"))
    return _read_item(message) if role is None else _OTHER


def _call(call: Any) -> MadeCall:
    if type(call) is dict and type(function := call.get("function")) is dict:
        # A short cut for the usual form.
        call_id, name, arguments = call.get("id"), function.get("name"), function.get("arguments")
        if type(call_id) is str and call_id and type(name) is str and name and type(arguments) is str:
            return MadeCall(call_id, call_id, name, arguments)
    call_id = text_of(field(call, "id"))
    function = field(call, "function")
    if function is None and (custom := field(call, "custom")) is not None:
        return MadeCall(call_id, call_id, text_of(field(custom, "name")), field(custom, "input"), is_free_text=True)
    return MadeCall(call_id, call_id, text_of(field(function, "name")), field(function, "arguments"))


def _legacy(function_call: Any) -> tuple[MadeCall, ...]:
    name = text_of(field(function_call, "name"))
    return () if name is None else (MadeCall(None, name, name, field(function_call, "arguments")),)


def _read_item(item: Any) -> _Entry:
    kind = text_of(field(item, "type")) or ""
    answered = result_of(item, kind)
    if answered is not None:
        result = field(item, "tools" if kind == "tool_search_output" else "output")
        return _Entry("result", (), answered or None, result, answered or None)
    if is_part_of_answer(item, kind):
        if not is_call(kind) or runs_on_server(item, kind):
            return _MODEL
        call_id = text_of(field(item, "call_id"))
        arguments = arguments_of(item, kind) if kind in NAMED_CALLS else arguments_text(item, kind)
        item_id = text_of(field(item, "id")) if is_shell_call(item) else None
        call = MadeCall(call_id, call_id, name_of(item, kind), arguments, kind == "custom_tool_call", item_id)
        return _Entry("model", (call,))
    if kind in _REFERENCES or (not kind and field(item, "id") is not None):
        return _HIDDEN
    return _OTHER
