"""The proxies around an SDK's stream: they hand on the very same chunks and take note of them.

`StreamingToolCallTracker` is for asynchronous streams, `SyncStreamingToolCallTracker` for synchronous ones. A proxy is
an instance of the stream's own class too (`isinstance(tracker, openai.Stream)` holds), and whatever is not named here
reaches the stream itself.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from copy import copy
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

from otel_llm.config import read_config
from otel_llm.observation import AbandonedStream, Observation, outcome_of
from otel_llm.protocol.choice import Outcome
from otel_llm.telemetry.log_lines import are_wanted
from otel_llm.telemetry.request_span import CurrentSpan
from otel_llm.transparency.faults import attempt, swallow
from otel_llm.transparency.proxies import ObjectProxy
from otel_llm.wrappers.response_body import live_with_body
from otel_llm.wrappers.sdk_internals import current_iterator, delegates_to_iterator, generator_of, own_generator

if TYPE_CHECKING:
    from typing_extensions import Self


class _Tracker(ObjectProxy):
    """What both trackers share.

    Used by itself on any stream of chunks it writes its log lines, and its events to the span that is current when
    it is made, if there is one.
    """

    def __init__(self, stream: Any, observation: Observation | None = None) -> None:
        super().__init__(stream)
        if observation is None:
            config = read_config()
            logs = attempt("log lines", are_wanted, config) or False
            observation = Observation(config, None, CurrentSpan(config), logs=logs)
        observation.recording.streamed = True
        self._self_observation = observation
        self._self_abandoned = AbandonedStream(observation)

    @property
    def _stream(self) -> Any:
        return self.__wrapped__

    @property
    def _tool_calls(self) -> dict[int, dict[str, str | None]]:
        """The calls so far: index -> name, arguments, id. A second call at an index gets the next free one."""
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
        """The HTTP response behind the stream, None where the stream has none."""
        response = getattr(self.__wrapped__, "response", None)
        # Who takes its bytes may drop the stream.
        attempt("a response's body", live_with_body, response, self._self_abandoned)
        return response

    @response.setter
    def response(self, response: Any) -> None:
        self.__wrapped__.response = response

    def __copy__(self) -> Self:
        """Another way to read the same stream, watched as this one."""
        copied = type(self)(copy(self.__wrapped__), self._self_observation)
        copied._self_abandoned.disarm()
        copied._self_abandoned = self._self_abandoned
        return copied

    # A proxy has every special method there is. Those that a stream has not, Python shall not find.
    __len__: Any = None


class SyncStreamingToolCallTracker(_Tracker):
    """A synchronous stream of chunks, watched.

    >>> for chunk in SyncStreamingToolCallTracker(client.chat.completions.create(..., stream=True)):
    ...     ...
    """

    # Made for the first `next`: most read a stream in a loop, which needs none.
    _self_read: Any = None

    # As the SDK's own stream does it: every loop goes through a generator of its own, which may be closed without harm
    # to the stream; the next loop goes on where this one was left. `next` reads what the stream reads at that moment.

    def __iter__(self) -> Iterator[Any]:
        stream = self.__wrapped__
        if delegates_to_iterator(stream, "__iter__", "__iter__"):
            return _chunks(stream, generator_of, self._self_observation, self._self_abandoned)
        iterator = iter(stream)
        if iterator is stream:
            return self
        return _chunks(iterator, own_generator, self._self_observation, self._self_abandoned)

    def __next__(self) -> Any:
        read = self._self_read
        if read is None:
            read = self._self_read = _Reader(self.__wrapped__, self._self_observation).next
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
        finally:
            _end(self._self_observation, _left_with(exc))

    def close(self) -> None:
        """Close the stream and end its observation."""
        try:
            _close(self.__wrapped__)
        finally:
            _end(self._self_observation, "closed")


class StreamingToolCallTracker(_Tracker):
    """An asynchronous stream of chunks, watched.

    >>> async for chunk in StreamingToolCallTracker(await client.chat.completions.create(..., stream=True)):
    ...     ...
    """

    # Made for the first `anext`, as above.
    _self_next: Any = None

    def __aiter__(self) -> AsyncIterator[Any]:
        stream = self.__wrapped__
        if delegates_to_iterator(stream, "__aiter__", "__aiter__"):
            return _AsyncChunks(stream, generator_of, self._self_observation, self._self_abandoned)
        iterator = stream.__aiter__() if hasattr(type(stream), "__aiter__") else stream
        if iterator is stream:
            return self
        return _AsyncChunks(iterator, own_generator, self._self_observation, self._self_abandoned)

    def __anext__(self) -> Awaitable[Any]:
        read = self._self_next
        if read is None:
            read = self._self_next = _AsyncReader(self.__wrapped__, self._self_observation).__anext__
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
        finally:
            _end(self._self_observation, _left_with(exc))

    async def close(self) -> None:
        """Close the stream and end its observation."""
        try:
            await _aclose(self.__wrapped__)
        finally:
            _end(self._self_observation, "closed")

    async def aclose(self) -> None:
        """Alias of `close`."""
        await self.close()


class EitherWayTracker(StreamingToolCallTracker, SyncStreamingToolCallTracker):
    """A stream that can be read either way, as some wrappers of streams and all mocks, watched."""

    __iter__ = SyncStreamingToolCallTracker.__iter__
    __contains__ = SyncStreamingToolCallTracker.__contains__
    __enter__ = SyncStreamingToolCallTracker.__enter__
    __exit__ = SyncStreamingToolCallTracker.__exit__

    def close(self) -> Any:
        closing = None
        try:
            closing = getattr(self.__wrapped__, "close", lambda: None)()
        finally:
            if not inspect.isawaitable(closing):
                _end(self._self_observation, "closed")
        return self._close_later(closing) if inspect.isawaitable(closing) else closing

    async def _close_later(self, closing: Awaitable[Any]) -> None:
        try:
            await closing
        finally:
            _end(self._self_observation, "closed")

    async def aclose(self) -> None:
        """Alias of `close`."""
        try:
            await _aclose(self.__wrapped__)
        finally:
            _end(self._self_observation, "closed")


def _chunks(
    stream: Any, generator_of: Callable[[Any], Any], observation: Observation, _kept: AbandonedStream
) -> Iterator[Any]:
    """The stream's chunks, each noted. A generator's locals are the cheapest place to keep what every chunk needs.

    `generator_of` tells, when the loop begins, which generator the stream goes round, if any. `_kept` is kept as long
    as somebody may still read; the proxy is not, which may be dropped in the middle of a loop.
    """
    iterator = generator_of(stream)
    if iterator is None:
        iterator = iter(stream) if hasattr(type(stream), "__iter__") else stream
    read = iterator.__next__
    feed, clock = observation.reader.feed, perf_counter_ns
    while True:
        asked_ns = clock()
        try:
            chunk = read()
        except StopIteration:
            _end(observation, "completed")
            return
        except BaseException as error:
            _fail(observation, error, asked_ns, iterator)
            raise
        try:
            notices = feed(chunk, asked_ns, clock())
            if notices is not None:
                observation.tell(notices)
        except Exception as fault:  # noqa: BLE001
            swallow("a chunk", fault)
        yield chunk


class _Reader:
    """Reads a stream chunk by chunk, and notes each. What raises once may go on."""

    __slots__ = ("_feed", "_iterator", "_observation", "_stream")

    def __init__(self, stream: Any, observation: Observation) -> None:
        self._stream = stream
        self._observation = observation
        self._feed = observation.reader.feed
        self._iterator: Any = None if delegates_to_iterator(stream, "__next__", "__iter__") else _NOT_BEGUN

    def next(self) -> Any:
        iterator = self._iterator
        if iterator is None:
            # An SDK's stream, whose iterator somebody may have replaced since the last chunk.
            iterator = current_iterator(self._stream)
        elif iterator is _NOT_BEGUN:
            stream = self._stream
            iterator = self._iterator = stream if hasattr(type(stream), "__next__") else iter(stream)
        asked_ns = perf_counter_ns()
        try:
            chunk = iterator.__next__()
        except StopIteration:
            _end(self._observation, "completed")
            raise
        except BaseException as error:
            _fail(self._observation, error, asked_ns, iterator)
            raise
        try:
            notices = self._feed(chunk, asked_ns, perf_counter_ns())
            if notices is not None:
                self._observation.tell(notices)
        except Exception as fault:  # noqa: BLE001
            swallow("a chunk", fault)
        return chunk


class _AsyncReader:
    """The same for an asynchronous stream."""

    __slots__ = ("_feed", "_iterator", "_observation", "_stream")

    def __init__(self, stream: Any, observation: Observation) -> None:
        self._stream = stream
        self._observation = observation
        self._feed = observation.reader.feed
        self._iterator: Any = _NOT_BEGUN

    async def __anext__(self) -> Any:
        iterator = self._iterator
        if iterator is None:
            iterator = current_iterator(self._stream)
        elif iterator is _NOT_BEGUN:
            iterator = self._begin()
        asked_ns = perf_counter_ns()
        try:
            chunk = await iterator.__anext__()
        except StopAsyncIteration:
            if iterator is not _CLOSED:
                _end(self._observation, "completed")
            raise
        except BaseException as error:
            _fail(self._observation, error, asked_ns, iterator)
            raise
        try:
            notices = self._feed(chunk, asked_ns, perf_counter_ns())
            if notices is not None:
                self._observation.tell(notices)
        except Exception as fault:  # noqa: BLE001
            swallow("a chunk", fault)
        return chunk

    def _begin(self) -> Any:
        stream = self._stream
        if delegates_to_iterator(stream, "__anext__", "__aiter__"):
            self._iterator = None
            return current_iterator(stream)
        self._iterator = stream if hasattr(type(stream), "__anext__") else stream.__aiter__()
        return self._iterator


class _AsyncChunks(_AsyncReader):
    """One loop over an asynchronous stream. It may be closed without harm to the stream.

    No asynchronous generator: that would leave the event loop a task to close it.
    """

    __slots__ = ("_generator_of", "_kept")

    def __init__(
        self, stream: Any, generator_of: Callable[[Any], Any], observation: Observation, kept: AbandonedStream
    ) -> None:
        super().__init__(stream, observation)
        self._generator_of = generator_of
        self._kept = kept

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    def _begin(self) -> Any:
        stream = self._stream
        iterator = self._generator_of(stream)
        if iterator is None:
            iterator = stream.__aiter__() if hasattr(type(stream), "__aiter__") else stream
        self._iterator = iterator
        return iterator

    async def aclose(self) -> None:
        """No more chunks in this loop."""
        self._iterator = _CLOSED


class _Closed:
    """Has nothing to read."""

    async def __anext__(self) -> Any:
        raise StopAsyncIteration


_CLOSED = _Closed()
_NOT_BEGUN = object()


# Nothing of ours gets past these two into a caller who reads a stream.


def _end(observation: Observation, outcome: Outcome) -> None:
    try:
        observation.end(outcome)
    except Exception as fault:  # noqa: BLE001
        swallow("the end of a stream", fault)


def _fail(observation: Observation, error: BaseException, asked_ns: int, iterator: Any) -> None:
    try:
        if getattr(iterator, "gi_running", False) is True or getattr(iterator, "ag_running", False) is True:
            # Somebody else reads at this moment; the stream does not mind that this reader was refused.
            return
        observation.fail(error, asked_ns)
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


def _left_with(error: BaseException | None) -> Outcome:
    """How a stream ended whose `with` block was left: an error of the block's own is no error of the stream."""
    try:
        return "cancelled" if error is not None and outcome_of(error) == "cancelled" else "closed"
    except Exception as fault:  # noqa: BLE001
        swallow("the end of a stream", fault)
        return "closed"
