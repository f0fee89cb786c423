"""The messages of a rewritten response: what the server sent of each, and what became of it so far.  Pure.

A message of the server comes out in segments, which are message items too: a call within its text ends one.
"""

from __future__ import annotations

from typing import Any

from otel_llm.protocol.fields import index_of, items_of, text_of
from otel_llm.tags.response_objects import as_json, fitted_annotations, function_call, reasoning_item
from otel_llm.tags.rewritten_text import RewrittenText

_TEXT_PART = {"type": "output_text", "text": "", "annotations": []}


class Segment:
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

    def open_part(self) -> None:
        """The next part begins, with text."""
        self.content_index += 1
        self.said = []

    def place(self, event: Any) -> None:
        """Give an event of the message the places of this segment."""
        if self.index is not None and getattr(event, "output_index", None) != self.index:
            event.output_index = self.index
        if self.item_id is not None:
            item_id = getattr(event, "item_id", None)
            if item_id is not None and item_id != self.item_id:
                event.item_id = self.item_id
        if self.content_index >= 0 and getattr(event, "content_index", self.content_index) != self.content_index:
            event.content_index = self.content_index


class MadeItem:
    """An item that is made of a text: a call, or thoughts."""

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


class Message:
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
        self.segment: Segment | None = None
        self.segments = 0
        self.items: list[dict[str, Any]] = []
        """The items that it has become, as far as they are done. Empty while it is only itself."""
        self.annotations: list[dict[str, Any]] = []
        self.is_read = False
        """Whether its text came in events of its own."""
        self.is_over = False

    @property
    def item_id(self) -> str | None:
        """Its id, as the server has it."""
        if self.added is None:
            return text_of(getattr(self.last_delta, "item_id", None))
        return text_of(getattr(self.added.item, "id", None))

    def begin_text(self, text: RewrittenText) -> None:
        """A part with text begins."""
        self.text = text
        self.original = []
        self.annotations = []
        self.has_calls = False

    def is_plain(self, delta: Any) -> bool:
        """Whether a delta of the text comes out as it is, and right behind the last one."""
        text, segment = self.text, self.segment
        return (
            segment is not None
            and segment.said is not None
            and text is not None
            and type(delta) is str
            and text.scanner.is_plain(delta)
        )

    def say_plainly(self, event: Any) -> None:
        """Take the event of a plain delta."""
        segment = self.segment
        if segment is not None and segment.said is not None:
            segment.said.append(event.delta)
            self.original.append(event.delta)
            self.last_delta = event
            segment.place(event)

    def end_part(self, segment: Segment, part: Any = None) -> dict[str, Any]:
        """The part of a segment that is done now. `part`: as the server has it at its end, if that has come."""
        said = "".join(segment.said or ())
        fields = as_json(part) if part is not None else {**(self.part or _TEXT_PART)}
        if part is None and self.annotations:
            fields["annotations"] = self.annotations
        original = "".join(self.original)
        if fields.get("text") != said:
            fields["annotations"] = fitted_annotations(fields.get("annotations"), original, said)
            fields["text"] = said
            if fields.get("logprobs"):
                fields["logprobs"] = []
        segment.said = None
        segment.parts.append(fields)
        return fields

    def differs_from(self, item: Any) -> bool:
        """Whether the application was told of anything else than `item`, the message at its end as the server has it.

        Its last segment has ended, and is still there.
        """
        segment = self.segment
        if segment is None or self.items or segment.item_id != text_of(getattr(item, "id", None)):
            return True
        texts = [getattr(part, "text", None) for part in items_of(getattr(item, "content", None))]
        return texts != [part.get("text") for part in segment.parts]


class Messages:
    """The messages that have come, in their order."""

    __slots__ = ("_by_key", "in_order")

    def __init__(self) -> None:
        self._by_key: dict[Any, Message] = {}
        self.in_order: list[Message] = []

    def find(self, event: Any, item: Any = None) -> Message | None:
        """The message that an event is about, None if it is not known."""
        return self._by_key.get(key_of(event, item))

    def begin(self, event: Any, added: Any) -> Message:
        """`added`: the event, if it announces the message."""
        message = Message(added, index_of(getattr(event, "output_index", None)))
        self._by_key[key_of(event, getattr(added, "item", None))] = message
        self.in_order.append(message)
        return message

    def of(self, event: Any) -> Message:
        """The message that an event is about, a new one if it is not known."""
        return self.find(event) or self.begin(event, None)

    def by_item_id(self) -> dict[str, Message]:
        return {item_id: message for message in self.in_order if (item_id := message.item_id) is not None}

    def forget(self) -> dict[Any, Message]:
        """Forget all of them. Returns them by what their events have in common (see `key_of`)."""
        by_key, self._by_key, self.in_order = self._by_key, {}, []
        return by_key


def key_of(event: Any, item: Any = None) -> Any:
    """What tells which item an event is about."""
    item_id = getattr(event, "item_id", None) if item is None else getattr(item, "id", None)
    return item_id if isinstance(item_id, str) and item_id else getattr(event, "output_index", None)
