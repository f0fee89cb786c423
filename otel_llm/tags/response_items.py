"""The events that tell an application of the items of a rewritten response.  Pure.

Those of the server are used where they fit, others are made. Items begin and end one after the other, as OpenAI sends
them: a call or a thought ends the segment of the message before it.
"""

from __future__ import annotations

import copy
from typing import Any

from otel_llm.protocol.fields import index_of
from otel_llm.tags.ids import new_id
from otel_llm.tags.response_messages import MadeItem, Message, Messages, Segment, key_of
from otel_llm.tags.response_objects import EventMaker, as_json
from otel_llm.tags.response_places import OutputIndexes
from otel_llm.tags.writers import CallDelta, Part, ThoughtDelta

TEXT_DELTA = "response.output_text.delta"
TEXT_DONE = "response.output_text.done"
_MESSAGE = {"type": "message", "role": "assistant", "status": "completed"}


class ItemEvents:
    """Collects the events of the items, in `out`."""

    __slots__ = ("_events", "_indexes", "_messages", "made", "out")

    def __init__(self, events: EventMaker, messages: Messages) -> None:
        self._events = events
        self._messages = messages
        self._indexes = OutputIndexes()
        self.made: MadeItem | None = None
        """The call, or the thoughts, that have not ended."""
        self.out: list[Any] = []

    def take(self) -> list[Any]:
        """The events since the last time."""
        out, self.out = self.out, []
        return out

    def send(self, event: Any, message: Message | None = None) -> None:
        """Add an event of the server. `message`: the message whose text is read, if the event is about that."""
        segment = None if message is None else message.segment
        if segment is None:
            self._place(event)
        else:
            segment.place(event)
        self.out.append(event)

    def again(self, event: Any, **changes: Any) -> Any:
        """The event with other fields."""
        fields = {**as_json(event), **changes}
        fields.pop("type", None)
        return self._events.make(event.type, **fields)

    # Text ---------------------------------------------------------------------------------------------------

    def write(self, message: Message, parts: list[Part], event: Any = None) -> None:
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

    def announce(self, message: Message) -> Segment:
        """The application is told of the message, or of the next segment of it, and of the part that is read."""
        segment = message.segment
        if segment is None:
            segment = message.segment = self._next_segment(message)
        if message.held_part is not None:
            segment.open_part()
            self.send(message.held_part, message)
            message.held_part = None
        return segment

    def delta(self, message: Message, text: str) -> Any:
        """An event with text of a message."""
        last = message.last_delta
        if last is not None:
            return _with_text(copy.copy(last), text)
        fields: dict[str, Any] = {"item_id": message.item_id, "content_index": 0, "delta": text, "logprobs": []}
        return self._events.make(TEXT_DELTA, **_indexed(fields, message.index), sequence_number=0)

    def end(self, message: Message) -> None:
        """The server says no more of a message."""
        if message.is_over:
            return
        message.is_over = True
        if not message.segments:
            self._indexes.drop()

    def give_back(self) -> None:
        """What is still to come of the messages goes where they are. They are forgotten."""
        for key, message in self._messages.forget().items():
            if message.segment is not None and message.segment.index is not None:
                self._indexes.keep(key, message.segment.index)

    def _say(self, message: Message, text: str, event: Any) -> None:
        self.end_made("completed", message)
        segment = self.announce(message)
        if segment.said is None:
            segment.open_part()
            if message.added is not None and message.part is not None:
                # Another segment of the same part.
                self._make_in(segment, "response.content_part.added", part={**message.part, "text": ""})
        if event is None:
            event = self.delta(message, text)
        elif event.delta != text:
            event = _with_text(event, text)
        if segment.said is not None:
            segment.said.append(text)
        self.send(event, message)

    def _next_segment(self, message: Message) -> Segment:
        message.segments += 1
        item_id = message.item_id
        if message.segments == 1:
            segment = Segment(self._indexes.next(message.index), item_id)
            if message.held_item is not None:
                segment.place(message.held_item)
                self.out.append(message.held_item)
                message.held_item = None
        elif message.added is None:
            segment = Segment(message.index, item_id)
        else:
            segment = Segment(self._indexes.insert(message.index), new_id("msg"))
            item = {**as_json(message.added.item), "id": segment.item_id, "content": []}
            self._make("response.output_item.added", segment.index, item=item)
        return segment

    def _close(self, message: Message) -> None:
        """A call begins: the segment before it is done."""
        segment = message.segment
        if segment is None:
            return
        if message.added is not None:
            if segment.said is not None:
                text = "".join(segment.said)
                self._make_in(segment, TEXT_DONE, text=text, logprobs=[])
                part = message.end_part(segment)
                self._make_in(segment, "response.content_part.done", part=part)
            item = {**as_json(message.added.item), "id": segment.item_id, "content": segment.parts}
            item["status"] = "completed"
            message.items.append(item)
            self._make("response.output_item.done", segment.index, item=item)
        elif segment.said:
            part = message.end_part(segment)
            message.items.append({**_MESSAGE, "id": segment.item_id, "content": [part]})
        message.segment = None

    # Calls and thoughts -------------------------------------------------------------------------------------

    def end_made(self, status: str, message: Message | None = None) -> None:
        """The call or the thoughts have ended, if there are any. `message`: where they were, by default the last."""
        made, self.made = self.made, None
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
        messages = self._messages.in_order
        owner = message or (messages[-1] if messages else None)
        if owner is not None:
            owner.items.append(fields)

    def _call(self, message: Message, delta: CallDelta) -> None:
        message.has_calls = True
        if delta.name is not None:
            self._begin_made(message, new_id("fc"), delta.id or "", delta.name)
        call = self.made
        if call is None:
            return
        if delta.arguments:
            call.said.append(delta.arguments)
            kind = "response.function_call_arguments.delta"
            self._make(kind, call.index, item_id=call.item_id, delta=delta.arguments)
        if delta.ends:
            self.end_made("completed" if delta.complete else "incomplete", message)

    def _think(self, message: Message, delta: ThoughtDelta) -> None:
        message.has_calls = True
        thoughts = self.made
        if thoughts is None or thoughts.is_call:
            thoughts = self._begin_made(message, new_id("rs"))
        thoughts.said.append(delta.text)
        place = {"item_id": thoughts.item_id, "content_index": 0}
        self._make("response.reasoning_text.delta", thoughts.index, **place, delta=delta.text)

    def _begin_made(self, message: Message, item_id: str, call_id: str = "", name: str = "") -> MadeItem:
        self.end_made("completed", message)
        self._close(message)
        made = self.made = MadeItem(self._indexes.insert(message.index), item_id, call_id, name)
        self._make("response.output_item.added", made.index, item=made.fields("in_progress"))
        return made

    # Events -------------------------------------------------------------------------------------------------

    def _make(self, kind: str, index: int | None, **fields: Any) -> None:
        self.out.append(self._events.make(kind, **_indexed(fields, index), sequence_number=0))

    def _make_in(self, segment: Segment, kind: str, **fields: Any) -> None:
        place = {"item_id": segment.item_id, "content_index": segment.content_index}
        self._make(kind, segment.index, **place, **fields)

    def _place(self, event: Any) -> None:
        """Give an event the index that its item has here."""
        index = index_of(getattr(event, "output_index", None))
        if index is None:
            return
        item = getattr(event, "item", None)
        message = self._messages.find(event, item)
        if message is not None and message.segment is not None:
            message.segment.place(event)
            return
        place = self._indexes.of(key_of(event, item), index)
        if place != index:
            event.output_index = place


def _indexed(fields: dict[str, Any], index: int | None) -> dict[str, Any]:
    return fields if index is None else {**fields, "output_index": index}


def _with_text(event: Any, text: str) -> Any:
    """The delta, with other text."""
    event.delta = text
    if getattr(event, "logprobs", None):
        event.logprobs = []
    return event
