"""The trackers: proxies around a stream that pass on the same chunk objects and record them.

`StreamingToolCallTracker` is for asynchronous streams, `SyncStreamingToolCallTracker` for synchronous ones. A tracker
is also an instance of the stream's class (`isinstance(tracker, openai.Stream)` holds), and has all its attributes.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from copy import copy
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

from otel_llm.config import read_config
from otel_llm.observation import CollectionGuard, Observation, outcome_of
from otel_llm.protocol.call_snapshot import ToolCall, calls_in
from otel_llm.protocol.choice import Outcome
from otel_llm.telemetry.log_lines import are_wanted
from otel_llm.telemetry.request_span import CurrentSpan
from otel_llm.transparency.faults import attempt, swallow
from otel_llm.transparency.proxies import ObjectProxy
from otel_llm.wrappers.response_body import keep_with_body
from otel_llm.wrappers.sdk_internals import current_iterator, delegates_to_iterator, generator_of, own_generator

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
            return _chunks(source, generator_of, self._self_observation, self._self_guard)
        iterator = iter(source)
        if iterator is source:
            return self
        return _chunks(iterator, own_generator, self._self_observation, self._self_guard)

    def __next__(self) -> Any:
        read = self._self_read
        if read is None:
            read = self._self_read = _Reader(self._self_source, self._self_observation).next
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
            return _close(self.__wrapped__)
        except BaseException as error:
            _fail_closing(self._self_observation, error, exc)
            raise
        finally:
            _end(self._self_observation, _outcome_of_block(exc))

    def close(self) -> None:
        """Close the stream and end its observation."""
        try:
            _close(self.__wrapped__)
        except BaseException as error:
            _fail_closing(self._self_observation, error)
            raise
        finally:
            _end(self._self_observation, "closed")


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
            return _AsyncChunks(source, generator_of, self._self_observation, self._self_guard)
        iterator = source.__aiter__() if hasattr(type(source), "__aiter__") else source
        if iterator is source:
            return self
        return _AsyncChunks(iterator, own_generator, self._self_observation, self._self_guard)

    def __anext__(self) -> Awaitable[Any]:
        read = self._self_read_async
        if read is None:
            read = self._self_read_async = _AsyncReader(self._self_source, self._self_observation).__anext__
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
            return await _aclose(self.__wrapped__)
        except BaseException as error:
            _fail_closing(self._self_observation, error, exc)
            raise
        finally:
            _end(self._self_observation, _outcome_of_block(exc))

    async def close(self) -> None:
        """Close the stream and end its observation."""
        try:
            await _aclose(self.__wrapped__)
        except BaseException as error:
            _fail_closing(self._self_observation, error)
            raise
        finally:
            _end(self._self_observation, "closed")

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
            _fail_closing(self._self_observation, error)
            raise
        finally:
            if not inspect.isawaitable(closing):
                _end(self._self_observation, "closed")
        return self._close_later(closing) if inspect.isawaitable(closing) else closing

    async def _close_later(self, closing: Awaitable[Any]) -> None:
        try:
            await closing
        except BaseException as error:
            _fail_closing(self._self_observation, error)
            raise
        finally:
            _end(self._self_observation, "closed")

    async def aclose(self) -> None:
        """Alias of `close`."""
        try:
            await _aclose(self.__wrapped__)
        except BaseException as error:
            _fail_closing(self._self_observation, error)
            raise
        finally:
            _end(self._self_observation, "closed")


def _chunks(
    stream: Any, find_generator: Callable[[Any], Any], observation: Observation, _kept: CollectionGuard
) -> Iterator[Any]:
    """One loop over a synchronous stream. A generator's locals are the cheapest place for what each chunk needs.

    `find_generator` returns the generator to read instead of the stream, if any, when the loop starts. `_kept` lives as
    long as the loop; the tracker may be dropped in the middle of it.
    """
    iterator = find_generator(stream)
    if iterator is None:
        iterator = iter(stream) if hasattr(type(stream), "__iter__") else stream
    read = iterator.__next__
    feed, clock = observation.reader.feed, perf_counter_ns
    while True:
        wait_started_ns = clock()
        try:
            chunk = read()
        except StopIteration:
            _end(observation, "completed")
            return
        except BaseException as error:
            _fail(observation, error, wait_started_ns, iterator)
            raise
        try:
            notices = feed(chunk, wait_started_ns, clock())
            if notices is not None:
                observation.notify(notices)
        except Exception as fault:  # noqa: BLE001
            swallow("a chunk", fault)
        yield chunk


class _Reader:
    """Reads one chunk at a time and records it. After an error, the next read may succeed."""

    __slots__ = ("_feed", "_iterator", "_observation", "_stream")

    def __init__(self, stream: Any, observation: Observation) -> None:
        self._stream = stream
        self._observation = observation
        self._feed = observation.reader.feed
        self._iterator: Any = None if delegates_to_iterator(stream, "__next__", "__iter__") else _NOT_STARTED

    def next(self) -> Any:
        iterator = self._iterator
        if iterator is None:
            # An SDK's stream, whose iterator may have been replaced since the last chunk.
            iterator = current_iterator(self._stream)
        elif iterator is _NOT_STARTED:
            stream = self._stream
            iterator = self._iterator = stream if hasattr(type(stream), "__next__") else iter(stream)
        wait_started_ns = perf_counter_ns()
        try:
            chunk = iterator.__next__()
        except StopIteration:
            _end(self._observation, "completed")
            raise
        except BaseException as error:
            _fail(self._observation, error, wait_started_ns, iterator)
            raise
        try:
            notices = self._feed(chunk, wait_started_ns, perf_counter_ns())
            if notices is not None:
                self._observation.notify(notices)
        except Exception as fault:  # noqa: BLE001
            swallow("a chunk", fault)
        return chunk


class _AsyncReader:
    """The asynchronous counterpart."""

    __slots__ = ("_feed", "_iterator", "_observation", "_stream")

    def __init__(self, stream: Any, observation: Observation) -> None:
        self._stream = stream
        self._observation = observation
        self._feed = observation.reader.feed
        self._iterator: Any = _NOT_STARTED

    async def __anext__(self) -> Any:
        iterator = self._iterator
        if iterator is None:
            iterator = current_iterator(self._stream)
        elif iterator is _NOT_STARTED:
            iterator = self._start()
        wait_started_ns = perf_counter_ns()
        try:
            chunk = await iterator.__anext__()
        except StopAsyncIteration:
            if iterator is not _CLOSED:
                _end(self._observation, "completed")
            raise
        except BaseException as error:
            _fail(self._observation, error, wait_started_ns, iterator)
            raise
        try:
            notices = self._feed(chunk, wait_started_ns, perf_counter_ns())
            if notices is not None:
                self._observation.notify(notices)
        except Exception as fault:  # noqa: BLE001
            swallow("a chunk", fault)
        return chunk

    def _start(self) -> Any:
        stream = self._stream
        if delegates_to_iterator(stream, "__anext__", "__aiter__"):
            self._iterator = None
            return current_iterator(stream)
        self._iterator = stream if hasattr(type(stream), "__anext__") else stream.__aiter__()
        return self._iterator


class _AsyncChunks(_AsyncReader):
    """One loop over an asynchronous stream. Closing it does not close the stream.

    Not an asynchronous generator: an unfinished one would leave the event loop a task to close it.
    """

    __slots__ = ("_find_generator", "_kept")

    def __init__(
        self, stream: Any, find_generator: Callable[[Any], Any], observation: Observation, kept: CollectionGuard
    ) -> None:
        super().__init__(stream, observation)
        self._find_generator = find_generator
        self._kept = kept

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    def _start(self) -> Any:
        stream = self._stream
        iterator = self._find_generator(stream)
        if iterator is None:
            iterator = stream.__aiter__() if hasattr(type(stream), "__aiter__") else stream
        self._iterator = iterator
        return iterator

    async def aclose(self) -> None:
        """End the loop."""
        self._iterator = _CLOSED


class _Closed:
    """The iterator of a closed loop."""

    async def __anext__(self) -> Any:
        raise StopAsyncIteration


_CLOSED = _Closed()
_NOT_STARTED = object()


# No fault of otel-llm gets past these two into a caller that reads a stream.


def _end(observation: Observation, outcome: Outcome) -> None:
    try:
        observation.end(outcome)
    except Exception as fault:  # noqa: BLE001
        swallow("the end of a stream", fault)


def _fail(observation: Observation, error: BaseException, wait_started_ns: int, iterator: Any) -> None:
    try:
        if getattr(iterator, "gi_running", False) is True or getattr(iterator, "ag_running", False) is True:
            # Another read is in progress, so this one was refused. The stream itself is fine.
            return
        observation.fail(error, wait_started_ns)
    except Exception as fault:  # noqa: BLE001
        swallow("the end of a stream", fault)


def _fail_closing(observation: Observation, error: BaseException, error_of_block: BaseException | None = None) -> None:
    """Closing the stream raised. At the end of a `with` block, the block's own error may be raised again."""
    if error is error_of_block:
        return
    try:
        observation.fail(error)
    except Exception as fault:  # noqa: BLE001
        swallow("the end of a stream", fault)


def _close(stream: Any) -> None:
    close = getattr(stream, "close", None)
    if close is not None:
        close()


async def _aclose(stream: Any) -> None:
    close = getattr(stream, "close", None) or getattr(stream, "aclose", None)
    if close is not None:
        closing = close()
        if inspect.isawaitable(closing):
            await closing


def _outcome_of_block(error: BaseException | None) -> Outcome:
    """How a stream ends with its `with` block: an error raised in the block is no error of the stream."""
    try:
        return "cancelled" if error is not None and outcome_of(error) == "cancelled" else "closed"
    except Exception as fault:  # noqa: BLE001
        swallow("the end of a stream", fault)
        return "closed"
