"""Bedrock's Converse API: the events of a stream, or a whole response, as chunks of a chat completion.  Pure.

Shapes: the Amazon Bedrock API reference, "ConverseStream" and "Converse". An event is a mapping with one key, which is
its kind. The readings:

- The index of a call is that of its content block, so indexes start where the text before them ends. A block of text
  or thoughts has no event of its own for its start.
- The input of a call comes in pieces of JSON. A call without any piece has no arguments.
- `end_turn` and `stop_sequence` are the finish reason `stop`; `tool_use` is `tool_calls`; `max_tokens` and
  `model_context_window_exceeded` are `length`; `guardrail_intervened` and `content_filtered` are `content_filter`.
  Others stay as they are: `malformed_tool_use` and `malformed_model_output` tell that the answer was lost.
- Input tokens count those read from a cache and written to it, which Bedrock counts beside them, unless the total
  shows that they are counted already.
- A block that never stops is complete when the message is.
- The model that answered is known only where a prompt router chose it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_llm.protocol.choice import Notice
from otel_llm.protocol.converse_blocks import CALL, MEDIA, RESULT, is_of_server, text_in, thought_in
from otel_llm.protocol.fields import field, index_of, is_a, items_of, text_of
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
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_COUNTS = ("inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
_EXCEPTION: Final = "Exception"


class ConverseEvents(Translator):
    """Reads one answer into `recording`: `feed` for each event, or `read_response` for an unstreamed one."""

    api: Final = "converse"

    def __init__(self, recording: Recording, _request: ChatRequest | None = None) -> None:
        super().__init__(recording)
        # The indexes of blocks that are calls of the server's, or their results.
        self._of_server: set[int | None] = set()
        self._server_calls = 0

    def feed(self, event: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
        """Take one event, as `Recording.feed` takes a chunk."""
        try:
            inner = event["contentBlockDelta"]
            delta = inner["delta"]
            if "toolUse" in delta:
                index, text = inner["contentBlockIndex"], delta["toolUse"]["input"]
                if type(index) is int and type(text) is str and index not in self._of_server:
                    self._tool_call.index = index
                    self._function.arguments = text
                    return self._feed(self._call_chunk, wait_started_ns, received_ns)
            elif "text" in delta:
                self._text_delta.content = delta["text"]
                return self._feed(self._text_chunk, wait_started_ns, received_ns)
            elif "text" in (thought := delta["reasoningContent"]):
                self._thought["reasoning_content"] = thought["text"]
                return self._feed(self._thought_chunk, wait_started_ns, received_ns)
        except Exception:  # noqa: BLE001, S110  another event, not one of the SDK, or one that lacks a field
            pass
        kind = kind_of_event(event)
        read = _READERS.get(kind)
        value = field(event, kind) if kind else None
        if read is None and kind.endswith(_EXCEPTION):
            self._recording.fail(value, kind)
        chunk = None if read is None else read(self, value)
        notices = self._feed(chunk or EMPTY_CHUNK, wait_started_ns, received_ns)
        if kind == "contentBlockStop":
            return [*(notices or ()), *self._completed_call(value)]
        return notices

    def read_response(self, response: Any, received_ns: int) -> list[Notice]:
        """Take an unstreamed response."""
        message = field(field(response, "output"), "message")
        blocks = items_of(field(message, "content"))
        calls, texts, thoughts, media = [], [], [], []
        for index, block in enumerate(blocks):
            call = field(block, CALL)
            if call is not None and is_of_server(call):
                self._count()
            elif call is not None:
                arguments = _arguments(field(call, "input"))
                calls.append(made_tool_call(index, field(call, "toolUseId"), field(call, "name"), arguments))
            else:
                texts.append(text_in(block) or "")
                thoughts.append(thought_in(block) or "")
                media += [{"type": kind} for kind in MEDIA if field(block, kind) is not None]
        reason = _finish_reason(field(response, "stopReason"))
        answer = {"content": "".join(texts), "reasoning_content": "".join(thoughts), "tool_calls": calls}
        if media:
            answer["content"] = [{"type": "text", "text": answer["content"]}, *media]
        whole: MadeChunk = {
            "model": _routed_model(response),
            "choices": [{"index": 0, "message": answer, "finish_reason": reason}] if blocks or reason else [],
            "usage": _chat_usage(field(response, "usage")),
            "error": field(response, "error"),
        }
        return self._recording.read_response(whole, received_ns)

    # Each event as a chunk --------------------------------------------------------------------------------

    def _block_start(self, value: Any) -> MadeChunk | None:
        start, index = field(value, "start"), index_of(field(value, "contentBlockIndex"))
        call = field(start, CALL)
        if field(start, RESULT) is not None or (call is not None and is_of_server(call)):
            if len(self._of_server) < self._recording.limits.calls:
                self._of_server.add(index)
            if call is not None:
                self._count()
            return None
        self._of_server.discard(index)
        if call is not None:
            return made_chunk([made_tool_call(index, field(call, "toolUseId"), field(call, "name"))])
        if field(start, "image") is not None:
            return made_chunk(content=[{"type": "image"}])
        return None

    def _block_delta(self, value: Any) -> MadeChunk | None:
        delta, index = field(value, "delta"), index_of(field(value, "contentBlockIndex"))
        call = field(delta, CALL)
        if call is not None:
            if index in self._of_server:
                return None
            return made_chunk([made_tool_call(index, None, arguments=field(call, "input"))])
        return made_chunk(content=field(delta, "text"), reasoning=field(field(delta, "reasoningContent"), "text"))

    def _message_stop(self, value: Any) -> MadeChunk:
        choice, reason = made_choice({}), _finish_reason(field(value, "stopReason"))
        choice["finish_reason"] = reason
        return {"choices": [] if reason is None else [choice]}

    def _metadata(self, value: Any) -> MadeChunk:
        self._recording.read_head({"model": _routed_model(value)})
        return {"choices": [], "usage": _chat_usage(field(value, "usage"))}

    # Parts of them ----------------------------------------------------------------------------------------

    def _completed_call(self, value: Any) -> list[Notice]:
        """The call whose block has stopped may be executed before the message ends."""
        index = index_of(field(value, "contentBlockIndex"))
        found = [(choice, choice.by_index.get(index)) for choice in self._recording.choices if index is not None]
        return [Notice("completed", choice, call) for choice, call in found if call is not None]

    def _count(self) -> None:
        self._server_calls += 1
        self._recording.server_items(self._server_calls)


_READERS: dict[str, Callable[[ConverseEvents, Any], MadeChunk | None]] = {
    "contentBlockStart": ConverseEvents._block_start,
    "contentBlockDelta": ConverseEvents._block_delta,
    "messageStop": ConverseEvents._message_stop,
    "metadata": ConverseEvents._metadata,
}
_KINDS = frozenset({*_READERS, "messageStart", "contentBlockStop"})


def kind_of_event(event: Any) -> str:
    """The kind of an event: its first key that is one of the API's, empty if it has none."""
    if not is_a(event, Mapping):
        return ""
    return next((name for name in event if name in _KINDS or _is_exception(name)), "")


def _is_exception(name: Any) -> bool:
    return type(name) is str and name.endswith(_EXCEPTION)


def _finish_reason(stop_reason: Any) -> str | None:
    reason = text_of(stop_reason)
    return None if reason is None else _FINISH_REASONS.get(reason, reason)


def _arguments(value: Any) -> str:
    """The input of a whole response's call as JSON. It is a value already, and a text there is no object."""
    if value is None or (type(value) is str and not value):
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except Exception:  # noqa: BLE001  a value that cannot be written as JSON
        return ""


def _routed_model(value: Any) -> Any:
    return field(field(field(value, "trace"), "promptRouter"), "invokedModelId")


def _chat_usage(usage: Any) -> dict[str, Any] | None:
    if usage is None:
        return None
    tokens, output, total, read, written = (field(usage, name) for name in _COUNTS)
    cached = _number(read) + _number(written)
    are_counted = cached > 0 and _number(total) == _number(tokens) + _number(output)
    return {
        "prompt_tokens": None if tokens is None else _number(tokens) + (0 if are_counted else cached),
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }


def _number(value: Any) -> int:
    return value if is_a(value, int) and not is_a(value, bool) and value > 0 else 0
