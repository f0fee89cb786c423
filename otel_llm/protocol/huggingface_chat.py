"""Chunks of chat completions in the classes of Hugging Face's SDK.  Pure.

The classes are data classes and mappings in one, whose attributes count, and their servers' APIs are OpenAI's. The
recording reads pydantic's models faster than anything else, so a plain delta is put into a chunk that is reused, and
anything else into mappings.

Text Generation Inference has sent one call where others have a list of calls.
Source: the models of the `huggingface_hub` package (`inference/_generated/types/chat_completion.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_llm.protocol.choice import Notice
from otel_llm.protocol.fields import items_of
from otel_llm.protocol.made_chunks import MadeChunk, MadeDelta, MadeToolCall, ReusedChunk
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest


class HuggingFaceChunks:
    """Reads one response into `recording`: `feed` for each chunk, or `read_response` for an unstreamed one."""

    api: Final = "huggingface"

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

    def feed(self, chunk: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
        """Take one chunk, as `Recording.feed` does."""
        try:
            (choice,) = chunk.choices
            if choice.finish_reason is None and chunk.usage is None and not self._is_first:
                delta = choice.delta
                content, calls = delta.content, delta.tool_calls
                if calls is None:
                    if content and type(content) is str and _has_no_more(delta):
                        self._text_choice.index = choice.index
                        self._text_delta.content = content
                        return self._feed(self._text_chunk, wait_started_ns, received_ns)
                elif not content:
                    (call,) = calls
                    text = call.function.arguments
                    if type(text) is str and not call.function.name and not call.id and _has_no_more(delta):
                        self._call_choice.index = choice.index
                        self._tool_call.index = call.index
                        self._function.arguments = text
                        return self._feed(self._call_chunk, wait_started_ns, received_ns)
        except Exception:  # noqa: BLE001, S110  several choices or calls, or not a chunk of the SDK
            pass
        self._is_first = False
        return self._feed(_plain_chunk(chunk, "delta"), wait_started_ns, received_ns)

    def read_response(self, response: Any, received_ns: int) -> list[Notice]:
        """Take an unstreamed response."""
        return self._recording.read_response(_plain_chunk(response, "message"), received_ns)


# The fields that the SDK declares. Of these, thoughts are something more.
_OF_ALL = frozenset({"role", "content", "tool_calls", "tool_call_id", "reasoning"})


def _has_no_more(delta: Any) -> bool:
    """Whether a delta says nothing in other fields, such as thoughts."""
    fields = delta.__dict__
    if fields.get("reasoning"):
        return False
    return fields.keys() <= _OF_ALL or not any(value for key, value in fields.items() if key not in _OF_ALL)


def _plain_chunk(chunk: Any, place: str) -> MadeChunk:
    made = _plain(chunk)
    made["choices"] = [_plain_choice(choice, place) for choice in items_of(made.get("choices"))]
    return made


def _plain_choice(choice: Any, place: str) -> MadeChunk:
    made = _plain(choice)
    if made.get(place) is not None:
        made[place] = said = _plain(made[place])
        calls = said.get("tool_calls")
        said["tool_calls"] = [
            _plain_call(call) for call in ([calls] if isinstance(calls, Mapping) else items_of(calls))
        ]
    return made


def _plain_call(call: Any) -> MadeChunk:
    made = _plain(call)
    if made.get("function") is not None:
        made["function"] = _plain(made["function"])
    return made


def _plain(thing: Any) -> MadeChunk:
    """Its fields as a mapping of no other class."""
    try:
        return dict(thing if type(thing) is dict else vars(thing))
    except Exception:  # noqa: BLE001  not an object of the SDK
        return {}
