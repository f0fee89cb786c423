"""Ollama's own chat API: the lines of a stream, or a whole response, as chunks of a chat completion.  Pure.

Shapes: Ollama's API reference, "Generate a chat message", and the models of the `ollama` package. The readings:

- A call comes whole in one line, with an object as its arguments. It has no index, and mostly no id; calls are numbered
  in the order in which they come. Arguments that are text are no object.
- `done_reason` `stop`, or none at all, is the finish reason `tool_calls` if there were calls, else `stop`. `load` and
  `unload` answer a request without messages.
- In a conversation, a result belongs to the first call with its tool's name that has none, or to the first one at all.
  For calls without an id see `implied_ids.py`.
- `options` hold the parameters of the model; `num_predict` is the most tokens of an answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from otel_llm.protocol.choice import Notice
from otel_llm.protocol.fields import field, items_of, text_of
from otel_llm.protocol.implied_ids import implied_id
from otel_llm.protocol.made_chunks import MadeChunk, MadeDelta, ReusedChunk, made_tool_call
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest

_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "stop": "stop",
    "num_predict": "max_tokens",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}


class OllamaChunks:
    """Reads one response into `recording`: `feed` for each line, or `read_response` for an unstreamed one."""

    api: Final = "ollama"

    def __init__(self, recording: Recording, _request: ChatRequest | None = None) -> None:
        self._recording = recording
        recording.ids_are_optional = True
        self._feed = recording.feed
        self._is_first = True
        self._calls = 0
        self._text_delta = MadeDelta()
        self._text_chunk = ReusedChunk(self._text_delta)
        self._thought: dict[str, str] = {}
        thought_delta = MadeDelta()
        thought_delta.__pydantic_extra__ = self._thought
        self._thought_chunk = ReusedChunk(thought_delta)

    def feed(self, chunk: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
        """Take one line, as `Recording.feed` takes a chunk."""
        try:
            message = chunk.message
            content = message.content
            if not self._is_first and not chunk.done and not message.tool_calls:
                thought = message.thinking
                if thought is None or not thought:
                    if type(content) is str:
                        self._text_delta.content = content
                        return self._feed(self._text_chunk, wait_started_ns, received_ns)
                elif not content and type(thought) is str:
                    self._thought["reasoning_content"] = thought
                    return self._feed(self._thought_chunk, wait_started_ns, received_ns)
        except Exception:  # noqa: BLE001, S110  not a response of the SDK, or one of an older SDK
            pass
        self._is_first = False
        return self._feed(self._plain(chunk, "delta"), wait_started_ns, received_ns)

    def read_response(self, response: Any, received_ns: int) -> list[Notice]:
        """Take an unstreamed response."""
        return self._recording.read_response(self._plain(response, "message"), received_ns)

    def _plain(self, chunk: Any, place: str) -> MadeChunk:
        message = field(chunk, "message")
        said: MadeChunk = {"content": field(message, "content")}
        thought = text_of(field(message, "thinking"))
        if thought is not None:
            said["__pydantic_extra__"] = {"reasoning_content": thought}
        if items_of(field(message, "images")):
            said["__pydantic_extra__"] = {**said.get("__pydantic_extra__", {}), "images": field(message, "images")}
        calls = [self._call(call) for call in items_of(field(message, "tool_calls"))]
        if calls:
            said["tool_calls"] = calls
        made: MadeChunk = {"model": field(chunk, "model"), "error": field(chunk, "error"), "choices": []}
        reason = self._finish_reason(chunk)
        if message is not None:
            made["choices"] = [{"index": 0, "finish_reason": reason, place: said}]
        read, written = field(chunk, "prompt_eval_count"), field(chunk, "eval_count")
        if read is not None or written is not None:
            made["usage"] = {"prompt_tokens": read, "completion_tokens": written}
        return made

    def _call(self, call: Any) -> MadeChunk:
        index, self._calls = self._calls, self._calls + 1
        function = field(call, "function")
        arguments = _arguments_text(field(function, "arguments"))
        return made_tool_call(index, text_of(field(call, "id")), field(function, "name"), arguments)

    def _finish_reason(self, chunk: Any) -> str | None:
        if field(chunk, "done") is not True:
            return None
        reason = text_of(field(chunk, "done_reason")) or "stop"
        return "tool_calls" if reason == "stop" and self._calls else reason


def _arguments_text(value: Any) -> str:
    """The object of a call's arguments as JSON."""
    try:
        return "" if value is None else json.dumps(value, ensure_ascii=False, default=_plain_mapping)
    except Exception:  # noqa: BLE001  a value that cannot be written as JSON
        return ""


def _plain_mapping(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


# The request -----------------------------------------------------------------------------------------------------


def chat_arguments(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request to `/api/chat` as the keyword arguments of `chat.completions.create`."""
    made = {name: body[name] for name in ("model", "stream", "tools") if body.get(name) is not None}
    options = body.get("options")
    for name, renamed in _OPTIONS.items():
        if (value := field(options, name)) is not None:
            made[renamed] = value
    if (think := body.get("think")) is not None:
        made["thinking"] = think
        if isinstance(think, str):
            made["reasoning_effort"] = think
    if format_ := body.get("format"):
        kind = "json_object" if isinstance(format_, str) else "json_schema"
        made["response_format"] = {"type": kind}
    messages = body.get("messages")
    if messages is not None:
        made["messages"] = list(_messages(messages)) if isinstance(messages, (list, tuple)) else messages
    return made


def _messages(messages: Iterable[Any]) -> Iterator[Any]:
    # The calls that have no result yet: id and name.
    waiting: list[tuple[str, str | None]] = []
    for message in messages:
        role, calls = field(message, "role"), items_of(field(message, "tool_calls"))
        made = {"role": role, "content": field(message, "content")}
        if (thought := text_of(field(message, "thinking"))) is not None:
            made["reasoning_content"] = thought
        if role == "tool":
            tool = text_of(field(message, "tool_name")) or text_of(field(message, "name"))
            made["tool_call_id"] = text_of(field(message, "tool_call_id")) or _answered(waiting, tool)
        elif calls:
            waiting = []
            made["tool_calls"] = []
            places: Counter[str] = Counter()
            for call in calls:
                function = field(call, "function")
                call_id, name = text_of(field(call, "id")), text_of(field(function, "name"))
                if call_id is None:
                    call_id = implied_id(name or "", places[name or ""])
                    places[name or ""] += 1
                waiting.append((call_id, name))
                plain = {"name": name, "arguments": _arguments_text(field(function, "arguments"))}
                made["tool_calls"].append({"id": call_id, "type": "function", "function": plain})
        yield made


def _answered(waiting: list[tuple[str, str | None]], tool: str | None) -> str:
    """The id of the call that a result belongs to, empty if there is none left. It is no longer waiting, then."""
    place = next((place for place, (_, name) in enumerate(waiting) if tool is None or name == tool), None)
    if place is None:
        place = 0 if waiting else None
    return "" if place is None else waiting.pop(place)[0]
