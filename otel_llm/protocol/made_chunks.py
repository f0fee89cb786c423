"""Chat completion chunks made from other APIs' events, in the shapes that `Recording.feed` reads.  Pure.

There are two forms: objects with slots, which are read fastest and are filled again for each delta (see `Translator`),
and mappings, which are easier to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_llm.protocol.recording import Recording

MadeChunk = dict[str, Any]
EMPTY_CHUNK: MadeChunk = {"choices": []}


class MadeFunction:
    __slots__ = ("arguments", "name")

    def __init__(self) -> None:
        self.name = None
        self.arguments = ""


class MadeToolCall:
    __slots__ = ("function", "id", "index")

    def __init__(self) -> None:
        self.id = None
        self.index = 0
        self.function = MadeFunction()


class MadeDelta:
    __slots__ = ("__pydantic_extra__", "content", "function_call", "tool_calls")

    def __init__(self, tool_calls: list[MadeToolCall] | None = None) -> None:
        self.content: Any = None
        self.tool_calls = tool_calls
        self.function_call = None
        self.__pydantic_extra__: dict[str, Any] | None = None


class MadeThought(MadeDelta):
    """A delta with reasoning. It has a `__dict__`, where the recording looks if there is neither content nor a call."""

    def __init__(self) -> None:
        super().__init__()
        self.extra: dict[str, Any] = {"reasoning_content": ""}
        self.__pydantic_extra__ = self.extra


class _MadeChoice:
    __slots__ = ("delta", "finish_reason", "index")

    def __init__(self, delta: MadeDelta) -> None:
        self.index = 0
        self.finish_reason = None
        self.delta = delta


class ReusedChunk:
    """A chunk with one choice, whose delta can be filled again: the recording keeps nothing of a chunk but its text."""

    __slots__ = ("choices", "usage")

    def __init__(self, delta: MadeDelta) -> None:
        self.choices = [_MadeChoice(delta)]
        self.usage = None


class Translator:
    """A reader of another API, in front of a recording. Three chunks are filled again for each delta, and fed:

    - `_text_chunk`, for the next text in `_text_delta.content`;
    - `_thought_chunk`, for the next thoughts in `_thought["reasoning_content"]`;
    - `_call_chunk`, for the next arguments in `_function.arguments`, of the call at `_tool_call.index`.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._feed = recording.feed
        self._text_delta = MadeDelta()
        self._text_chunk = ReusedChunk(self._text_delta)
        thought = MadeThought()
        self._thought = thought.extra
        self._thought_chunk = ReusedChunk(thought)
        self._tool_call = MadeToolCall()
        self._function = self._tool_call.function
        self._call_chunk = ReusedChunk(MadeDelta([self._tool_call]))


def made_choice(delta: MadeChunk) -> MadeChunk:
    return {"index": 0, "delta": delta}


def made_chunk(calls: list[MadeChunk] | None = None, *, content: Any = None, reasoning: Any = None) -> MadeChunk | None:
    """A chunk with these in its delta, or None if there are none."""
    delta: MadeChunk = {}
    if content is not None:
        delta["content"] = content
    if reasoning is not None:
        # Where a recording looks for fields that the protocol does not have.
        delta["__pydantic_extra__"] = {"reasoning_content": reasoning}
    if calls:
        delta["tool_calls"] = calls
    return {"choices": [made_choice(delta)]} if delta else None


def made_tool_call(
    index: int | None, call_id: str | None, name: str | None = None, arguments: Any = "", *, custom: bool = False
) -> MadeChunk:
    """A tool-call delta. `custom`: of a custom tool, whose input is free text."""
    body = {"name": name, "input" if custom else "arguments": arguments}
    return {"index": index, "id": call_id, "custom" if custom else "function": body}
