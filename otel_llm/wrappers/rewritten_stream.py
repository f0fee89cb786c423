"""Puts the stage that rewrites tool calls between an SDK's stream and its tracker.

An application asks for it with `tool_call_tags`. A fault in it turns it off for the rest of the stream: what it held
back and all that follows reaches the application as the server sent it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from time import perf_counter_ns
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

from otel_llm.observation import Observation
from otel_llm.protocol.choice import TagRewrite
from otel_llm.tags.found import Piece
from otel_llm.tags.stage import Observer, Stage
from otel_llm.transparency.faults import attempt, swallow
from otel_llm.transparency.proxies import ObjectProxy
from otel_llm.wrappers.sdk_internals import generator_of

if TYPE_CHECKING:
    from otel_llm.protocol.recording import Recording


def rewriting_of(observation: Observation) -> Rewriting | None:
    """The rewriting that the options ask for, None where they do not."""
    target = observation.config.tool_call_tags
    return None if target is None else Rewriting(target, observation)


class Rewriting:
    """The stage of one response, with its telemetry, and safe from its faults."""

    def __init__(self, target: Any, observation: Observation) -> None:
        request = observation.request
        # A request without tools tells nothing: the prompt may declare them.
        tools = None if request is None else request.tools or None
        self._stage = Stage(target, tools, _Notes(observation.recording))
        self._works = True

    def response(self, response: Any) -> None:
        """Rewrite a response that came whole, in place."""
        attempt("tag rewriting", self._stage.rewrite_response, response)

    def stream(self, stream: Any) -> Any:
        """The stream, rewritten; an instance of its own class still."""
        kind = type(stream)
        if not (hasattr(kind, "__anext__") or hasattr(kind, "__aiter__")):
            return RewrittenStream(stream, self)
        if hasattr(kind, "__next__") or hasattr(kind, "__iter__"):
            return RewrittenEitherWayStream(stream, self)
        return RewrittenAsyncStream(stream, self)

    def take(self, chunk: Any) -> Any:
        if self._works:
            try:
                return self._stage.take(chunk)
            except Exception as fault:  # noqa: BLE001
                self._works = False
                swallow("tag rewriting", fault)
        # The text of another choice may be held back until that choice comes again.
        return attempt("tag rewriting", self._stage.give_back, chunk) or chunk

    def finish(self) -> Any:
        return attempt("tag rewriting", self._stage.finish) if self._works else None


class _Notes(Observer):
    """Writes down in the recording what was found and rewritten."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def found(self, choice_index: int, piece: Piece) -> None:
        call = piece.call
        if call is None:
            return
        if piece.kind == "name":
            self._recording.call_in_text(choice_index, call.number, piece.text, "", perf_counter_ns())
        elif piece.kind == "arguments":
            self._recording.call_in_text(choice_index, call.number, None, piece.text, perf_counter_ns())

    def rewritten(self, rewrite: TagRewrite) -> None:
        self._recording.call_rewritten(rewrite, perf_counter_ns())


class RewrittenStream(ObjectProxy):
    """A synchronous stream whose chunks went through the stage."""

    def __init__(self, stream: Any, rewriting: Rewriting) -> None:
        super().__init__(stream)
        self._self_chunks = _Chunks(stream, rewriting)

    @property
    def gi_running(self) -> bool:
        """Whether somebody reads at this moment: the tracker asks what it reads."""
        return self._self_chunks.gi_running

    def __iter__(self) -> Iterator[Any]:
        return self._self_chunks

    def __next__(self) -> Any:
        return next(self._self_chunks)


class RewrittenAsyncStream(ObjectProxy):
    """An asynchronous one."""

    def __init__(self, stream: Any, rewriting: Rewriting) -> None:
        super().__init__(stream)
        self._self_async_chunks = _AsyncChunks(stream, rewriting)

    @property
    def ag_running(self) -> bool:
        """As `gi_running` above."""
        return self._self_async_chunks.ag_running

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._self_async_chunks)


class RewrittenEitherWayStream(RewrittenAsyncStream, RewrittenStream):
    """One that can be read either way, as some wrappers of streams and all mocks."""

    def __init__(self, stream: Any, rewriting: Rewriting) -> None:
        RewrittenStream.__init__(self, stream, rewriting)
        self._self_async_chunks = _AsyncChunks(stream, rewriting)


class _Reading:
    """What both ways to read share."""

    __slots__ = ("_due", "_iterator", "_rewriting", "_stream")

    def __init__(self, stream: Any, rewriting: Rewriting) -> None:
        self._stream = stream
        self._rewriting = rewriting
        self._iterator: Any = None
        # What is raised by the next read: what was held back came before it.
        self._due: Exception | None = None

    def _last_before(self, end: Exception) -> Any:
        """The chunk to hand on before an end or an error, None where there is none.

        What raises once may go on. As long as the SDK's stream below has more to come, what is held back stays so: to
        let it go would tear a call in two. In doubt it goes before the error, as most read no further.
        """
        if not isinstance(end, (StopIteration, StopAsyncIteration)):
            if _is_spent(self._iterator):
                # Whoever begins another loop over such a stream reads on.
                self._iterator = None
            if not attempt("tag rewriting", _is_over, self._stream):
                return None
        last = self._rewriting.finish()
        if last is not None:
            self._due = end
        return last


class _Chunks(_Reading):
    """Reads a stream and rewrites it."""

    __slots__ = ()

    @property
    def gi_running(self) -> bool:
        return getattr(self._iterator, "gi_running", False) is True

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._due is not None:
            due, self._due = self._due, None
            raise due
        try:
            if self._iterator is None:
                stream = self._stream
                self._iterator = iter(stream) if hasattr(type(stream), "__iter__") else stream
            chunk = next(self._iterator)
        except Exception as end:
            last = self._last_before(end)
            if last is None:
                raise
            return last
        return self._rewriting.take(chunk)


class _AsyncChunks(_Reading):
    """The same for an asynchronous stream."""

    __slots__ = ()

    @property
    def ag_running(self) -> bool:
        return getattr(self._iterator, "ag_running", False) is True

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._due is not None:
            due, self._due = self._due, None
            raise due
        try:
            if self._iterator is None:
                stream = self._stream
                self._iterator = aiter(stream) if hasattr(type(stream), "__aiter__") else stream
            chunk = await anext(self._iterator)
        except Exception as end:
            last = self._last_before(end)
            if last is None:
                raise
            return last
        return self._rewriting.take(chunk)


def _is_over(stream: Any) -> bool:
    """Whether the SDK's stream, or that below another library's proxy, has no more to come; True where nobody knows."""
    generator = generator_of(stream)
    return generator is None or _is_spent(generator)


def _is_spent(iterator: Any) -> bool:
    """Whether it is a generator that has returned or raised."""
    if isinstance(iterator, GeneratorType):
        return iterator.gi_frame is None
    return isinstance(iterator, AsyncGeneratorType) and iterator.ag_frame is None
