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
from typing import Any, NamedTuple

from otel_llm.protocol.fields import items_of
from otel_llm.tags.response_items import TEXT_DELTA, TEXT_DONE, ItemEvents
from otel_llm.tags.response_messages import MadeItem, Message, Messages, Segment
from otel_llm.tags.response_objects import EventMaker, as_json, fitted_annotations
from otel_llm.tags.response_output import ResponseOutput
from otel_llm.tags.response_places import SequenceNumbers
from otel_llm.tags.response_texts import ResponseTexts
from otel_llm.tags.rewritten_text import Rewriter, RewrittenText

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Saved(NamedTuple):
    """What to go back to if the stage fails at an event."""

    message: Message
    held_item: Any
    held_part: Any
    segment: Segment | None
    text: RewrittenText | None
    made: MadeItem | None
    event: Any
    delta: str

    def restore(self) -> None:
        message = self.message
        message.held_item, message.held_part = self.held_item, self.held_part
        message.segment, message.text = self.segment, self.text
        if self.event is not None and self.event.delta != self.delta:
            self.event.delta = self.delta


class ResponseStage:
    """Rewrites one response: `take` and `finish` for a stream, or `rewrite_response`."""

    def __init__(self, rewriter: Rewriter, events: EventMaker) -> None:
        self._makes_calls = rewriter.makes_calls
        self._texts = ResponseTexts(rewriter)
        self._messages = Messages()
        self._items = ItemEvents(events, self._messages)
        self._numbers = SequenceNumbers()
        self._output = ResponseOutput(self._texts, self._messages, self._items)
        self._saved: _Saved | None = None

    def take(self, event: Any) -> Any:
        """The events for one event: the same object, or a list."""
        kind = getattr(event, "type", None)
        items = self._items
        if kind == TEXT_DELTA:
            # Most events.
            message = self._messages.find(event)
            if message is not None and items.made is None and message.is_plain(event.delta):
                message.say_plainly(event)
                self._numbers.same(event)
                return event
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            items.send(event)
        else:
            handler(self, event)
        out = self._numbers.instead(event, items.take())
        self._saved = None
        return out

    def finish(self) -> list[Any]:
        """The stream is over: the events with what was held back."""
        self._flush_messages()
        out = self._numbers.behind(self._items.take())
        self._saved = None
        return out

    def rewrite_response(self, response: Any) -> None:
        """Rewrite an unstreamed response, in place."""
        self._output.rewrite(response)

    # After a failure ----------------------------------------------------------------------------------------

    def give_back(self, event: Any) -> list[Any]:
        """The stage failed at this event or an earlier one: the events with the text held back, as it came."""
        self._give_back()
        self._items.send(event)
        out = self._items.take()
        try:
            return self._numbers.instead(event, out)
        except Exception:  # noqa: BLE001  the text matters more than its numbers
            return out

    def give_back_rest(self) -> list[Any]:
        """After a failure, at the end of the stream: the events with the text that is still held back."""
        self._give_back()
        out = self._items.take()
        try:
            return self._numbers.behind(out)
        except Exception:  # noqa: BLE001  the text matters more than its numbers
            return out

    def give_back_plainly(self) -> list[Any]:
        """The same if that fails, in the simplest form: the last delta of each message once more, with that text."""
        events = []
        for message in self._messages.in_order:
            held = "" if message.text is None else message.text.held
            last = message.last_delta
            if held and last is not None:
                event: Any = type(last)(last) if isinstance(last, dict) else copy.copy(last)
                event.delta = held
                events.append(event)
        return events

    def _give_back(self) -> None:
        items = self._items
        items.out = []
        saved, self._saved = self._saved, None
        if saved is not None:
            saved.restore()
            items.made = saved.made
        items.end_made("incomplete")
        for message in self._messages.in_order:
            held = "" if message.text is None else message.text.held
            for event in (message.held_item, message.held_part):
                if event is not None:
                    items.send(event)
            message.held_item = message.held_part = None
            if held:
                items.out.append(items.delta(message, held))
            message.text = None
        items.give_back()

    # Events of the server -----------------------------------------------------------------------------------

    def _item_added(self, event: Any) -> None:
        if getattr(getattr(event, "item", None), "type", None) != "message":
            self._items.send(event)
            return
        message = self._messages.begin(event, event)
        if self._makes_calls:
            message.held_item = event
        else:
            self._items.announce(message)
            self._items.out.append(event)

    def _part_added(self, event: Any) -> None:
        message = self._messages.of(event)
        part = getattr(event, "part", None)
        if getattr(part, "type", None) != "output_text":
            self._other_part(event)
            return
        self._flush(message)
        message.part = as_json(part)
        self._begin_text(message)
        message.held_part = event
        if not self._makes_calls or message.added is None:
            self._items.announce(message)

    def _other_part(self, event: Any) -> None:
        """An event of a content part that holds no text, such as a refusal."""
        message = self._messages.find(event)
        if message is None:
            self._items.send(event)
            return
        self._items.end_made("completed", message)
        segment = self._items.announce(message)
        kind = getattr(event, "type", None)
        if kind == "response.content_part.added":
            segment.content_index += 1
        elif kind == "response.content_part.done":
            segment.parts.append(as_json(event.part))
        self._items.send(event, message)

    def _text_delta(self, event: Any) -> None:
        message = self._messages.of(event)
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
            self._items.write(message, [delta], event)
            return
        parts = text.feed(delta)
        left = text.left
        self._items.write(message, parts, event)
        text.hand_on(delta, left)

    def _text_done(self, event: Any) -> None:
        message = self._messages.of(event)
        text = getattr(event, "text", None)
        if not message.is_read and isinstance(text, str) and text:
            # A server that sends no deltas.
            self._feed_whole(message, text)
        self._flush(message)
        segment = self._at_end_of_part(message)
        if segment is None or segment.said is None:
            return
        segment.place(event)
        said = "".join(segment.said)
        self._items.out.append(event if said == text else self._items.again(event, text=said, logprobs=[]))

    def _part_done(self, event: Any) -> None:
        message = self._messages.find(event)
        part = getattr(event, "part", None)
        if message is None or getattr(part, "type", None) != "output_text":
            self._other_part(event)
            return
        self._flush(message)
        segment = self._at_end_of_part(message)
        if segment is None or segment.said is None:
            return
        segment.place(event)
        fields = message.end_part(segment, part)
        if fields["text"] != getattr(part, "text", None):
            event = self._items.again(event, part=fields)
        self._items.out.append(event)

    def _item_done(self, event: Any) -> None:
        item = getattr(event, "item", None)
        message = self._messages.find(event, item)
        if message is None or getattr(item, "type", None) != "message":
            self._items.send(event)
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
            self._items.announce(message)
        message.held_item = message.held_part = None
        self._items.end(message)
        segment = message.segment
        if segment is None:
            return
        if segment.said is not None:
            message.end_part(segment)
        segment.place(event)
        if message.differs_from(item):
            fields = {**as_json(item), "id": segment.item_id, "content": segment.parts}
            message.items.append(fields)
            event = self._items.again(event, item=fields)
        message.segment = None
        self._items.out.append(event)

    def _annotation(self, event: Any) -> None:
        message = self._messages.find(event)
        if message is None:
            self._items.send(event)
            return
        segment = message.segment
        if segment is None:
            # It is about text that is held back, or that became a call.
            return
        segment.place(event)
        annotation = getattr(event, "annotation", None)
        fields = annotation if isinstance(annotation, dict) else as_json(annotation)
        message.annotations.append(fields)
        original, said = "".join(message.original), "".join(segment.said or ())
        if original != said:
            fitted = fitted_annotations([fields], original, said)
            if not fitted:
                return
            event = self._items.again(event, annotation=fitted[0])
        self._items.out.append(event)

    def _ended(self, event: Any) -> None:
        self._flush_messages()
        response = getattr(event, "response", None)
        if getattr(response, "status", None) == "completed":
            self._texts.end_all()
        if response is not None:
            self._output.rewrite(response)
        self._items.out.append(event)

    # Texts --------------------------------------------------------------------------------------------------

    def _begin_text(self, message: Message) -> RewrittenText:
        text = self._texts.begin(message.index)
        message.begin_text(text)
        return text

    def _feed_whole(self, message: Message, text: str) -> None:
        rewritten = message.text or self._begin_text(message)
        message.is_read = True
        message.original.append(text)
        self._items.write(message, rewritten.feed(text))

    def _flush(self, message: Message) -> None:
        """The text of a part is over."""
        if message.text is None:
            return
        self._save(message)
        text, message.text = message.text, None
        self._items.write(message, self._texts.end(text))
        # Only a call that was cut off is not done yet.
        made = self._items.made
        self._items.end_made("incomplete" if made is not None and made.is_call else "completed", message)

    def _flush_messages(self) -> None:
        for message in self._messages.in_order:
            if not message.is_over:
                self._flush(message)

    def _at_end_of_part(self, message: Message) -> Segment | None:
        """Where a text part is that is over, None if the application does not see it: it was nothing but calls."""
        if not message.has_calls:
            # It is empty, as it came.
            self._items.announce(message)
        message.held_part = None
        return message.segment

    def _save(self, message: Message, event: Any = None, delta: str = "") -> None:
        self._saved = _Saved(
            message,
            message.held_item,
            message.held_part,
            message.segment,
            message.text,
            self._items.made,
            event,
            delta,
        )


_HANDLERS = {
    "response.output_item.added": ResponseStage._item_added,
    "response.content_part.added": ResponseStage._part_added,
    TEXT_DELTA: ResponseStage._text_delta,
    "response.output_text.annotation.added": ResponseStage._annotation,
    TEXT_DONE: ResponseStage._text_done,
    "response.content_part.done": ResponseStage._part_done,
    "response.output_item.done": ResponseStage._item_done,
    "response.refusal.delta": ResponseStage._other_part,
    "response.refusal.done": ResponseStage._other_part,
    **dict.fromkeys(_ENDS, ResponseStage._ended),
}
