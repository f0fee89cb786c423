"""Anthropic's messages: the events of a stream, or a whole message, as chunks of a chat completion.  Pure.

Shapes: Anthropic's API reference, "Streaming Messages" and "Create a Message". The readings:

- The index of a call is that of its content block, so indexes start where the text before them ends.
- The input of a call comes in pieces of JSON. A call without any piece has the input of its first event, `{}`.
- `end_turn` and `stop_sequence` are the finish reason `stop`; `tool_use` is `tool_calls`; `max_tokens` and
  `model_context_window_exceeded` are `length`; `refusal` is `content_filter`. Others stay as they are:
  `pause_turn` says that the model made no call that the application must answer.
- Input tokens count those read from a cache and written to it, which Anthropic counts beside them.
- A block that never stops is complete when the message is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from otel_llm.protocol.anthropic_blocks import CALL, is_of_server
from otel_llm.protocol.choice import Notice
from otel_llm.protocol.fields import field, index_of, is_empty, items_of, text_of
from otel_llm.protocol.made_chunks import (
    EMPTY_CHUNK,
    MadeChunk,
    Translator,
    made_choice,
    made_chunk,
    made_tool_call,
)
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens_details",
)


class MessageEvents(Translator):
    """Reads one message into `recording`: `feed` for each event, or `read_response` for an unstreamed one."""

    api: Final = "messages"

    def __init__(self, recording: Recording, _request: ChatRequest | None = None) -> None:
        super().__init__(recording)
        # The calls whose blocks are open, by index: the input that their first event had, until a piece arrives.
        self._open: dict[Any, Any] = {}
        self._usage: dict[str, Any] = {}
        self._server_calls = 0

    def feed(self, event: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
        """Take one event, as `Recording.feed` takes a chunk."""
        try:
            kind = event.type
            if kind == "content_block_delta":
                delta = event.delta
                delta_kind = delta.type
                if delta_kind == "input_json_delta":
                    index, text = event.index, delta.partial_json
                    if index in self._open and type(text) is str:
                        if text:
                            self._open[index] = None
                        self._tool_call.index = index
                        self._function.arguments = text
                        return self._feed(self._call_chunk, wait_started_ns, received_ns)
                elif delta_kind == "text_delta":
                    self._text_delta.content = delta.text
                    return self._feed(self._text_chunk, wait_started_ns, received_ns)
                elif delta_kind == "thinking_delta" and type(thought := delta.thinking) is str:
                    self._thought["reasoning_content"] = thought
                    return self._feed(self._thought_chunk, wait_started_ns, received_ns)
        except Exception:  # noqa: BLE001  not an event of the SDK, or one that lacks a field of the protocol
            kind = field(event, "type")
        kind = text_of(kind) or ""
        read = _READERS.get(kind)
        chunk = None if read is None else read(self, event)
        notices = self._feed(chunk or EMPTY_CHUNK, wait_started_ns, received_ns)
        if kind == "content_block_stop":
            return [*(notices or ()), *self._completed_call(event)]
        return notices

    def read_response(self, response: Any, received_ns: int) -> list[Notice]:
        """Take an unstreamed message."""
        blocks = items_of(field(response, "content"))
        calls, texts, thoughts = [], [], []
        for index, block in enumerate(blocks):
            kind = text_of(field(block, "type")) or ""
            if kind == CALL:
                arguments = _input_text(field(block, "input"))
                calls.append(made_tool_call(index, field(block, "id"), field(block, "name"), arguments))
            elif is_of_server(kind):
                self._count(kind)
            elif kind == "text":
                texts.append(text_of(field(block, "text")) or "")
            elif kind == "thinking":
                thoughts.append(text_of(field(block, "thinking")) or "")
        self._add_usage(field(response, "usage"))
        reason = _finish_reason(field(response, "stop_reason"))
        message = {"content": "".join(texts), "reasoning_content": "".join(thoughts), "tool_calls": calls}
        has_message = bool(blocks) or reason is not None
        whole: MadeChunk = {
            "id": field(response, "id"),
            "model": field(response, "model"),
            "choices": [{"index": 0, "message": message, "finish_reason": reason}] if has_message else [],
            "usage": self._chat_usage(),
            "error": field(response, "error"),
        }
        return self._recording.read_response(whole, received_ns)

    # Each event as a chunk --------------------------------------------------------------------------------

    def _message_start(self, event: Any) -> MadeChunk | None:
        message = field(event, "message")
        self._recording.read_head(message)
        self._add_usage(field(message, "usage"))
        usage = self._chat_usage()
        # Of a message that is never finished, the tokens of the input are known all the same.
        return None if usage is None else {"choices": [], "usage": {**usage, "completion_tokens": None}}

    def _block_start(self, event: Any) -> MadeChunk | None:
        block, index = field(event, "content_block"), index_of(field(event, "index"))
        kind = text_of(field(block, "type")) or ""
        if kind == CALL:
            if len(self._open) < self._recording.limits.calls:
                self._open[index] = field(block, "input")
            return made_chunk([made_tool_call(index, field(block, "id"), field(block, "name"))])
        if is_of_server(kind):
            self._count(kind)
            return None
        # Some servers send the beginning with the block.
        text = text_of(field(block, "text")) if kind == "text" else None
        thought = text_of(field(block, "thinking")) if kind == "thinking" else None
        return made_chunk(content=text, reasoning=thought)

    def _block_delta(self, event: Any) -> MadeChunk | None:
        delta = field(event, "delta")
        kind = text_of(field(delta, "type"))
        if kind == "thinking_delta":
            return made_chunk(reasoning=field(delta, "thinking"))
        if kind == "text_delta":
            return made_chunk(content=field(delta, "text"))
        if kind == "input_json_delta":
            index = index_of(field(event, "index"))
            if index in self._open:
                text = field(delta, "partial_json")
                if not is_empty(text):
                    self._open[index] = None
                return made_chunk([made_tool_call(index, None, arguments=text)])
        return None

    def _block_stop(self, event: Any) -> MadeChunk | None:
        index = index_of(field(event, "index"))
        first_input = self._open.pop(index, None)
        if first_input is None:
            return None
        # No piece of JSON came.
        return made_chunk([made_tool_call(index, None, arguments=_input_text(first_input))])

    def _message_delta(self, event: Any) -> MadeChunk | None:
        self._add_usage(field(event, "usage"))
        reason = _finish_reason(field(field(event, "delta"), "stop_reason"))
        choice = made_choice({})
        choice["finish_reason"] = reason
        return {"choices": [] if reason is None else [choice], "usage": self._chat_usage()}

    def _error(self, event: Any) -> MadeChunk | None:
        self._recording.fail(field(event, "error"), "error")
        return None

    # Parts of them ----------------------------------------------------------------------------------------

    def _completed_call(self, event: Any) -> list[Notice]:
        """The call whose block has stopped may be executed before the message ends."""
        index = index_of(field(event, "index"))
        found = [(choice, choice.by_index.get(index)) for choice in self._recording.choices if index is not None]
        return [Notice("completed", choice, call) for choice, call in found if call is not None]

    def _count(self, kind: str) -> None:
        if not kind.endswith("_result"):
            self._server_calls += 1
            self._recording.server_items(self._server_calls)

    def _add_usage(self, usage: Any) -> None:
        """Take the counts that are there. Those of `message_delta` are of the whole message so far."""
        for name in _COUNTS if usage is not None else ():
            if (value := field(usage, name)) is not None:
                self._usage[name] = value

    def _chat_usage(self) -> dict[str, Any] | None:
        usage = self._usage
        if not usage:
            return None
        read, written = _number(usage.get("cache_read_input_tokens")), _number(usage.get("cache_creation_input_tokens"))
        tokens = usage.get("input_tokens")
        return {
            "prompt_tokens": None if tokens is None else _number(tokens) + read + written,
            "completion_tokens": usage.get("output_tokens"),
            "prompt_tokens_details": {
                "cached_tokens": usage.get("cache_read_input_tokens"),
                "cache_write_tokens": usage.get("cache_creation_input_tokens"),
            },
            "completion_tokens_details": {
                "reasoning_tokens": field(usage.get("output_tokens_details"), "thinking_tokens")
            },
        }


_READERS: dict[str, Callable[[MessageEvents, Any], MadeChunk | None]] = {
    "message_start": MessageEvents._message_start,
    "content_block_start": MessageEvents._block_start,
    "content_block_delta": MessageEvents._block_delta,
    "content_block_stop": MessageEvents._block_stop,
    "message_delta": MessageEvents._message_delta,
    "error": MessageEvents._error,
}


def _finish_reason(stop_reason: Any) -> str | None:
    reason = text_of(stop_reason)
    return None if reason is None else _FINISH_REASONS.get(reason, reason)


def _input_text(value: Any) -> str:
    """The input of a call as the text of its arguments."""
    text = text_of(value)
    if text is not None:
        return text
    try:
        return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    except Exception:  # noqa: BLE001  a value that cannot be written as JSON
        return ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
