"""One stream of chunks, whose tool calls are rewritten or taken out of the text. Chunk in, chunks out.

There are two kinds of chunks, with a class each for rewriting and for taking out: objects with a `content`, or strings;
and the chunks of an SDK, which have `choices`, and are changed in place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from otel_llm.protocol.request import Tool
from otel_llm.tags.chunk_copies import with_content
from otel_llm.tags.detector import IncrementalToolDetector, ToolCall
from otel_llm.tags.rewriter import RewriteStream
from otel_llm.tags.stage import Stage
from otel_llm.tags.tool_execution import Result, report


class ChunkWithCalls(NamedTuple):
    """A chunk that carries calls taken out of the text. `finish` makes it, given the results of those executed."""

    calls: list[ToolCall]
    finish: Callable[[list[Result]], Any]


class ChunkStream(Protocol):
    def take(self, chunk: Any) -> Iterator[Any]:
        """What comes out for one chunk: chunks, and `ChunkWithCalls`."""
        ...

    def finish(self) -> Iterator[Any]:
        """What comes out at the end of the stream."""
        ...


class Rewriting:
    """Objects with a `content`, or strings, whose calls are rewritten to custom tags."""

    def __init__(self, stream: RewriteStream) -> None:
        self._stream = stream
        self._last: Any = None

    def take(self, chunk: Any) -> Iterator[Any]:
        self._last = chunk
        content = _content_of(chunk)
        output = None if content is None else self._stream.feed(content)
        yield chunk if output is None or output == content else with_content(chunk, output)

    def finish(self) -> Iterator[Any]:
        rest = self._stream.flush()
        if rest:
            yield with_content(_without_calls(self._last), rest)


class TakingOut:
    """Objects with a `content`, or strings, whose calls are taken out."""

    def __init__(self, detector: IncrementalToolDetector) -> None:
        self._detector = detector
        self._last: Any = None

    def take(self, chunk: Any) -> Iterator[Any]:
        self._last = chunk
        content = _content_of(chunk)
        if content is None:
            yield chunk
        else:
            yield self._shown(chunk, content, *self._detector.process_chunk(content))

    def finish(self) -> Iterator[Any]:
        if self._last is not None:
            calls = self._detector.finalize()
            rest = self._detector.text_left
            if rest or calls:
                yield self._shown(_without_calls(self._last), "", rest, calls)

    def _shown(self, chunk: Any, content: str, shown: str, calls: list[ToolCall]) -> Any:
        if not calls:
            return chunk if shown == content else with_content(chunk, shown)

        def finish(results: list[Result]) -> Any:
            tool_calls = [*(getattr(chunk, "tool_calls", None) or ()), *(call.as_dict() for call in calls)]
            with_results = {"tool_results": results} if results else {}
            return with_content(chunk, shown + report(results), tool_calls=tool_calls, **with_results)

        return ChunkWithCalls(calls, finish)


class SdkRewriting:
    """Chunks of an SDK, whose calls are rewritten by a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def take(self, chunk: Any) -> Iterator[Any]:
        yield self._stage.take(chunk)

    def finish(self) -> Iterator[Any]:
        yield from self._stage.finish()


class SdkTakingOut:
    """Chunks of an SDK, whose calls are taken out, choice by choice."""

    def __init__(self, model_name: str, tools: Mapping[str, Tool] | None) -> None:
        self._model_name = model_name
        self._tools = tools
        self._detectors: dict[Any, IncrementalToolDetector] = {}
        # For each choice, the last chunk with text of it.
        self._last: dict[Any, Any] = {}

    def take(self, chunk: Any) -> Iterator[Any]:
        calls: list[ToolCall] = []
        for choice in chunk.choices or ():
            calls += self._take_choice(chunk, choice)
        yield self._shown(chunk, calls)

    def finish(self) -> Iterator[Any]:
        for index, detector in self._detectors.items():
            calls = detector.finalize()
            if detector.text_left or calls:
                yield self._shown(_final_chunk(self._last[index], index, detector.text_left), calls)

    def _take_choice(self, chunk: Any, choice: Any) -> list[ToolCall]:
        delta = getattr(choice, "delta", None)
        content = getattr(delta, "content", None)
        detector = self._detectors.get(choice.index)
        if detector is None:
            detector = IncrementalToolDetector(self._model_name, tools=self._tools)
            self._detectors[choice.index] = detector
        shown: Any = content
        calls: list[ToolCall] = []
        if isinstance(content, str):
            self._last[choice.index] = chunk
            shown, calls = detector.process_chunk(content)
        if delta is not None and getattr(choice, "finish_reason", None) is not None:
            calls += detector.finalize()
            shown = (shown or "") + detector.text_left if detector.text_left else shown
        if delta is not None and shown != content:
            delta.content = shown
        return calls

    def _shown(self, chunk: Any, calls: list[ToolCall]) -> Any:
        def finish(results: list[Result]) -> Any:
            chunk.tool_calls = [call.as_dict() for call in calls]
            if results:
                chunk.tool_results = results
                delta = chunk.choices[0].delta
                delta.content = (delta.content or "") + report(results)
            return chunk

        return ChunkWithCalls(calls, finish) if calls else chunk


def _content_of(chunk: Any) -> str | None:
    content = chunk if isinstance(chunk, str) else getattr(chunk, "content", None)
    return content if isinstance(content, str) else None


def _without_calls(chunk: Any) -> Any:
    return chunk if not getattr(chunk, "tool_calls", None) else with_content(chunk, "", tool_calls=None)


def _final_chunk(chunk: Any, index: Any, content: str) -> Any:
    """A copy of a chunk that has only this choice, and only `content` in it."""
    made = copy.deepcopy(chunk)
    made.choices = [choice for choice in made.choices if choice.index == index][:1]
    choice = made.choices[0]
    choice.finish_reason = None
    choice.delta.content = content
    # What the chunk already said must not be said twice.
    in_delta = (choice.delta, ("role", "tool_calls", "function_call", "refusal"))
    for thing, names in (in_delta, (made, ("usage", "tool_calls", "tool_results"))):
        for name in names:
            if getattr(thing, name, None) is not None:
                setattr(thing, name, None)
    return made
