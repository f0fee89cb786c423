"""The trackers: proxies around a stream that pass on the same chunk objects and record them.

`StreamingToolCallTracker` is for asynchronous streams, `SyncStreamingToolCallTracker` for synchronous ones. A tracker
is also an instance of the stream's class (`isinstance(tracker, openai.Stream)` holds), and has all its attributes.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Iterator
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any

from otel_llm.config import read_config
from otel_llm.observation import CollectionGuard, Observation
from otel_llm.protocol.call_snapshot import ToolCall, calls_in
from otel_llm.telemetry.log_lines import are_wanted
from otel_llm.telemetry.request_span import CurrentSpan
from otel_llm.transparency.faults import attempt
from otel_llm.transparency.proxies import ObjectProxy
from otel_llm.wrappers.response_body import keep_with_body
from otel_llm.wrappers.sdk_internals import delegates_to_iterator, generator_of, own_generator
from otel_llm.wrappers.stream_ends import aclose_stream, close_stream, end_observation, fail_closing, outcome_of_block
from otel_llm.wrappers.stream_reading import AsyncChunks, AsyncReader, Reader, chunks_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from otel_llm.diagnosis.case import Anomaly
    from otel_llm.wrappers.rewritten_stream import Rewriting, RewrittenStream


class _Tracker(ObjectProxy):
    """What both trackers share.

    A tracker created by an application, around any stream of chunks, writes log lines, and adds its events to the span
    that is current at that moment, if there is one.
    """

    # Set only if tool calls are rewritten.
    _self_rewriting: Rewriting | None = None
    _self_rewritten: RewrittenStream | None = None

    def __init__(self, stream: Any, observation: Observation | None = None, rewriting: Rewriting | None = None) -> None:
        super().__init__(stream)
        if observation is None:
            config = read_config()
            logs = attempt("log lines", are_wanted, config) or False
            observation = Observation(config, None, CurrentSpan(config), logs=logs)
        observation.recording.streamed = True
        self._self_observation = observation
        self._self_guard = CollectionGuard(observation)
        if rewriting is not None:
            self._self_rewriting = rewriting
            self._self_rewritten = rewriting.rewrite_stream(stream)

    @property
    def _self_source(self) -> Any:
        """What the tracker reads."""
        rewritten = self._self_rewritten
        return self.__wrapped__ if rewritten is None else rewritten

    @property
    def _stream(self) -> Any:
        return self.__wrapped__

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls so far, choice by choice, each choice's in the order in which they began."""
        return attempt("the calls so far", calls_in, self._self_observation.recording) or []

    @property
    def anomalies(self) -> list[Anomaly]:
        """The anomalies of the stream (docs/anomalies.md). Empty until it has ended."""
        return list(self._self_observation.anomalies)

    @property
    def _tool_calls(self) -> dict[int, dict[str, str | None]]:
        """The calls so far: index -> name, arguments, id. A second call at an index gets the next free index."""
        calls: dict[int, dict[str, str | None]] = {}
        free = 0
        for call in self._self_observation.recording.calls:
            index = call.index if call.index not in calls else free
            free = max(free, index + 1)
            calls[index] = {"name": call.name, "arguments": call.arguments_so_far(), "id": call.id}
        return calls

    @property
    def _has_content(self) -> bool:
        return self._self_observation.recording.has_text

    @property
    def response(self) -> Any:
        """The HTTP response behind the stream, None if the stream has none."""
        response = getattr(self.__wrapped__, "response", None)
        # A caller that reads the response's bytes may drop the stream.
        attempt("a response's body", keep_with_body, response, self._self_guard)
        return response

    @response.setter
    def response(self, response: Any) -> None:
        self.__wrapped__.response = response

    def __copy__(self) -> Self:
        """A copy reads the same stream, for the same observation."""
        copied = type(self)(copy(self.__wrapped__), self._self_observation, self._self_rewriting)
        copied._self_guard.disarm()
        copied._self_guard = self._self_guard
        return copied

    # wrapt's proxies define every special method. Streams do not have these.
    __len__: Any = None


class SyncStreamingToolCallTracker(_Tracker):
    """A tracker around a synchronous stream of chunks.

    >>> for chunk in SyncStreamingToolCallTracker(client.chat.completions.create(..., stream=True)):
    ...     ...
    """

    # Created by the first `next`: most callers use a loop, which does not need it.
    _self_read: Any = None

    # As in an SDK's stream, each loop has its own generator, and closing that does not close the stream: the next loop
    # continues where the last one stopped. `next` reads the iterator that the stream has at that moment.

    def __iter__(self) -> Iterator[Any]:
        source = self._self_source
        if delegates_to_iterator(source, "__iter__", "__iter__"):
            return chunks_of(source, generator_of, self._self_observation, self._self_guard)
        iterator = iter(source)
        if iterator is source:
            return self
        return chunks_of(iterator, own_generator, self._self_observation, self._self_guard)

    def __next__(self) -> Any:
        read = self._self_read
        if read is None:
            read = self._self_read = Reader(self._self_source, self._self_observation).next
        return read()

    def __contains__(self, item: object) -> bool:
        return any(chunk is item or chunk == item for chunk in self)

    __aenter__: Any = None
    __aexit__: Any = None

    def __enter__(self) -> Self:
        enter = getattr(type(self.__wrapped__), "__enter__", None)
        if enter is not None:
            enter(self.__wrapped__)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        leave = getattr(type(self.__wrapped__), "__exit__", None)
        try:
            if leave is not None:
                return leave(self.__wrapped__, exc_type, exc, traceback)
            return close_stream(self.__wrapped__)
        except BaseException as error:
            fail_closing(self._self_observation, error, exc)
            raise
        finally:
            end_observation(self._self_observation, outcome_of_block(exc))

    def close(self) -> None:
        """Close the stream and end its observation."""
        try:
            close_stream(self.__wrapped__)
        except BaseException as error:
            fail_closing(self._self_observation, error)
            raise
        finally:
            end_observation(self._self_observation, "closed")


class StreamingToolCallTracker(_Tracker):
    """A tracker around an asynchronous stream of chunks.

    >>> async for chunk in StreamingToolCallTracker(await client.chat.completions.create(..., stream=True)):
    ...     ...
    """

    # Created by the first `anext`.
    _self_read_async: Any = None

    def __aiter__(self) -> AsyncIterator[Any]:
        source = self._self_source
        if delegates_to_iterator(source, "__aiter__", "__aiter__"):
            return AsyncChunks(source, generator_of, self._self_observation, self._self_guard)
        iterator = source.__aiter__() if hasattr(type(source), "__aiter__") else source
        if iterator is source:
            return self
        return AsyncChunks(iterator, own_generator, self._self_observation, self._self_guard)

    def __anext__(self) -> Awaitable[Any]:
        read = self._self_read_async
        if read is None:
            read = self._self_read_async = AsyncReader(self._self_source, self._self_observation).__anext__
        reading: Awaitable[Any] = read()
        return reading

    __iter__: Any = None
    __contains__: Any = None
    __enter__: Any = None
    __exit__: Any = None

    async def __aenter__(self) -> Self:
        enter = getattr(type(self.__wrapped__), "__aenter__", None)
        if enter is not None:
            await enter(self.__wrapped__)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        leave = getattr(type(self.__wrapped__), "__aexit__", None)
        try:
            if leave is not None:
                return await leave(self.__wrapped__, exc_type, exc, traceback)
            return await aclose_stream(self.__wrapped__)
        except BaseException as error:
            fail_closing(self._self_observation, error, exc)
            raise
        finally:
            end_observation(self._self_observation, outcome_of_block(exc))

    async def close(self) -> None:
        """Close the stream and end its observation."""
        try:
            await aclose_stream(self.__wrapped__)
        except BaseException as error:
            fail_closing(self._self_observation, error)
            raise
        finally:
            end_observation(self._self_observation, "closed")

    async def aclose(self) -> None:
        """Alias of `close`."""
        await self.close()


class EitherWayTracker(StreamingToolCallTracker, SyncStreamingToolCallTracker):
    """A tracker around a stream that can be read either way, as those of some libraries and mocks."""

    __iter__ = SyncStreamingToolCallTracker.__iter__
    __contains__ = SyncStreamingToolCallTracker.__contains__
    __enter__ = SyncStreamingToolCallTracker.__enter__
    __exit__ = SyncStreamingToolCallTracker.__exit__

    def close(self) -> Any:
        closing = None
        try:
            closing = getattr(self.__wrapped__, "close", lambda: None)()
        except BaseException as error:
            fail_closing(self._self_observation, error)
            raise
        finally:
            if not inspect.isawaitable(closing):
                end_observation(self._self_observation, "closed")
        return self._close_later(closing) if inspect.isawaitable(closing) else closing

    async def _close_later(self, closing: Awaitable[Any]) -> None:
        try:
            await closing
        except BaseException as error:
            fail_closing(self._self_observation, error)
            raise
        finally:
            end_observation(self._self_observation, "closed")

    async def aclose(self) -> None:
        """Alias of `close`."""
        try:
            await aclose_stream(self.__wrapped__)
        except BaseException as error:
            fail_closing(self._self_observation, error)
            raise
        finally:
            end_observation(self._self_observation, "closed")
