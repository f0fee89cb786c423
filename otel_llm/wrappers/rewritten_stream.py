"""Rewrites the tool calls of a response, if the option `tool_call_tags` is set.

The stage that rewrites stands between an SDK's stream and the tracker. A fault in it turns it off for the rest of the
stream: the text that it held back and all further chunks reach the application as the server sent them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from time import perf_counter_ns
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

from otel_llm.observation import Observation
from otel_llm.protocol.choice import TagRewrite
from otel_llm.protocol.request import Api
from otel_llm.tags.event_stage import EventStage
from otel_llm.tags.huggingface_stage import HuggingFaceStage
from otel_llm.tags.ids import new_call_id, new_short_id
from otel_llm.tags.ollama_stage import OllamaStage
from otel_llm.tags.pieces import Piece
from otel_llm.tags.reasoning import KnownBeginnings, ThoughtReading
from otel_llm.tags.response_objects import EventMaker
from otel_llm.tags.response_stage import ResponseStage
from otel_llm.tags.rewritten_text import Observer, Rewriter
from otel_llm.tags.stage import Stage
from otel_llm.transparency.faults import attempt, swallow
from otel_llm.wrappers.sdk_internals import class_of_chunks, generator_of

if TYPE_CHECKING:
    from otel_llm.protocol.recording import Recording


_STAGES: Mapping[Api, type[Stage | OllamaStage]] = {
    "mistral": EventStage,
    "ollama": OllamaStage,
    "huggingface": HuggingFaceStage,
}
# The SDK has no field that thoughts could move to.
_WITHOUT_THOUGHTS: frozenset[Api] = frozenset({"mistral"})
# What the responses of each model showed, for all clients together.
_beginnings = KnownBeginnings()


class Rewriting:
    """The stage of one response. Records what it rewrites, and swallows its faults."""

    def __init__(self, observation: Observation) -> None:
        request = observation.request
        # If the request declares no tools, the prompt may.
        tools = None if request is None else request.tools or None
        observer = _RecordingObserver(observation.recording)
        new_id = new_short_id if observation.provider == "mistral_ai" else new_call_id
        rewriter = self._rewriter = Rewriter(
            observation.config.tool_call_tags, tools, observer, _thought_reading(observation), new_id
        )
        self._stage: Stage | ResponseStage | OllamaStage
        if request is not None and request.api == "responses":
            self._events = EventMaker(None)
            self._stage = ResponseStage(rewriter, self._events)
        else:
            api = "chat" if request is None else request.api
            self._stage = _STAGES.get(api, Stage)(rewriter)
        self._works = True

    @property
    def works(self) -> bool:
        """Whether it has not failed."""
        return self._works

    def rewrite_response(self, response: Any, *, is_parsed: bool = False) -> None:
        """Rewrite a response that was not streamed, in place. `is_parsed`: the SDK then parses what is in it."""
        self._rewriter.arguments_are_parsed = is_parsed
        attempt("tag rewriting", self._stage.rewrite_response, response)

    def rewrite_stream(self, stream: Any) -> RewrittenStream:
        """Returns what the tracker reads instead of the stream."""
        if isinstance(self._stage, ResponseStage):
            self._events.annotation = class_of_chunks(stream)
        return RewrittenStream(stream, self)

    def take(self, chunk: Any) -> Any:
        """What comes out for a chunk: a chunk, or a list of them."""
        if self._works:
            try:
                return self._stage.take(chunk)
            except Exception as fault:  # noqa: BLE001
                self._works = False
                swallow("tag rewriting", fault)
        # Text of another choice is held back until a chunk of that choice arrives.
        return attempt("tag rewriting", self._stage.give_back, chunk) or chunk

    def finish(self) -> list[Any]:
        """The stream is over: what was held back."""
        if self._works:
            try:
                return self._stage.finish()
            except Exception as fault:  # noqa: BLE001
                self._works = False
                swallow("tag rewriting", fault)
        return self.give_back_rest()

    def give_back_rest(self) -> list[Any]:
        """After a failure: what was held back, as it came."""
        self._works = False
        rest = attempt("tag rewriting", self._stage.give_back_rest)
        if rest is None:
            rest = attempt("tag rewriting", self._stage.give_back_plainly)
        return rest or []


def _thought_reading(observation: Observation) -> ThoughtReading:
    request, option = observation.request, observation.config.reasoning
    if request is None:
        return ThoughtReading(option)
    key = (observation.server, request.model, request.thinking)
    # An application that asks the server for thoughts in the text reads them there.
    may_move = not request.wants_raw_thoughts and request.api not in _WITHOUT_THOUGHTS
    return ThoughtReading(option, _beginnings, key, may_move=may_move)


class _RecordingObserver(Observer):
    """Records the calls that the stage finds and rewrites."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def on_text_call(self, choice_index: int, number: int, piece: Piece) -> None:
        call = piece.call
        if call is None:
            return
        if piece.kind == "name":
            self._recording.call_in_text(choice_index, number, piece.text, "", perf_counter_ns())
        elif piece.kind == "arguments":
            self._recording.call_in_text(choice_index, number, None, piece.text, perf_counter_ns())

    def on_rewrite(self, rewrite: TagRewrite) -> None:
        self._recording.call_rewritten(rewrite, perf_counter_ns())

    def on_only_thoughts(self, choice_index: int) -> None:
        self._recording.text_is_thoughts(choice_index)


class RewrittenStream:
    """The rewritten chunks of a stream. A new loop continues where the last one stopped, as with an SDK's stream."""

    __slots__ = ("_async_chunks", "_chunks")

    def __init__(self, stream: Any, rewriting: Rewriting) -> None:
        self._chunks = _Chunks(stream, rewriting)
        self._async_chunks = _AsyncChunks(stream, rewriting)

    def __iter__(self) -> Iterator[Any]:
        return self._chunks

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._async_chunks


class _RewrittenChunks:
    """What the synchronous and the asynchronous iterator share."""

    __slots__ = ("_iterator", "_pending_error", "_ready", "_rewriting", "_stream")

    def __init__(self, stream: Any, rewriting: Rewriting) -> None:
        self._stream = stream
        self._rewriting = rewriting
        self._iterator: Any = None
        # What came out for the last chunk and is not read yet.
        self._ready: deque[Any] = deque()
        # Raised by the next read, after the chunks with the text that was held back.
        self._pending_error: Exception | None = None

    def _chunks_before(self, end: Exception) -> list[Any]:
        """The chunks with the text that was held back, to return before an end or an error.

        A stream that raises may continue. While the SDK's stream underneath is open, text stays held back, since
        releasing it could tear a call in two. In doubt it is released, since most callers read no further.
        """
        if not isinstance(end, (StopIteration, StopAsyncIteration)):
            if attempt("tag rewriting", _is_finished, self._iterator):
                # A new loop may continue such a stream.
                self._iterator = None
            if attempt("tag rewriting", _is_exhausted, self._stream) is False:
                return []
        last = self._rewriting.finish()
        if last:
            self._pending_error = end
        return last


class _Chunks(_RewrittenChunks):
    __slots__ = ()

    @property
    def gi_running(self) -> bool:
        """Whether a read is in progress, as a generator has it."""
        return getattr(self._iterator, "gi_running", False) is True

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            if self._ready:
                return self._ready.popleft()
            if self._pending_error is not None:
                error, self._pending_error = self._pending_error, None
                raise error
            try:
                if self._iterator is None:
                    stream = self._stream
                    self._iterator = iter(stream) if hasattr(type(stream), "__iter__") else stream
                chunk = next(self._iterator)
            except Exception as end:
                last = self._chunks_before(end)
                if not last:
                    raise
                self._ready.extend(last)
                continue
            out = self._rewriting.take(chunk)
            if type(out) is not list:
                return out
            self._ready.extend(out)


class _AsyncChunks(_RewrittenChunks):
    __slots__ = ()

    @property
    def ag_running(self) -> bool:
        """Whether a read is in progress, as an asynchronous generator has it."""
        return getattr(self._iterator, "ag_running", False) is True

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while True:
            if self._ready:
                return self._ready.popleft()
            if self._pending_error is not None:
                error, self._pending_error = self._pending_error, None
                raise error
            try:
                if self._iterator is None:
                    stream = self._stream
                    self._iterator = aiter(stream) if hasattr(type(stream), "__aiter__") else stream
                chunk = await anext(self._iterator)
            except Exception as end:
                last = self._chunks_before(end)
                if not last:
                    raise
                self._ready.extend(last)
                continue
            out = self._rewriting.take(chunk)
            if type(out) is not list:
                return out
            self._ready.extend(out)


def _is_exhausted(stream: Any) -> bool:
    """Whether the SDK's stream, possibly inside another library's proxy, has ended; True if that cannot be seen."""
    generator = generator_of(stream)
    return generator is None or _is_finished(generator)


def _is_finished(iterator: Any) -> bool:
    """Whether it is a generator that has returned or raised."""
    if isinstance(iterator, GeneratorType):
        return iterator.gi_frame is None
    return isinstance(iterator, AsyncGeneratorType) and iterator.ag_frame is None
