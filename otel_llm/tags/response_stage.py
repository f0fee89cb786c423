"""Rewrites the tool calls in the text of a response of the Responses API, streamed or whole.

With custom tags, the text of a message changes and nothing else. With the target `openai`:

- A call becomes a `function_call` item with its events, behind what the message said before it. Items begin and end one
  after the other, as OpenAI sends them. Text behind a call begins another message item.
- A message is announced when the first text of it comes out. One that held only calls never is.
- `output_index` and `sequence_number` count on, and the items of the response at its end are those of the events.

Text is given back if anything fails. Servers that leave out events or indexes are read as far as they go: what a server
does not send of a message is not made up.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

from otel_llm.protocol.fields import index_of, items_of, text_of
from otel_llm.tags.ids import new_id
from otel_llm.tags.response_objects import (
    EventMaker,
    as_json,
    fitted_annotations,
    function_call,
    items_for,
    reasoning_item,
)
from otel_llm.tags.rewritten_text import Rewriter, RewrittenText
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.writers import CallDelta, Part, ThoughtDelta

_DELTA = "response.output_text.delta"
_TEXT_DONE = "response.output_text.done"
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Segment:
    """A message item that the application was told of."""

    __slots__ = ("content_index", "index", "item_id", "parts", "said")

    def __init__(self, index: int | None, item_id: str | None) -> None:
        self.index = index
        self.item_id = item_id
        self.content_index = -1
        self.parts: list[dict[str, Any]] = []
        """The content that is done."""
        self.said: list[str] | None = None
        """The text of the part that is not done."""


class _Made:
    """An item of which the text is made: a call, or thoughts."""

    __slots__ = ("call_id", "index", "item_id", "name", "said")

    def __init__(self, index: int | None, item_id: str, call_id: str = "", name: str = "") -> None:
        self.index = index
        self.item_id = item_id
        self.call_id = call_id
        self.name = name
        self.said: list[str] = []

    @property
    def is_call(self) -> bool:
        return bool(self.call_id)

    def fields(self, status: str) -> dict[str, Any]:
        said = "".join(self.said)
        if self.is_call:
            return function_call(self.item_id, self.call_id, self.name, said, status)
        return reasoning_item(self.item_id, said, status)


class _Message:
    """A message item of the server, and what becomes of it."""

    __slots__ = (
        "added",
        "annotations",
        "has_calls",
        "held_item",
        "held_part",
        "index",
        "is_over",
        "is_read",
        "items",
        "last_delta",
        "original",
        "part",
        "segment",
        "segments",
        "text",
    )

    def __init__(self, added: Any, index: int | None) -> None:
        self.added = added
        """The event that announced it, None if the server sent none."""
        self.index = index
        self.held_item: Any = None
        self.held_part: Any = None
        """Announcements of the message and of its part, held back until there is something to say."""
        self.has_calls = False
        """Whether there is a call, or a thought, in the part that is read."""
        self.part: dict[str, Any] | None = None
        """The content part that is read, as the server announced it."""
        self.text: RewrittenText | None = None
        self.original: list[str] = []
        self.last_delta: Any = None
        self.segment: _Segment | None = None
        self.segments = 0
        self.items: list[dict[str, Any]] = []
        """The items that it has become, as far as they are done. Empty while it is only itself."""
        self.annotations: list[dict[str, Any]] = []
        self.is_read = False
        """Whether its text came in events of its own."""
        self.is_over = False


class _Saved(NamedTuple):
    """What to go back to if the stage fails at an event."""

    message: _Message
    held_item: Any
    held_part: Any
    segment: _Segment | None
    made: _Made | None
    event: Any
    delta: str

    def restore(self) -> None:
        message = self.message
        message.held_item, message.held_part, message.segment = self.held_item, self.held_part, self.segment
        if self.event is not None and self.event.delta != self.delta:
            self.event.delta = self.delta


class ResponseStage:
    """Rewrites one response: `take` and `finish` for a stream, or `rewrite_response`."""

    def __init__(self, rewriter: Rewriter, events: EventMaker) -> None:
        self._rewriter = rewriter
        self._events = events
        self._makes_calls = rewriter.makes_calls
        self._messages: dict[Any, _Message] = {}
        self._order: list[_Message] = []
        self._made: _Made | None = None
        self._calls = 0
        # The first text, which may begin inside of thoughts, once it has begun.
        self._first: Scanner | None = None
        self._shift = 0
        self._last_index = -1
        self._indexes: dict[Any, int] = {}
        self._number_shift = 0
        self._last_number: int | None = None
        self._has_numbers = False
        self._out: list[Any] = []
        self._saved: _Saved | None = None

    # A stream ----------------------------------------------------------------------------------------------

    def take(self, event: Any) -> Any:
        """The events for one event: the same object, or a list."""
        kind = getattr(event, "type", None)
        if kind == _DELTA:
            message = self._messages.get(_key(event))
            if message is not None and self._is_plain(message, event):
                self._say_plainly(message, event)
                self._number(event)
                return event
        self._out = []
        self._saved = None
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            self._place(event)
            self._out.append(event)
        else:
            handler(self, event)
        return self._numbered(event)

    def finish(self) -> list[Any]:
        """The stream is over: the events with what was held back."""
        self._out = []
        self._saved = None
        self._flush_messages()
        out = self._out
        for event in out:
            if self._last_number is not None:
                event.sequence_number = self._last_number = self._last_number + 1
        return out

    def give_back(self, event: Any) -> list[Any]:
        """The stage failed at this event or an earlier one: the events with the text held back, as it came."""
        self._given_back()
        self._place(event)
        self._out.append(event)
        return self._numbered(event)

    def give_back_rest(self) -> list[Any]:
        """After a failure, at the end of the stream: the events with the text that is still held back."""
        return self._given_back()

    def _given_back(self) -> list[Any]:
        self._out = []
        saved, self._saved = self._saved, None
        if saved is not None:
            saved.restore()
            self._made = saved.made
        if self._made is not None:
            self._end_made("incomplete")
        for message in self._order:
            held = "" if message.text is None else message.text.held
            for event in (message.held_item, message.held_part):
                if event is not None:
                    self._place(event)
                    self._out.append(event)
            message.held_item = message.held_part = None
            if held:
                self._out.append(self._delta_event(message, held))
            message.text = None
        for key, message in self._messages.items():
            if message.segment is not None and message.segment.index is not None:
                self._indexes[key] = message.segment.index
        self._order, self._messages = [], {}
        return self._out

    # Plain text, which most events are

    def _is_plain(self, message: _Message, event: Any) -> bool:
        text, delta, segment = message.text, event.delta, message.segment
        return (
            segment is not None
            and segment.said is not None
            and self._made is None
            and text is not None
            and type(delta) is str
            and text.scanner.is_plain(delta)
        )

    def _say_plainly(self, message: _Message, event: Any) -> None:
        segment = message.segment
        if segment is not None and segment.said is not None:
            segment.said.append(event.delta)
            message.original.append(event.delta)
            message.last_delta = event
            self._place_in(event, segment)

    # Events of the server ----------------------------------------------------------------------------------

    def _item_added(self, event: Any) -> None:
        item = getattr(event, "item", None)
        if getattr(item, "type", None) != "message":
            self._place(event)
            self._out.append(event)
            return
        message = self._begin(event, event)
        if self._makes_calls:
            message.held_item = event
        else:
            self._announce(message)
            self._out.append(event)

    def _part_added(self, event: Any) -> None:
        message = self._message(event)
        part = getattr(event, "part", None)
        if getattr(part, "type", None) != "output_text":
            self._other_part(event)
            return
        self._flush(message)
        message.part = as_json(part)
        self._begin_text(message)
        message.held_part = event
        if not self._makes_calls or message.added is None:
            self._announce(message)

    def _other_part(self, event: Any) -> None:
        """An event of a content part that holds no text, such as a refusal."""
        message = self._messages.get(_key(event))
        if message is None:
            self._place(event)
            self._out.append(event)
            return
        self._end_made("completed", message)
        self._announce(message)
        segment = message.segment
        kind = getattr(event, "type", None)
        if segment is not None:
            if kind == "response.content_part.added":
                segment.content_index += 1
            self._place_in(event, segment)
            if kind == "response.content_part.done":
                segment.parts.append(as_json(event.part))
        self._out.append(event)

    def _text_delta(self, event: Any) -> None:
        message = self._message(event)
        delta = getattr(event, "delta", None)
        if type(delta) is not str:
            self._other_part(event)
            return
        text = message.text or self._begin_text(message)
        self._save(message, event, delta)
        message.last_delta = event
        message.is_read = True
        message.original.append(delta)
        if text.scanner.is_plain(delta):
            self._write(message, [delta], event)
            return
        parts = text.feed(delta)
        left = text.left
        self._write(message, parts, event)
        text.hand_on(delta, left)

    def _text_done(self, event: Any) -> None:
        message = self._message(event)
        text = getattr(event, "text", None)
        if not message.is_read and isinstance(text, str) and text:
            # A server that sends no deltas.
            self._feed_whole(message, text)
        self._flush(message)
        segment = self._at_end_of_part(message)
        if segment is None or segment.said is None:
            return
        said = "".join(segment.said)
        self._place_in(event, segment)
        self._out.append(event if said == text else self._again(event, text=said, logprobs=[]))

    def _at_end_of_part(self, message: _Message) -> _Segment | None:
        """Where a text part is that is over, None if the application does not see it: it was nothing but calls."""
        if not message.has_calls:
            # It is empty, as it came.
            self._announce(message)
        message.held_part = None
        return message.segment

    def _part_done(self, event: Any) -> None:
        message = self._messages.get(_key(event))
        part = getattr(event, "part", None)
        if message is None or getattr(part, "type", None) != "output_text":
            self._other_part(event)
            return
        self._flush(message)
        segment = self._at_end_of_part(message)
        if segment is None or segment.said is None:
            return
        self._place_in(event, segment)
        fields = self._done_part(message, segment, part)
        if fields["text"] != getattr(part, "text", None):
            event = self._again(event, part=fields)
        message.text = None
        self._out.append(event)

    def _item_done(self, event: Any) -> None:
        item = getattr(event, "item", None)
        message = self._messages.get(_key(event, item))
        if message is None or getattr(item, "type", None) != "message":
            self._place(event)
            self._out.append(event)
            return
        if not message.is_read:
            # A server that sends whole items only.
            for part in items_of(getattr(item, "content", None)):
                text = getattr(part, "text", None)
                if getattr(part, "type", None) == "output_text" and isinstance(text, str):
                    self._flush(message)
                    self._feed_whole(message, text)
        self._flush(message)
        if message.segment is None and not message.items:
            self._announce(message)
        message.held_item = message.held_part = None
        self._end_message(message)
        segment = message.segment
        if segment is None:
            return
        if segment.said is not None:
            self._done_part(message, segment, None)
        self._place_in(event, segment)
        if self._is_changed(message, segment, item):
            fields = {**as_json(item), "id": segment.item_id, "content": segment.parts}
            message.items.append(fields)
            event = self._again(event, item=fields)
        message.segment = None
        self._out.append(event)

    def _annotation(self, event: Any) -> None:
        message = self._messages.get(_key(event))
        if message is None or message.segment is None:
            # It is about text that is held back, or that became a call.
            if message is None:
                self._place(event)
                self._out.append(event)
            return
        segment = message.segment
        self._place_in(event, segment)
        annotation = getattr(event, "annotation", None)
        fields = annotation if isinstance(annotation, dict) else as_json(annotation)
        message.annotations.append(fields)
        original, said = "".join(message.original), "".join(segment.said or ())
        if original != said:
            fitted = fitted_annotations([fields], original, said)
            if not fitted:
                return
            event = self._again(event, annotation=fitted[0])
        self._out.append(event)

    def _ended(self, event: Any) -> None:
        self._flush_messages()
        response = getattr(event, "response", None)
        if self._first is not None and getattr(response, "status", None) == "completed":
            self._rewriter.thoughts.learn(self._first, "stop")
        if response is not None:
            self._rewrite_output(response)
        self._out.append(event)

    # Writing -----------------------------------------------------------------------------------------------

    def _write(self, message: _Message, parts: list[Part], event: Any) -> None:
        """Add the events for parts. `event`: the delta that they came with, which is used for the first text."""
        for part in parts:
            if type(part) is str:
                if part:
                    self._say(message, part, event)
                    event = None
            elif type(part) is CallDelta:
                self._call(message, part)
            elif type(part) is ThoughtDelta:
                self._think(message, part)

    def _say(self, message: _Message, text: str, event: Any) -> None:
        self._end_made("completed", message)
        self._announce(message)
        segment = message.segment
        if segment is not None and segment.said is None:
            self._open_part(segment)
            if message.added is not None and message.part is not None:
                # Another segment of the same part.
                self._make_in(segment, "response.content_part.added", part={**message.part, "text": ""})
        if event is None:
            event = self._delta_event(message, text)
        elif event.delta != text:
            event.delta = text
            if getattr(event, "logprobs", None):
                event.logprobs = []
        if segment is not None:
            if segment.said is not None:
                segment.said.append(text)
            self._place_in(event, segment)
        self._out.append(event)

    def _delta_event(self, message: _Message, text: str) -> Any:
        last = message.last_delta
        if last is not None:
            event = copy.copy(last)
            event.delta = text
            if getattr(event, "logprobs", None):
                event.logprobs = []
            return event
        fields: dict[str, Any] = {"item_id": _item_id(message), "content_index": 0, "delta": text, "logprobs": []}
        return self._events.make(_DELTA, **_indexed(fields, message.index), sequence_number=0)

    def _announce(self, message: _Message) -> None:
        """The application is told of the message, or of the next segment of it, and of the part that is read."""
        segment = message.segment
        if segment is None:
            message.segments += 1
            item_id = _item_id(message)
            if message.segments == 1:
                segment = _Segment(self._next_place(message.index), item_id)
                if message.held_item is not None:
                    self._place_in(message.held_item, segment)
                    self._out.append(message.held_item)
                    message.held_item = None
            elif message.added is None:
                segment = _Segment(message.index, item_id)
            else:
                segment = _Segment(self._inserted(message), new_id("msg"))
                item = {**as_json(message.added.item), "id": segment.item_id, "content": []}
                self._make("response.output_item.added", segment.index, item=item)
            message.segment = segment
        if message.held_part is not None:
            self._open_part(segment)
            self._place_in(message.held_part, segment)
            self._out.append(message.held_part)
            message.held_part = None

    def _open_part(self, segment: _Segment) -> None:
        segment.content_index += 1
        segment.said = []

    def _close(self, message: _Message) -> None:
        """A call begins: the segment before it is done."""
        segment = message.segment
        if segment is None:
            return
        if message.added is not None:
            if segment.said is not None:
                text = "".join(segment.said)
                self._make_in(segment, _TEXT_DONE, text=text, logprobs=[])
                part = self._done_part(message, segment, None)
                self._make_in(segment, "response.content_part.done", part=part)
            item = {**as_json(message.added.item), "id": segment.item_id, "content": segment.parts}
            item["status"] = "completed"
            message.items.append(item)
            self._make("response.output_item.done", segment.index, item=item)
        elif segment.said:
            part = self._done_part(message, segment, None)
            message.items.append({**_MESSAGE, "id": segment.item_id, "content": [part]})
        message.segment = None

    def _done_part(self, message: _Message, segment: _Segment, part: Any) -> dict[str, Any]:
        """The part of a segment that is done now. `part`: as the server has it at its end, if that has come."""
        said = "".join(segment.said or ())
        fields = as_json(part) if part is not None else {**(message.part or _TEXT_PART)}
        if part is None and message.annotations:
            fields["annotations"] = message.annotations
        original = "".join(message.original)
        if fields.get("text") != said:
            fields["annotations"] = fitted_annotations(fields.get("annotations"), original, said)
            fields["text"] = said
            if fields.get("logprobs"):
                fields["logprobs"] = []
        segment.said = None
        segment.parts.append(fields)
        return fields

    def _call(self, message: _Message, delta: CallDelta) -> None:
        message.has_calls = True
        if delta.name is not None:
            self._end_made("completed", message)
            self._close(message)
            self._calls += 1
            made = self._made = _Made(self._inserted(message), new_id("fc"), delta.id or "", delta.name)
            self._make("response.output_item.added", made.index, item=made.fields("in_progress"))
        made_call = self._made
        if made_call is None:
            return
        if delta.arguments:
            made_call.said.append(delta.arguments)
            kind = "response.function_call_arguments.delta"
            self._make(kind, made_call.index, item_id=made_call.item_id, delta=delta.arguments)
        if delta.ends:
            self._end_made("completed" if delta.complete else "incomplete", message)

    def _think(self, message: _Message, delta: ThoughtDelta) -> None:
        message.has_calls = True
        if self._made is None or self._made.is_call:
            self._end_made("completed", message)
            self._close(message)
            made = self._made = _Made(self._inserted(message), new_id("rs"))
            self._make("response.output_item.added", made.index, item=made.fields("in_progress"))
        made = self._made
        made.said.append(delta.text)
        place = {"item_id": made.item_id, "content_index": 0}
        self._make("response.reasoning_text.delta", made.index, **place, delta=delta.text)

    def _end_made(self, status: str, message: _Message | None = None) -> None:
        made, self._made = self._made, None
        if made is None:
            return
        fields = made.fields(status)
        if made.is_call:
            done = {"item_id": made.item_id, "name": made.name, "arguments": fields["arguments"]}
            self._make("response.function_call_arguments.done", made.index, **done)
        else:
            done = {"item_id": made.item_id, "content_index": 0, "text": "".join(made.said)}
            self._make("response.reasoning_text.done", made.index, **done)
        self._make("response.output_item.done", made.index, item=fields)
        owner = message or (self._order[-1] if self._order else None)
        if owner is not None:
            owner.items.append(fields)

    def _make(self, kind: str, index: int | None, **fields: Any) -> None:
        self._out.append(self._events.make(kind, **_indexed(fields, index), sequence_number=0))

    def _make_in(self, segment: _Segment, kind: str, **fields: Any) -> None:
        place = {"item_id": segment.item_id, "content_index": segment.content_index}
        self._make(kind, segment.index, **place, **fields)

    def _again(self, event: Any, **changes: Any) -> Any:
        """The event with other fields."""
        fields = {**as_json(event), **changes}
        fields.pop("type", None)
        return self._events.make(event.type, **fields)

    # Texts and messages ------------------------------------------------------------------------------------

    def _begin(self, event: Any, added: Any) -> _Message:
        message = _Message(added, index_of(getattr(event, "output_index", None)))
        self._messages[_key(event, getattr(added, "item", None))] = message
        self._order.append(message)
        return message

    def _message(self, event: Any) -> _Message:
        return self._messages.get(_key(event)) or self._begin(event, None)

    def _begin_text(self, message: _Message) -> RewrittenText:
        # A server that parses thoughts has an item for them before the message.
        is_first = self._first is None and not message.index
        inside = self._rewriter.thoughts.of_stream() if is_first else ()
        message.text = text = self._rewriter.begin(0, self._calls, inside)
        if self._first is None:
            self._first = text.scanner
        message.original = []
        message.annotations = []
        message.has_calls = False
        return text

    def _feed_whole(self, message: _Message, text: str) -> None:
        rewritten = message.text or self._begin_text(message)
        message.is_read = True
        message.original.append(text)
        self._write(message, rewritten.feed(text), None)

    def _flush(self, message: _Message) -> None:
        """The text of a part is over."""
        text, message.text = message.text, None
        if text is None:
            return
        self._save(message)
        before = self._calls
        parts = text.flush()
        if text.scanner is self._first:
            self._rewriter.thoughts.learn(text.scanner, None)
        self._write(message, parts, None)
        # Only a call that was cut off is not done yet.
        self._end_made("incomplete" if self._made is not None and self._made.is_call else "completed", message)
        if not self._makes_calls:
            self._calls = before + text.scanner.count

    def _end_message(self, message: _Message) -> None:
        if message.is_over:
            return
        message.is_over = True
        if not message.segments:
            # The server counts an item that there is not.
            self._shift -= 1

    def _flush_messages(self) -> None:
        for message in self._order:
            if not message.is_over:
                self._flush(message)

    def _save(self, message: _Message, event: Any = None, delta: str = "") -> None:
        self._saved = _Saved(message, message.held_item, message.held_part, message.segment, self._made, event, delta)

    def _is_changed(self, message: _Message, segment: _Segment, item: Any) -> bool:
        if message.items or segment.item_id != text_of(getattr(item, "id", None)):
            return True
        texts = [getattr(part, "text", None) for part in items_of(getattr(item, "content", None))]
        return texts != [part.get("text") for part in segment.parts]

    # Indexes and numbers -----------------------------------------------------------------------------------

    def _next_place(self, index: int | None) -> int | None:
        """Where an item of the server comes out."""
        if index is None:
            return None
        place = index + self._shift
        if self._shift and place <= self._last_index:
            place = self._last_index + 1
        self._last_index = max(self._last_index, place)
        return place

    def _inserted(self, message: _Message) -> int | None:
        """Where an item comes out that the server does not know."""
        if message.index is None:
            return None
        self._last_index = max(self._last_index + 1, message.index + self._shift)
        self._shift += 1
        return self._last_index

    def _place(self, event: Any) -> None:
        """Give an event of an item that is no message the index that the item has here."""
        index = index_of(getattr(event, "output_index", None))
        if index is None:
            return
        key = _key(event, getattr(event, "item", None))
        message = self._messages.get(key)
        if message is not None and message.segment is not None:
            self._place_in(event, message.segment)
            return
        place = self._indexes.get(key)
        if place is None:
            place = self._next_place(index)
            if place is None:
                return
            self._indexes[key] = place
        if place != index:
            event.output_index = place

    def _place_in(self, event: Any, segment: _Segment) -> None:
        """Give an event of a message the places of the segment."""
        if segment.index is not None and getattr(event, "output_index", None) != segment.index:
            event.output_index = segment.index
        if segment.item_id is not None:
            item_id = getattr(event, "item_id", None)
            if item_id is not None and item_id != segment.item_id:
                event.item_id = segment.item_id
        if (
            segment.content_index >= 0
            and getattr(event, "content_index", segment.content_index) != segment.content_index
        ):
            event.content_index = segment.content_index

    def _number(self, event: Any) -> None:
        number = getattr(event, "sequence_number", None)
        if type(number) is int:
            if self._number_shift:
                event.sequence_number = number = number + self._number_shift
            self._last_number = number

    def _numbered(self, event: Any) -> list[Any]:
        """The events for one of the server, with numbers that count on from the last."""
        out, self._out = self._out, []
        number = getattr(event, "sequence_number", None)
        if type(number) is not int:
            return out
        number += self._number_shift
        for place, made in enumerate(out):
            if getattr(made, "sequence_number", None) != number + place:
                made.sequence_number = number + place
        self._number_shift += len(out) - 1
        self._last_number = number + len(out) - 1
        return out

    # Whole responses ---------------------------------------------------------------------------------------

    def rewrite_response(self, response: Any) -> None:
        """Rewrite an unstreamed response, in place."""
        self._rewrite_output(response)

    def _rewrite_output(self, response: Any) -> None:
        items: list[Any] = []
        is_changed = False
        by_id = {_item_id(message): message for message in self._order if _item_id(message) is not None}
        for place, item in enumerate(items_of(getattr(response, "output", None))):
            made: list[dict[str, Any]] | None = None
            if getattr(item, "type", None) == "message":
                message = by_id.get(text_of(getattr(item, "id", None)))
                made = self._items_of(message, item) if message is not None and message.is_read else None
                reason = "length" if getattr(response, "status", None) == "incomplete" else "stop"
                made = self._whole_items(item, None if place else reason) if made is None else made
            if made:
                is_changed = True
                items += items_for(response, made)
            else:
                items.append(item)
        if is_changed:
            response.output = items
            if "output_text" in (response if isinstance(response, dict) else ()):
                response.output_text = "".join(_texts_of(items))

    def _items_of(self, message: _Message, item: Any) -> list[dict[str, Any]]:
        """The items that the events of a message told of, an empty list if it stayed as it was."""
        segment = message.segment
        if segment is not None and not message.is_over:
            # A server that does not say when its items are done.
            if segment.said is not None:
                self._done_part(message, segment, None)
            if self._is_changed(message, segment, item):
                is_first = all(one["id"] != segment.item_id for one in message.items)
                item_id = segment.item_id if is_first else new_id("msg")
                message.items.append({**as_json(item), "id": item_id, "content": segment.parts})
        self._end_message(message)
        return message.items

    def _whole_items(self, item: Any, reason: str | None) -> list[dict[str, Any]]:
        """The items that a message becomes, an empty list if it stays as it is.

        `reason`: why the response ended, if the message is the first item, so that it may begin inside of thoughts.
        """
        made: list[dict[str, Any]] = []
        fields = as_json(item)
        content: list[dict[str, Any]] = []
        has_changed = False

        def close() -> None:
            nonlocal content
            if content:
                item_id = fields.get("id") if not any(one["type"] == "message" for one in made) else new_id("msg")
                made.append({**fields, "id": item_id, "content": content})
                content = []

        for part in items_of(fields.get("content")):
            text = part.get("text") if isinstance(part, dict) and part.get("type") == "output_text" else None
            if not isinstance(text, str) or not text:
                content.append(part)
                continue
            inside: Sequence[str] = ()
            if self._first is None and reason is not None:
                inside = self._rewriter.thoughts.of_whole(text, self._rewriter.tools, reason)
            rewritten = self._rewriter.begin(0, self._calls, inside)
            self._first = self._first or rewritten.scanner
            parts = _merged([*rewritten.feed(text), *rewritten.flush()])
            if not self._makes_calls:
                self._calls += rewritten.scanner.count
            if len(parts) == 1 and parts[0] == text:
                content.append(part)
                continue
            has_changed = True
            open_call: dict[str, Any] | None = None
            for one in parts:
                if type(one) is str:
                    annotations = fitted_annotations(part.get("annotations"), text, one)
                    content.append({**part, "text": one, "annotations": annotations})
                    if part.get("logprobs"):
                        content[-1]["logprobs"] = []
                elif type(one) is ThoughtDelta:
                    close()
                    made.append(reasoning_item(new_id("rs"), one.text, "completed"))
                elif type(one) is CallDelta:
                    if one.name is not None:
                        close()
                        self._calls += 1
                        open_call = function_call(new_id("fc"), one.id or "", one.name, "", "incomplete")
                        made.append(open_call)
                    if open_call is not None:
                        open_call["arguments"] += one.arguments
                        if one.ends and one.complete:
                            open_call["status"] = "completed"
        close()
        return made if has_changed else []


_MESSAGE = {"type": "message", "role": "assistant", "status": "completed"}
_TEXT_PART = {"type": "output_text", "text": "", "annotations": []}


def _key(event: Any, item: Any = None) -> Any:
    """What tells which item an event is about."""
    item_id = getattr(event, "item_id", None) if item is None else getattr(item, "id", None)
    return item_id if isinstance(item_id, str) and item_id else getattr(event, "output_index", None)


def _item_id(message: _Message) -> str | None:
    source = message.last_delta if message.added is None else message.added.item
    return text_of(getattr(source, "item_id" if message.added is None else "id", None))


def _merged(parts: list[Part]) -> list[Part]:
    """The same parts, where no two texts adjoin."""
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if isinstance(part, str) and isinstance(last, str):
            merged[-1] = last + part
        elif isinstance(part, ThoughtDelta) and isinstance(last, ThoughtDelta):
            last.text += part.text
        else:
            merged.append(part)
    return merged


def _indexed(fields: dict[str, Any], index: int | None) -> dict[str, Any]:
    return fields if index is None else {**fields, "output_index": index}


def _texts_of(items: list[Any]) -> list[str]:
    return [part["text"] for item in items for part in item.get("content") or () if part.get("type") == "output_text"]


_HANDLERS = {
    "response.output_item.added": ResponseStage._item_added,
    "response.content_part.added": ResponseStage._part_added,
    _DELTA: ResponseStage._text_delta,
    "response.output_text.annotation.added": ResponseStage._annotation,
    _TEXT_DONE: ResponseStage._text_done,
    "response.content_part.done": ResponseStage._part_done,
    "response.output_item.done": ResponseStage._item_done,
    "response.refusal.delta": ResponseStage._other_part,
    "response.refusal.done": ResponseStage._other_part,
    **dict.fromkeys(_ENDS, ResponseStage._ended),
}
