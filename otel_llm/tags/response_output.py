"""The output of a response, streamed or whole: its items are those of the events, or rewritten here.  Pure."""

from __future__ import annotations

from typing import Any

from otel_llm.protocol.fields import items_of, text_of
from otel_llm.tags.ids import new_id
from otel_llm.tags.response_items import ItemEvents
from otel_llm.tags.response_messages import Message, Messages
from otel_llm.tags.response_objects import as_json, fitted_annotations, function_call, items_for, reasoning_item
from otel_llm.tags.response_texts import ResponseTexts
from otel_llm.tags.writers import CallDelta, Part, ThoughtDelta


class ResponseOutput:
    """Rewrites the `output` of a response."""

    __slots__ = ("_events", "_messages", "_texts")

    def __init__(self, texts: ResponseTexts, messages: Messages, events: ItemEvents) -> None:
        self._texts = texts
        self._messages = messages
        self._events = events

    def rewrite(self, response: Any) -> None:
        """Rewrite it in place."""
        items: list[Any] = []
        is_changed = False
        known = self._messages.by_item_id()
        reason = "length" if getattr(response, "status", None) == "incomplete" else "stop"
        for place, item in enumerate(items_of(getattr(response, "output", None))):
            made: list[dict[str, Any]] = []
            if getattr(item, "type", None) == "message":
                message = known.get(text_of(getattr(item, "id", None)) or "")
                if message is not None and message.is_read:
                    made = self._told(message, item)
                else:
                    made = self._items(item, None if place else reason)
            if made:
                is_changed = True
                items += items_for(response, made)
            else:
                items.append(item)
        if is_changed:
            response.output = items
            if "output_text" in (response if isinstance(response, dict) else ()):
                response.output_text = "".join(_texts_of(items))

    def _told(self, message: Message, item: Any) -> list[dict[str, Any]]:
        """The items that the events of a message told of, an empty list if it stayed as it was."""
        segment = message.segment
        if segment is not None and not message.is_over:
            # A server that does not say when its items are done.
            if segment.said is not None:
                message.end_part(segment)
            if message.differs_from(item):
                is_first = all(one["id"] != segment.item_id for one in message.items)
                item_id = segment.item_id if is_first else new_id("msg")
                message.items.append({**as_json(item), "id": item_id, "content": segment.parts})
        self._events.end(message)
        return message.items

    def _items(self, item: Any, reason: str | None) -> list[dict[str, Any]]:
        """The items that a message becomes of which no event told, an empty list if it stays as it is.

        `reason`: see `ResponseTexts.rewrite`.
        """
        fields = as_json(item)
        made = _WholeMessage(fields)
        for part in items_of(fields.get("content")):
            text = part.get("text") if isinstance(part, dict) and part.get("type") == "output_text" else None
            if not isinstance(text, str) or not text:
                made.content.append(part)
                continue
            parts = self._texts.rewrite(text, reason)
            if len(parts) == 1 and parts[0] == text:
                made.content.append(part)
            else:
                made.rewrite(part, text, parts)
        made.close()
        return made.items if made.is_changed else []


class _WholeMessage:
    """What becomes of one message: `items` that are done, and the `content` of one that is not."""

    __slots__ = ("_fields", "content", "is_changed", "items")

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields
        self.items: list[dict[str, Any]] = []
        self.content: list[dict[str, Any]] = []
        self.is_changed = False

    def rewrite(self, part: dict[str, Any], text: str, parts: list[Part]) -> None:
        """Add a content part, whose text became `parts`."""
        self.is_changed = True
        call: dict[str, Any] | None = None
        for one in parts:
            if type(one) is str:
                annotations = fitted_annotations(part.get("annotations"), text, one)
                self.content.append({**part, "text": one, "annotations": annotations})
                if part.get("logprobs"):
                    self.content[-1]["logprobs"] = []
            elif type(one) is ThoughtDelta:
                self.close()
                self.items.append(reasoning_item(new_id("rs"), one.text, "completed"))
            elif type(one) is CallDelta:
                if one.name is not None:
                    self.close()
                    call = function_call(new_id("fc"), one.id or "", one.name, "", "incomplete")
                    self.items.append(call)
                if call is not None:
                    call["arguments"] += one.arguments
                    if one.ends and one.complete:
                        call["status"] = "completed"

    def close(self) -> None:
        """The content so far is a message. Only the first one has the id of the server's."""
        if self.content:
            is_first = not any(one["type"] == "message" for one in self.items)
            item_id = self._fields.get("id") if is_first else new_id("msg")
            self.items.append({**self._fields, "id": item_id, "content": self.content})
            self.content = []


def _texts_of(items: list[Any]) -> list[str]:
    return [part["text"] for item in items for part in item.get("content") or () if part.get("type") == "output_text"]
