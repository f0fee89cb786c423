"""Mistral's chat completions as its SDK shows them: events around the chunks of a chat completion.  Pure.

Shapes: Mistral's API reference, "Chat Completion", and the models of the `mistralai` package. The readings:

- A field that the server did not send is an object of a class `Unset`, and is absent.
- The SDK fills in an id, the word `null`, and the index 0 for a call that came without them. These are absent, and so
  is the id `null` that the server sends in later deltas of a call.
- A content may be a list of parts, of which those of the type `thinking` are reasoning (see `message_text.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_llm.protocol.choice import Notice
from otel_llm.protocol.fields import field, given, items_of
from otel_llm.protocol.made_chunks import MadeChunk, MadeDelta, MadeToolCall, ReusedChunk, made_tool_call
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, with_extra_body

NO_ID = "null"
_RENAMED = {"random_seed": "seed"}


def chat_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `chat.complete` and `chat.stream` as those of `chat.completions.create`."""
    return {_RENAMED.get(name, name): value for name, value in with_extra_body(kwargs).items()}


class MistralEvents:
    """Reads one response into `recording`: `feed` for each event, or `read_response` for an unstreamed one."""

    api: Final = "mistral"

    def __init__(self, recording: Recording, _request: ChatRequest | None = None) -> None:
        self._recording = recording
        self._feed = recording.feed
        self._is_first = True
        self._text_delta = MadeDelta()
        self._text_chunk = ReusedChunk(self._text_delta)
        self._text_choice = self._text_chunk.choices[0]
        self._tool_call = MadeToolCall()
        self._function = self._tool_call.function
        self._call_chunk = ReusedChunk(MadeDelta([self._tool_call]))
        self._call_choice = self._call_chunk.choices[0]

    def feed(self, event: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
        """Take one event, as `Recording.feed` takes a chunk."""
        try:
            chunk = event.data
            (choice,) = chunk.choices
            if choice.finish_reason is None and chunk.usage is None and not self._is_first:
                delta = choice.delta
                content, calls = delta.content, delta.tool_calls
                if not calls:
                    if type(content) is str:
                        self._text_choice.index = choice.index
                        self._text_delta.content = content
                        return self._feed(self._text_chunk, wait_started_ns, received_ns)
                elif not content:
                    (call,) = calls
                    function = call.function
                    text = function.arguments
                    if (
                        not function.name
                        and call.id == NO_ID
                        and type(text) is str
                        and "index" in call.__pydantic_fields_set__
                    ):
                        self._call_choice.index = choice.index
                        self._tool_call.index = call.index
                        self._function.arguments = text
                        return self._feed(self._call_chunk, wait_started_ns, received_ns)
        except Exception:  # noqa: BLE001  several choices or calls, or not an event of the SDK
            chunk = field(event, "data")
        self._is_first = False
        return self._feed(_plain_chunk(chunk), wait_started_ns, received_ns)

    def read_response(self, response: Any, received_ns: int) -> list[Notice]:
        """Take an unstreamed response."""
        whole = _plain_head(response)
        whole["choices"] = [_plain_choice(choice, "message") for choice in items_of(field(response, "choices"))]
        return self._recording.read_response(whole, received_ns)


def _plain_chunk(chunk: Any) -> MadeChunk:
    made = _plain_head(chunk)
    made["choices"] = [_plain_choice(choice, "delta") for choice in items_of(field(chunk, "choices"))]
    return made


def _plain_head(chunk: Any) -> MadeChunk:
    names = ("id", "model", "usage", "error", "service_tier")
    return {name: field(chunk, name) for name in names}


def _plain_choice(choice: Any, place: str) -> MadeChunk:
    message = field(choice, place)
    calls = [_plain_call(call) for call in items_of(field(message, "tool_calls"))]
    plain: MadeChunk = {"content": _plain_content(field(message, "content"))}
    if calls:
        plain["tool_calls"] = calls
    return {"index": field(choice, "index"), "finish_reason": field(choice, "finish_reason"), place: plain}


def _plain_content(content: Any) -> Any:
    return list(content) if isinstance(content, tuple) else given(content)


def _plain_call(call: Any) -> MadeChunk:
    call_id, index, function = field(call, "id"), field(call, "index"), field(call, "function")
    sent = field(call, "__pydantic_fields_set__")
    if call_id == NO_ID:
        call_id = None
    if isinstance(sent, (set, frozenset)) and "index" not in sent:
        index = None
    return made_tool_call(index, call_id, field(function, "name"), field(function, "arguments"))
