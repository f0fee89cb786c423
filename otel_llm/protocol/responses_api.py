"""The Responses API: its events are read into the recording that also takes chat completions.  Pure.

Events and their fields: the OpenAI API reference, "Responses: streaming events". How this file reads them:

- A response is one choice. Its calls are the output items that the application answers (`item_kinds.py`); the index of
  a call is its `output_index`, its id the `call_id`. What the server runs itself (searches, MCP, code) is counted.
- A `function_call` of which call id, name and arguments are empty is no call.
- The arguments of calls that are no functions or custom tools are an object; it counts when the item is done.
- The finish reason of an incomplete response is its reason, where `max_output_tokens` is `length`. A completed response
  ends with `tool_calls` or `stop`.
- Later events repeat earlier ones (`…done`, the items of `response.completed`); only what is new in them counts. Some
  servers send no deltas, some send them without an index, and some name a call only at its end.
- `response.failed` and `error` report an error of the server.
- A response in the background is first told in states that have no end: `queued`, `in_progress`, `cancelled`.
- A compaction holds messages of the user's and an item in place of the rest: there is no answer in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from otel_llm.protocol.choice import Notice
from otel_llm.protocol.fields import field, index_of, is_a, is_empty, items_of, text_of
from otel_llm.protocol.item_kinds import (
    NAMED_CALLS,
    TOOL_SEARCH,
    arguments_of,
    arguments_text,
    is_call,
    is_of_server,
    name_of,
    runs_on_server,
    tools_in,
)
from otel_llm.protocol.made_chunks import (
    EMPTY_CHUNK,
    MadeChunk,
    Translator,
    made_choice,
    made_chunk,
    made_tool_call,
)
from otel_llm.protocol.output_items import ItemCalls
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, read_tools

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT_DELTA = "response.output_text.delta"
_REASONING_DELTAS = frozenset({"response.reasoning_text.delta", "response.reasoning_summary_text.delta"})
_ITEM_DONE = "response.output_item.done"
_ARGUMENTS_DELTAS = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})
# Calls that are the server's where the request declares no such tool, but others that the server runs.
_OF_EITHER = frozenset({"custom_tool_call", "shell_call"})
_UNFINISHED = frozenset({"queued", "in_progress", "cancelled"})
_COMPACTION = "response.compaction"
_FINISH_REASONS = {"max_output_tokens": "length", "max_tokens": "length"}


class ResponseEvents(Translator):
    """Reads one response into `recording`: `feed` for each event, or `read_response` for an unstreamed one.

    `request`: says which tools are the application's. None if it is not known.
    """

    api: Final = "responses"

    def __init__(self, recording: Recording, request: ChatRequest | None = None) -> None:
        super().__init__(recording)
        self._request = request
        self._is_fetched = request is not None and request.fetch is not None
        self._calls = ItemCalls(recording.limits)
        self._by_index = self._calls.by_index
        self._has_calls = self._has_text = self._has_reasoning = False
        self._server_items_added = self._server_items_done = 0
        # The indexes and ids of calls that the server runs, though calls of their kind are the application's otherwise.
        self._run_by_server: set[int | str] = set()
        # Whether text or reasoning came in whole items, all of which the end of the response repeats.
        self._has_item_text = self._has_item_reasoning = False

    def feed(self, event: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
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
                    return self._feed(self._call_chunk, wait_started_ns, received_ns)
            elif kind == _TEXT_DELTA:
                self._text_delta.content = event.delta
                self._has_text = True
                return self._feed(self._text_chunk, wait_started_ns, received_ns)
            elif kind in _REASONING_DELTAS and type(thought := event.delta) is str:
                self._thought["reasoning_content"] = thought
                self._has_reasoning = True
                return self._feed(self._thought_chunk, wait_started_ns, received_ns)
        except Exception:  # noqa: BLE001  not an event of an SDK, or one that lacks a field of the protocol
            kind = field(event, "type")
        kind = text_of(kind) or ""
        read = _READERS.get(kind)
        chunk = None if read is None else read(self, event)
        notices = self._feed(chunk or EMPTY_CHUNK, wait_started_ns, received_ns)
        return [*(notices or ()), *self._completed_call(event)] if kind == _ITEM_DONE else notices

    def read_response(self, response: Any, received_ns: int) -> list[Notice]:
        """Take an unstreamed response (a `response` object)."""
        self._recording.streamed = False
        if text_of(field(response, "object")) == _COMPACTION:
            return self._feed(self._compaction(response), received_ns, received_ns) or []
        status = field(response, "status")
        if status is None and field(response, "error") is not None:
            # Nothing but an error, which gateways send with HTTP status 200.
            status = "failed"
        # A status that is no string is not absent, but does not say how the response ended.
        ended = self._ended(response, None if status is None else text_of(status) or "")
        return self._feed(ended, received_ns, received_ns) or []

    # Each event as a chunk --------------------------------------------------------------------------------

    def _begun(self, event: Any) -> MadeChunk | None:
        response = field(event, "response")
        self._recording.read_head(response)
        self._set_status(response, text_of(field(response, "status")))
        return None

    def _completed(self, event: Any) -> MadeChunk:
        return self._ended(field(event, "response"), "completed")

    def _incomplete(self, event: Any) -> MadeChunk:
        return self._ended(field(event, "response"), "incomplete")

    def _failed(self, event: Any) -> MadeChunk:
        return self._ended(field(event, "response"), "failed")

    def _error(self, event: Any) -> MadeChunk | None:
        # Over a WebSocket, the error is within the event.
        error = field(event, "error")
        self._fail(event if is_empty(error) else error, "error")
        return None

    def _text(self, event: Any) -> MadeChunk | None:
        """Text, or a refusal, which counts as text."""
        self._has_text = True
        return made_chunk(content=field(event, "delta"))

    def _reasoning(self, event: Any) -> MadeChunk | None:
        self._has_reasoning = True
        return made_chunk(reasoning=field(event, "delta"))

    def _item_added(self, event: Any) -> MadeChunk | None:
        item, index = field(event, "item"), index_of(field(event, "output_index"))
        self._server_items_added += self._is_of_server(item, index)
        self._count_server_items(self._server_items_added)
        if text_of(field(item, "type")) == "compaction":
            self._recording.was_compacted(item)
        return made_chunk(self._call_delta(item, index, is_whole=False))

    def _item_done(self, event: Any) -> MadeChunk | None:
        item, index = field(event, "item"), index_of(field(event, "output_index"))
        self._server_items_done += self._is_of_server(item, index)
        self._count_server_items(self._server_items_done)
        return self._new_in([(index, item)])

    def _arguments_delta(self, event: Any) -> MadeChunk | None:
        """A delta of a call that is known by its item only, or not at all."""
        index, text = index_of(field(event, "output_index")), field(event, "delta")
        item_id = text_of(field(event, "item_id"))
        call = self._calls.of_delta(index, item_id)
        if call is None:
            if not self._run_by_server.isdisjoint({index, item_id}):
                return None
            self._has_calls = True
            call = self._calls.begin(index, item_id, None)
        if is_a(text, str):
            call.received += len(text)
        return made_chunk([made_tool_call(index, call.id, arguments=text)])

    def _arguments_done(self, event: Any) -> MadeChunk | None:
        call = self._calls.of_delta(index_of(field(event, "output_index")), text_of(field(event, "item_id")))
        if call is None:
            return None
        whole = field(event, "arguments")
        rest = call.new_arguments(field(event, "input") if whole is None else whole)
        return None if rest is None else made_chunk([made_tool_call(call.index, call.id, arguments=rest)])

    def _compaction(self, response: Any) -> MadeChunk:
        recording = self._recording
        recording.read_head(response)
        recording.is_unfinished = True
        for item in items_of(field(response, "output")):
            if text_of(field(item, "type")) == "compaction":
                recording.was_compacted(item)
        return {"choices": [], "usage": field(response, "usage")}

    # Parts of them ----------------------------------------------------------------------------------------

    def _completed_call(self, event: Any) -> Iterator[Notice]:
        """An item is done before the response is, and its call may be executed already."""
        call_id = text_of(field(field(event, "item"), "call_id"))
        for choice in self._recording.choices:
            call = None if call_id is None else choice.by_id.get(call_id)
            if call is not None:
                yield Notice("completed", choice, call)

    def _set_status(self, response: Any, status: str | None) -> None:
        if status is not None:
            self._recording.response_status = status[: self._recording.limits.name]
        if self._is_fetched:
            self._recording.echo = response

    def _ended(self, response: Any, status: str | None) -> MadeChunk:
        """The end of a response, with everything in it that no event said before."""
        self._recording.read_head(response)
        self._set_status(response, status)
        items = items_of(field(response, "output"))
        self._count_server_items(sum(self._is_of_server(item, index) for index, item in enumerate(items)))
        chunk = self._new_in(enumerate(items), at_end=True)
        finish_reason: Any = status
        if status == "failed" and self._is_fetched:
            finish_reason = "error"
        elif status == "failed":
            self._fail(field(response, "error"), "failed")
            finish_reason = None
        elif status in _UNFINISHED:
            self._recording.is_unfinished = True
            finish_reason = None
        elif status == "incomplete":
            reason = text_of(field(field(response, "incomplete_details"), "reason"))
            finish_reason = status if reason is None else _FINISH_REASONS.get(reason, reason)
        elif status is None or status == "completed":
            finish_reason = "tool_calls" if self._has_calls else "stop"
        if chunk is None:
            chunk = {"choices": [made_choice({})] if finish_reason is not None else []}
        for choice in chunk["choices"]:
            choice["finish_reason"] = finish_reason
        chunk["usage"] = field(response, "usage")
        return chunk

    def _is_of_server(self, item: Any, index: int | None) -> bool:
        """Whether the server did by itself what this item says."""
        if is_of_server(item):
            return True
        kind = text_of(field(item, "type")) or ""
        return is_call(kind) and self._is_run_by_server(item, kind, index)

    def _is_run_by_server(self, item: Any, kind: str, index: int | None) -> bool:
        """Whether the server runs a call. Remembers which, for the deltas of its arguments."""
        if not runs_on_server(item, kind) and not (
            kind in _OF_EITHER and self._request is not None and self._request.leaves_to_server(name_of(item, kind))
        ):
            return False
        if len(self._run_by_server) < self._recording.limits.calls:
            self._run_by_server.update(key for key in (index, text_of(field(item, "id"))) if key is not None)
        return True

    def _count_server_items(self, count: int) -> None:
        """Items are told when they begin, when they are done and at the end; a server may leave out any of these."""
        if count:
            self._recording.server_items(count)

    def _fail(self, error: Any, kind: str) -> None:
        # A failed response without an error may come after an error event, which said more.
        if error is not None or self._recording.failure is None:
            self._recording.fail(error, kind)

    def _new_in(self, items: Iterable[tuple[int | None, Any]], *, at_end: bool = False) -> MadeChunk | None:
        """What is new in whole items, each with its index. `at_end`: they are all items of the response."""
        calls: list[MadeChunk] = []
        texts: list[str] = []
        reasoning: list[str] = []
        for index, item in items:
            # An item that cannot be read must not hide the rest of the response.
            kind = text_of(field(item, "type"))
            if kind is not None and is_call(kind):
                calls += self._call_delta(item, index, at_end=at_end)
            elif kind == "compaction":
                self._recording.was_compacted(item)
            elif kind is not None and (tools := tools_in(item, kind)):
                self._recording.declare(read_tools(tools))
            elif kind == "message" and not self._has_text and not (at_end and self._has_item_text):
                texts += _texts(field(item, "content"))
            elif kind == "reasoning" and not self._has_reasoning and not (at_end and self._has_item_reasoning):
                reasoning += [*_texts(field(item, "summary")), *_texts(field(item, "content"))]
        self._has_item_text = self._has_item_text or bool(texts)
        self._has_item_reasoning = self._has_item_reasoning or bool(reasoning)
        return made_chunk(calls, content="".join(texts) or None, reasoning="".join(reasoning) or None)

    def _call_delta(
        self, item: Any, index: int | None, *, is_whole: bool = True, at_end: bool = False
    ) -> list[MadeChunk]:
        """A delta with what is new in a call. An empty list if nothing is, or if the item is no call.

        `is_whole`: the item is done.
        """
        kind = text_of(field(item, "type")) or ""
        if not is_call(kind) or self._is_run_by_server(item, kind, index):
            return []
        custom, is_named = kind == "custom_tool_call", kind in NAMED_CALLS
        call_id, name, item_id = text_of(field(item, "call_id")), name_of(item, kind), text_of(field(item, "id"))
        arguments = arguments_of(item, kind) if is_named else arguments_text(item, kind) if is_whole else None
        call = self._calls.of_item(index, item_id, call_id, at_end=at_end)
        if call is None:
            if call_id is None and name is None and is_empty(arguments):
                return []
            self._has_calls = True
            if name == TOOL_SEARCH and not is_named and self._request is not None and self._request.leaves_searches:
                # The server leaves to the application a search that the request left open.
                self._recording.declare({name})
            call = self._calls.begin(index, item_id, call_id)
            call.name = name
            new = call.new_arguments(arguments)
            return [made_tool_call(index, call_id, name, "" if new is None else new, custom=custom)]
        # An object, unlike a text, does not grow.
        new = call.new_arguments(arguments) if is_named or not call.received else None
        is_same = (call_id, name) == (call.id, call.name) or not (call_id or name)
        if new is None and is_same:
            return []
        self._calls.identify(call, call_id, name)
        return [made_tool_call(call.index, call_id, name, "" if new is None else new, custom=custom)]


_READERS: dict[str, Callable[[ResponseEvents, Any], MadeChunk | None]] = {
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
    **dict.fromkeys(_REASONING_DELTAS, ResponseEvents._reasoning),
    "response.completed": ResponseEvents._completed,
    "response.incomplete": ResponseEvents._incomplete,
    "response.failed": ResponseEvents._failed,
    "error": ResponseEvents._error,
}


def _texts(parts: Any) -> Iterator[str]:
    for part in items_of(parts):
        text = text_of(field(part, "text")) or text_of(field(part, "refusal"))
        if text is not None:
            yield text
