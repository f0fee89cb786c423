"""The events of the Responses API, read into the recording that also takes chat completions.  Pure.

Events and their fields: the OpenAI API reference, "Responses: streaming events". What this file makes of them:

- A response is one choice. Its calls are the output items `function_call` and `custom_tool_call`; a call's index is its
  `output_index`, its id the `call_id`. Items that the server runs itself (searches, MCP, code) are no calls.
- `max_output_tokens` is the finish reason `length`; a response that is complete ends with `tool_calls` or `stop`.
- What a later event repeats (`…done`, the items of `response.completed`) counts only as far as it is new: some servers
  send no deltas, some send them without an index, some name a call only at its end.
- `response.failed` and `error` are how a server says within a stream that it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from otel_llm.protocol.choice import Notice
from otel_llm.protocol.fields import field, index_of, is_a, items_of, text_of
from otel_llm.protocol.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT_DELTA = "response.output_text.delta"
_ITEM_DONE = "response.output_item.done"
_ARGUMENTS_DELTAS = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})
# The items that the caller answers, and the field with what they pass to the tool.
_ARGUMENTS_OF = {"function_call": "arguments", "custom_tool_call": "input"}
_FINISH_REASONS = {"max_output_tokens": "length", "max_tokens": "length"}

_Chunk = dict[str, Any]
_NOTHING: _Chunk = {"choices": []}


class ResponseEvents:
    """Takes the events of one response (`feed`), or a whole one (`read_response`), for `recording`."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._feed = recording.feed
        self._by_index: dict[int, _Call] = {}
        self._by_item: dict[str, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._has_calls = self._has_text = self._has_reasoning = False
        # Told with whole items, of which the end of the response has all again.
        self._told_text = self._told_reasoning = False
        # Made once and filled again for each delta: the recording keeps nothing of a chunk but its text.
        self._text_delta = _Delta()
        self._text_chunk = _chunk(self._text_delta)
        self._function = _Function()
        self._tool_call = _ToolCall(self._function)
        self._call_chunk = _chunk(_Delta([self._tool_call]))

    def feed(self, event: Any, asked_ns: int, came_ns: int) -> list[Notice] | None:
        """Take one event, as `Recording.feed` takes a chunk."""
        try:
            kind = event.type
            if kind in _ARGUMENTS_DELTAS:
                index = event.output_index
                call = self._by_index[index]
                text = event.delta
                if type(text) is str:
                    call.received += len(text)
                    self._tool_call.index = index
                    self._function.arguments = text
                    return self._feed(self._call_chunk, asked_ns, came_ns)
            elif kind == _TEXT_DELTA:
                self._text_delta.content = event.delta
                self._has_text = True
                return self._feed(self._text_chunk, asked_ns, came_ns)
        except Exception:  # noqa: BLE001  no event of an SDK, or one that lacks what the protocol says
            kind = field(event, "type")
        word = text_of(kind) or ""
        read = _READERS.get(word)
        notices = self._feed(_NOTHING if read is None else read(self, event) or _NOTHING, asked_ns, came_ns)
        return [*(notices or ()), *self._completed_calls(event)] if word == _ITEM_DONE else notices

    def read_response(self, response: Any, came_ns: int) -> list[Notice]:
        """Take a whole, unstreamed response (the shape of the API's `response` object)."""
        self._recording.streamed = False
        status = field(response, "status")
        # One that is no word is there all the same, and says nothing of how the response ended.
        if status is None and field(response, "error") is not None:
            # Nothing but an error, which gateways answer with status 200.
            status = "failed"
        ended = self._ended(response, None if status is None else text_of(status) or "")
        return self._feed(ended, came_ns, came_ns) or []

    # What each event is as a chunk ------------------------------------------------------------------------

    def _begun(self, event: Any) -> _Chunk | None:
        self._recording.read_head(field(event, "response"))
        return None

    def _completed(self, event: Any) -> _Chunk:
        return self._ended(field(event, "response"), "completed")

    def _incomplete(self, event: Any) -> _Chunk:
        return self._ended(field(event, "response"), "incomplete")

    def _failed(self, event: Any) -> _Chunk:
        return self._ended(field(event, "response"), "failed")

    def _error(self, event: Any) -> _Chunk | None:
        self._fail(event, "error")
        return None

    def _text(self, event: Any) -> _Chunk | None:
        """Text, or a refusal, which is what the model says too."""
        self._has_text = True
        return _said(content=field(event, "delta"))

    def _reasoning(self, event: Any) -> _Chunk | None:
        self._has_reasoning = True
        return _said(reasoning=field(event, "delta"))

    def _item_added(self, event: Any) -> _Chunk | None:
        return _chunk_of(self._call_of(field(event, "item"), index_of(field(event, "output_index"))))

    def _item_done(self, event: Any) -> _Chunk | None:
        return self._rest_of([(index_of(field(event, "output_index")), field(event, "item"))])

    def _completed_calls(self, event: Any) -> Iterator[Notice]:
        """An item is done before the response is, and its call may be carried out."""
        call_id = text_of(field(field(event, "item"), "call_id"))
        for choice in self._recording.choices:
            call = None if call_id is None else choice.by_id.get(call_id)
            if call is not None:
                yield Notice("completed", choice, call)

    def _arguments_delta(self, event: Any) -> _Chunk | None:
        """A delta of a call that is known by its item alone, or not at all."""
        index, text = index_of(field(event, "output_index")), field(event, "delta")
        call = self._known(index, event)
        if call is None:
            call = self._begin(index, text_of(field(event, "item_id")), None)
        if is_a(text, str):
            call.received += len(text)
        return _chunk_of([_delta(index, call.id, arguments=text)])

    def _arguments_done(self, event: Any) -> _Chunk | None:
        call = self._known(index_of(field(event, "output_index")), event)
        whole = field(event, "arguments")
        rest = None if call is None else call.rest_of(field(event, "input") if whole is None else whole)
        return None if call is None or rest is None else _chunk_of([_delta(call.index, call.id, arguments=rest)])

    # Their parts ------------------------------------------------------------------------------------------

    def _ended(self, response: Any, status: str | None) -> _Chunk:
        """The end of a response, with what nothing said before."""
        self._recording.read_head(response)
        chunk = self._rest_of(enumerate(items_of(field(response, "output"))), at_end=True)
        reason: Any = status
        if status == "failed":
            self._fail(field(response, "error"), "failed")
            reason = None
        elif status == "incomplete":
            told = text_of(field(field(response, "incomplete_details"), "reason"))
            reason = status if told is None else _FINISH_REASONS.get(told, told)
        elif status is None or status == "completed":
            reason = "tool_calls" if self._has_calls else "stop"
        if chunk is None:
            chunk = {"choices": [_choice({})] if reason is not None else []}
        for choice in chunk["choices"]:
            choice["finish_reason"] = reason
        chunk["usage"] = field(response, "usage")
        return chunk

    def _fail(self, error: Any, kind: str) -> None:
        if error is None and self._recording.failure is not None:
            # An error event said it before.
            return
        self._recording.fail(error, kind)

    def _rest_of(self, items: Iterable[tuple[int | None, Any]], *, at_end: bool = False) -> _Chunk | None:
        """What is new in items that are whole, each with its index. `at_end`: they are all there are."""
        calls: list[_Chunk] = []
        texts: list[str] = []
        thoughts: list[str] = []
        for index, item in items:
            # Whatever an item is, the rest of the response counts.
            kind = text_of(field(item, "type"))
            if kind in _ARGUMENTS_OF:
                calls += self._call_of(item, index, at_end=at_end)
            elif kind == "message" and not self._has_text and not (at_end and self._told_text):
                texts += _texts(field(item, "content"))
            elif kind == "reasoning" and not self._has_reasoning and not (at_end and self._told_reasoning):
                thoughts += [*_texts(field(item, "summary")), *_texts(field(item, "content"))]
        self._told_text = self._told_text or bool(texts)
        self._told_reasoning = self._told_reasoning or bool(thoughts)
        return _said(calls, content="".join(texts) or None, reasoning="".join(thoughts) or None)

    def _call_of(self, item: Any, index: int | None, *, at_end: bool = False) -> list[_Chunk]:
        """The delta with what an item says that is new of its call, none where nothing is."""
        kind = text_of(field(item, "type"))
        arguments_field = _ARGUMENTS_OF.get(kind or "")
        if arguments_field is None:
            return []
        call_id, name = text_of(field(item, "call_id")), text_of(field(item, "name"))
        item_id, arguments = text_of(field(item, "id")), field(item, arguments_field)
        call = self._call_at(index, item_id, call_id, at_end=at_end)
        if call is None:
            call = self._begin(index, item_id, call_id)
            call.name = name
            given = call.rest_of(arguments)
            return [_delta(index, call_id, name, "" if given is None else given, custom=kind == "custom_tool_call")]
        rest, is_news = call.rest_of(arguments), (call_id, name) != (call.id, call.name)
        if rest is None and not (is_news and (call_id or name)):
            return []
        call.id, call.name = call.id or call_id, call.name or name
        if call_id is not None and call_id not in self._by_id and self._has_room:
            self._keep(self._by_id, call_id, call)
        return [_delta(call.index, call_id, name, "" if rest is None else rest, custom=kind == "custom_tool_call")]

    def _call_at(self, index: int | None, item_id: str | None, call_id: str | None, *, at_end: bool) -> _Call | None:
        """The call that an item is, None where it is a new one.

        Servers repeat ids of calls and of items, change them between events, leave them out, or give every item the
        index 0; so no one of them decides alone. At the end an item's index is no more than its place in a list.
        """
        here = None if index is None else self._by_index.get(index)
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

    def _known(self, index: int | None, event: Any) -> _Call | None:
        call = None if index is None else self._by_index.get(index)
        return call or self._by_item.get(text_of(field(event, "item_id")) or "")

    def _begin(self, index: int | None, item_id: str | None, call_id: str | None) -> _Call:
        self._has_calls = True
        call = _Call(index, call_id)
        if self._has_room:
            if index is not None:
                self._by_index[index] = call
            if item_id is not None:
                self._keep(self._by_item, item_id, call)
            if call_id is not None:
                self._keep(self._by_id, call_id, call)
        return call

    @property
    def _has_room(self) -> bool:
        return len(self._by_index) + len(self._by_item) + len(self._by_id) < 3 * self._recording.limits.calls

    def _keep(self, calls: dict[str, _Call], key: str, call: _Call) -> None:
        if len(key) <= self._recording.limits.id:
            calls[key] = call


_READERS: dict[str, Callable[[ResponseEvents, Any], _Chunk | None]] = {
    "response.created": ResponseEvents._begun,
    "response.queued": ResponseEvents._begun,
    "response.in_progress": ResponseEvents._begun,
    "response.output_item.added": ResponseEvents._item_added,
    _ITEM_DONE: ResponseEvents._item_done,
    "response.function_call_arguments.delta": ResponseEvents._arguments_delta,
    "response.function_call_arguments.done": ResponseEvents._arguments_done,
    "response.custom_tool_call_input.delta": ResponseEvents._arguments_delta,
    "response.custom_tool_call_input.done": ResponseEvents._arguments_done,
    "response.output_text.delta": ResponseEvents._text,
    "response.refusal.delta": ResponseEvents._text,
    "response.reasoning_text.delta": ResponseEvents._reasoning,
    "response.reasoning_summary_text.delta": ResponseEvents._reasoning,
    "response.completed": ResponseEvents._completed,
    "response.incomplete": ResponseEvents._incomplete,
    "response.failed": ResponseEvents._failed,
    "error": ResponseEvents._error,
}


class EitherEvents:
    """For a stream of which nobody says what it carries: its first event does."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._read: Callable[[Any, int, int], list[Notice] | None] | None = None

    def feed(self, event: Any, asked_ns: int, came_ns: int) -> list[Notice] | None:
        read = self._read
        if read is None:
            kind = text_of(field(event, "type"))
            is_response = kind is not None and (kind == "error" or kind.startswith("response."))
            read = self._read = ResponseEvents(self._recording).feed if is_response else self._recording.feed
        return read(event, asked_ns, came_ns)

    def read_response(self, response: Any, came_ns: int) -> list[Notice]:
        is_response = text_of(field(response, "object")) == "response"
        return (ResponseEvents(self._recording) if is_response else self._recording).read_response(response, came_ns)


class _Call:
    """How much of a call has been handed on."""

    __slots__ = ("id", "index", "name", "received")

    def __init__(self, index: int | None, call_id: str | None) -> None:
        self.index = index
        self.id = call_id
        self.name: str | None = None
        self.received = 0

    def has_id(self, call_id: str | None) -> bool:
        return call_id is not None and call_id == self.id

    def rest_of(self, arguments: Any) -> Any:
        """What the whole arguments add to what came, None for nothing; what is no string at all is handed on once."""
        if is_a(arguments, str):
            rest = arguments[self.received :]
            self.received += len(rest)
            return rest if len(rest) else None
        if arguments is None or self.received:
            return None
        self.received = 1
        return arguments


# A chunk of the shape that is read fastest, and chunks of the shape that is written shortest.


class _Function:
    __slots__ = ("arguments", "name")

    def __init__(self) -> None:
        self.name = None
        self.arguments = ""


class _ToolCall:
    __slots__ = ("function", "id", "index")

    def __init__(self, function: _Function) -> None:
        self.id = None
        self.index = 0
        self.function = function


class _Delta:
    __slots__ = ("__pydantic_extra__", "content", "function_call", "tool_calls")

    def __init__(self, tool_calls: list[_ToolCall] | None = None) -> None:
        self.content: Any = None
        self.tool_calls = tool_calls
        self.function_call = None
        self.__pydantic_extra__ = None


class _Choice:
    __slots__ = ("delta", "finish_reason", "index")

    def __init__(self, delta: _Delta) -> None:
        self.index = 0
        self.finish_reason = None
        self.delta = delta


class _DeltaChunk:
    __slots__ = ("choices", "usage")

    def __init__(self, choice: _Choice) -> None:
        self.choices = [choice]
        self.usage = None


def _chunk(delta: _Delta) -> _DeltaChunk:
    return _DeltaChunk(_Choice(delta))


def _choice(delta: _Chunk) -> _Chunk:
    return {"index": 0, "delta": delta}


def _said(calls: list[_Chunk] | None = None, *, content: Any = None, reasoning: Any = None) -> _Chunk | None:
    delta: _Chunk = {}
    if content is not None:
        delta["content"] = content
    if reasoning is not None:
        # Where the recording looks for what is no field of the protocol's.
        delta["__pydantic_extra__"] = {"reasoning_content": reasoning}
    if calls:
        delta["tool_calls"] = calls
    return {"choices": [_choice(delta)]} if delta else None


def _chunk_of(calls: list[_Chunk]) -> _Chunk | None:
    return _said(calls)


def _delta(
    index: int | None, call_id: str | None, name: str | None = None, arguments: Any = "", *, custom: bool = False
) -> _Chunk:
    body = {"name": name, "input" if custom else "arguments": arguments}
    return {"index": index, "id": call_id, "custom" if custom else "function": body}


def _texts(parts: Any) -> Iterator[str]:
    for part in items_of(parts):
        text = text_of(field(part, "text")) or text_of(field(part, "refusal"))
        if text is not None:
            yield text
