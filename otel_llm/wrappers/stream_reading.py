"""Reads a stream for a tracker: each chunk is recorded and passed on, at once.

As in an SDK's stream, each loop reads for itself, and closing one does not close the stream. `next` reads the iterator
that the stream has at that moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from time import perf_counter_ns
from typing import Any

from otel_llm.observation import CollectionGuard, Observation
from otel_llm.transparency.faults import swallow
from otel_llm.wrappers.sdk_internals import current_iterator, delegates_to_iterator
from otel_llm.wrappers.stream_ends import end_observation, fail_observation


def chunks_of(
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
            end_observation(observation, "completed")
            return
        except BaseException as error:
            fail_observation(observation, error, wait_started_ns, iterator)
            raise
        try:
            notices = feed(chunk, wait_started_ns, clock())
            if notices is not None:
                observation.notify(notices)
        except Exception as fault:  # noqa: BLE001
            swallow("a chunk", fault)
        yield chunk


class Reader:
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
            end_observation(self._observation, "completed")
            raise
        except BaseException as error:
            fail_observation(self._observation, error, wait_started_ns, iterator)
            raise
        try:
            notices = self._feed(chunk, wait_started_ns, perf_counter_ns())
            if notices is not None:
                self._observation.notify(notices)
        except Exception as fault:  # noqa: BLE001
            swallow("a chunk", fault)
        return chunk


class AsyncReader:
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
                end_observation(self._observation, "completed")
            raise
        except BaseException as error:
            fail_observation(self._observation, error, wait_started_ns, iterator)
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


class AsyncChunks(AsyncReader):
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
