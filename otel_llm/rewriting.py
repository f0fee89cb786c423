"""Puts the stage that rewrites tool calls between an SDK's stream and its tracker.

An application asks for it with `tool_call_tags`. A fault in it turns it off for the rest of the stream: what it held
back and all that follows reaches the application as the server sent it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from otel_llm.faults import attempt, swallow
from otel_llm.observation import Observation
from otel_llm.proxies import ObjectProxy
from otel_llm.tags.found import Piece
from otel_llm.tags.stage import Observer, Stage, TagRewrite

if TYPE_CHECKING:
    from otel_llm.recording import Recording


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
        if hasattr(kind, "__anext__") or hasattr(kind, "__aiter__"):
            return RewrittenAsyncStream(stream, self)
        return RewrittenStream(stream, self)

    def take(self, chunk: Any) -> Any:
        if not self._works:
            return chunk
        try:
            return self._stage.take(chunk)
        except Exception as fault:  # noqa: BLE001
            self._works = False
            swallow("tag rewriting", fault)
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
        self._self_chunks = _rewritten(stream, rewriting)

    def __iter__(self) -> Iterator[Any]:
        return self._self_chunks

    def __next__(self) -> Any:
        return next(self._self_chunks)


class RewrittenAsyncStream(ObjectProxy):
    """An asynchronous one."""

    def __init__(self, stream: Any, rewriting: Rewriting) -> None:
        super().__init__(stream)
        self._self_rewriting = rewriting
        self._self_iterator: Any = None
        self._self_end: Exception | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._self_end is not None:
            end, self._self_end = self._self_end, StopAsyncIteration()
            raise end
        if self._self_iterator is None:
            self._self_iterator = aiter(self.__wrapped__)
        try:
            chunk = await anext(self._self_iterator)
        except Exception as end:
            # Its own end or an error: what was held back has come, and comes before it.
            self._self_end = StopAsyncIteration()
            last = self._self_rewriting.finish()
            if last is None:
                raise
            if not isinstance(end, StopAsyncIteration):
                self._self_end = end
            return last
        return self._self_rewriting.take(chunk)


def _rewritten(stream: Any, rewriting: Rewriting) -> Iterator[Any]:
    try:
        for chunk in stream:
            yield rewriting.take(chunk)
    except Exception:
        # What was held back has come, and comes before the error.
        last = rewriting.finish()
        if last is not None:
            yield last
        raise
    last = rewriting.finish()
    if last is not None:
        yield last
