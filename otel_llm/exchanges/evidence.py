"""The chunks that show an anomaly.  Pure.

The first and the last chunks of each call and of each choice are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from otel_llm.diagnosis.case import Anomaly
from otel_llm.protocol.converse_events import kind_of_event
from otel_llm.protocol.fields import field, index_of, items_of, text_of
from otel_llm.protocol.gemini_fields import get, unwrapped
from otel_llm.protocol.message_text import REASONING_FIELDS

_FIRST = 4  # chunks
_LAST = 2
_SHOWN = 1000  # characters of a chunk
_MOST_KEYS = 1024
_MESSAGE_EVENTS = frozenset({"content_block_start", "content_block_delta", "content_block_stop"})
_LAST_EVENTS = frozenset({"response.completed", "response.failed", "response.incomplete"})


class Excerpt(NamedTuple):
    """A chunk: its number from 1, the offset of its first byte, and the beginning of its text.

    The number is 0 for a line that is no chunk.
    """

    number: int
    offset: int
    text: str


class _Kept:
    def __init__(self) -> None:
        self.first: list[Excerpt] = []
        self.last: deque[Excerpt] = deque(maxlen=_LAST)

    def add(self, excerpt: Excerpt) -> None:
        if len(self.first) < _FIRST:
            self.first.append(excerpt)
        else:
            self.last.append(excerpt)

    def all(self) -> list[Excerpt]:
        return [*self.first, *self.last]


# Which chunks of a choice show an anomaly that is not of one call.
_SHOWN_BY = {
    "finish_reason_mismatch": ("finish", "calls"),
    "missing_finish_reason": ("any",),
    "missing_index": ("no_index",),
    "delta_after_finish": ("finish", "late"),
    "text_leak": ("text",),
    "token_leak": ("text",),
    "reasoning_leak": ("text",),
    "call_in_reasoning": ("reasoning", "text"),
    "tool_choice_violated": ("calls", "text"),
    "parallel_violated": ("calls",),
    "duplicate_id": ("calls",),
}


class Evidence:
    """Is given every chunk of a response, and then finds those that show an anomaly."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], _Kept] = {}
        self._finished: set[int] = set()
        # How many calls each choice has so far, where calls have no index.
        self._calls: dict[int, int] = {}
        self._count = 0
        self._longest_wait: list[Excerpt] = []

    def take(self, chunk: Any, raw: str, offset: int, *, longest_wait: bool = False) -> None:
        self._count += 1
        excerpt = Excerpt(self._count, offset, raw[:_SHOWN])
        if longest_wait:
            self._longest_wait = [excerpt]
        kind = text_of(field(chunk, "type"))
        if kind is not None and kind.startswith("response."):
            self._take_event(kind, chunk, excerpt)
        elif kind is not None and (kind in _MESSAGE_EVENTS or kind.startswith("message")):
            self._take_message_event(kind, chunk, excerpt)
        elif (kind := kind_of_event(chunk)) or field(chunk, "stopReason") is not None:
            self._take_converse_event(kind, chunk, excerpt)
        for candidate in items_of(get(unwrapped(chunk), "candidates")):
            self._take_candidate(candidate, excerpt)
        for choice in items_of(field(chunk, "choices")):
            index = index_of(field(choice, "index")) or 0
            body = field(choice, "delta") or field(choice, "message")
            self._add(excerpt, "any", index)
            if field(body, "content"):
                self._add(excerpt, "text", index)
            if any(field(body, name) for name in REASONING_FIELDS):
                self._add(excerpt, "reasoning", index)
            deltas = [*items_of(field(body, "tool_calls"))]
            if field(body, "function_call") is not None:
                deltas.append({"index": 0})
            for place, delta in enumerate(deltas):
                call = index_of(field(delta, "index"))
                if call is None and field(choice, "message") is not None:
                    call = place
                self._add(excerpt, "call", index, call)
                self._add(excerpt, "calls", index)
                if call is None:
                    self._add(excerpt, "no_index", index)
                if index in self._finished:
                    self._add(excerpt, "late", index)
            if field(choice, "finish_reason"):
                self._add(excerpt, "finish", index)
                if len(self._finished) < _MOST_KEYS:
                    self._finished.add(index)

    def _take_event(self, kind: str, event: Any, excerpt: Excerpt) -> None:
        """An event of the Responses API, which has one choice."""
        self._add(excerpt, "any", 0)
        item = text_of(field(field(event, "item"), "type")) or ""
        if "call" in kind or item.endswith("_call"):
            self._add(excerpt, "call", 0, index_of(field(event, "output_index")))
            self._add(excerpt, "calls", 0)
        elif "output_text" in kind:
            self._add(excerpt, "text", 0)
        elif kind in _LAST_EVENTS:
            self._add(excerpt, "finish", 0)

    def _take_message_event(self, kind: str, event: Any, excerpt: Excerpt) -> None:
        """An event of Anthropic's messages, or a whole message."""
        self._add(excerpt, "any", 0)
        delta, block = field(event, "delta"), field(event, "content_block")
        what = text_of(field(delta, "type")) or text_of(field(block, "type")) or ""
        if what in {"tool_use", "input_json_delta"} or kind == "content_block_stop":
            index = index_of(field(event, "index"))
            self._add(excerpt, "call", 0, index)
            self._add(excerpt, "calls" if index is not None else "no_index", 0)
        elif what in {"thinking", "thinking_delta"}:
            self._add(excerpt, "reasoning", 0)
        elif what in {"text", "text_delta"}:
            self._add(excerpt, "text", 0)
        elif kind == "message_delta":
            self._add(excerpt, "finish", 0)
        for place, part in enumerate(items_of(field(event, "content"))):
            of_part = text_of(field(part, "type"))
            if of_part == "tool_use":
                self._add(excerpt, "call", 0, place)
                self._add(excerpt, "calls", 0)
            elif of_part == "text":
                self._add(excerpt, "text", 0)
        if field(event, "stop_reason"):
            self._add(excerpt, "finish", 0)

    def _take_converse_event(self, kind: str, event: Any, excerpt: Excerpt) -> None:
        """An event of Bedrock's Converse API, or a whole response."""
        self._add(excerpt, "any", 0)
        value = field(event, kind) if kind else event
        block = field(value, "delta") or field(value, "start")
        if field(block, "toolUse") is not None or kind == "contentBlockStop":
            index = index_of(field(value, "contentBlockIndex"))
            self._add(excerpt, "call", 0, index)
            self._add(excerpt, "calls" if index is not None else "no_index", 0)
        elif field(block, "reasoningContent") is not None:
            self._add(excerpt, "reasoning", 0)
        elif field(block, "text") is not None:
            self._add(excerpt, "text", 0)
        blocks = items_of(field(field(field(value, "output"), "message"), "content"))
        calls = [place for place, part in enumerate(blocks) if field(part, "toolUse") is not None]
        for place, _ in enumerate(calls):
            self._add(excerpt, "call", 0, place)
            self._add(excerpt, "calls", 0)
        if len(calls) < len(blocks):
            self._add(excerpt, "text", 0)
        if field(value, "stopReason"):
            self._add(excerpt, "finish", 0)

    def _take_candidate(self, candidate: Any, excerpt: Excerpt) -> None:
        """A candidate of a Gemini response, which may be one of a stream."""
        index = index_of(get(candidate, "index")) or 0
        self._add(excerpt, "any", index)
        for part in items_of(field(get(candidate, "content"), "parts")):
            call = get(part, "function_call")
            if call is not None:
                begins = text_of(field(call, "name")) is not None or index not in self._calls
                if begins and len(self._calls) < _MOST_KEYS:
                    self._calls[index] = self._calls.get(index, -1) + 1
                self._add(excerpt, "call", index, self._calls.get(index))
                self._add(excerpt, "calls", index)
                if index in self._finished:
                    self._add(excerpt, "late", index)
            elif text_of(field(part, "text")) is not None:
                self._add(excerpt, "reasoning" if field(part, "thought") is True else "text", index)
        if get(candidate, "finish_reason"):
            self._add(excerpt, "finish", index)
            if len(self._finished) < _MOST_KEYS:
                self._finished.add(index)

    def _add(self, excerpt: Excerpt, *key: Any) -> None:
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= _MOST_KEYS:
                return
            kept = self._kept[key] = _Kept()
        kept.add(excerpt)

    def of(self, anomaly: Anomaly) -> list[Excerpt]:
        """The chunks that show it, in order, as far as they were kept."""
        if anomaly.type == "stalled":
            return self._longest_wait
        found = {excerpt for key in self._keys(anomaly) if key in self._kept for excerpt in self._kept[key].all()}
        return sorted(found)

    def _keys(self, anomaly: Anomaly) -> Iterator[tuple[Any, ...]]:
        choice = anomaly.choice_index
        if choice is None:
            return
        if anomaly.tool_call_index is not None:
            yield ("call", choice, anomaly.tool_call_index)
            if ("call", choice, anomaly.tool_call_index) not in self._kept:
                yield ("call", choice, None)
        else:
            for kind in _SHOWN_BY.get(anomaly.type, ("any",)):
                yield (kind, choice)
