"""Observes the HTTP response behind a stream, for callers that read or close it without using the tracker.

Helpers of the OpenAI SDK such as `client.chat.completions.stream(...)` close the response, not the stream, and a caller
that takes the bytes of a raw response never asks for the stream. All of these reach the response's byte stream, so that
is replaced by a proxy. It costs nothing while the SDK's own stream reads.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncIterator, Iterator
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from otel_llm.observation import Observation
from otel_llm.protocol.fields import field, text_of
from otel_llm.transparency.faults import attempt, swallow
from otel_llm.transparency.proxies import ObjectProxy
from otel_llm.wrappers.sdk_internals import (
    body_of,
    delegates_to_iterator,
    is_called_by_stream,
    own_generator,
    replace_body,
)

if TYPE_CHECKING:
    from otel_llm.wrappers.forwarded_body import ForwardedBody
    from otel_llm.wrappers.rewritten_body import RewrittenBody


def observe_body(response: Any, observer: BodyObserver) -> None:
    """Have `observer` follow the body of an open httpx response. Anything else is left alone."""
    body = body_of(response)
    is_closed = getattr(response, "is_closed", None)
    if body is not None and is_closed is True:
        # A body that was whole before anyone read it, as recorded and mocked ones are.
        _follow_closing(response, observer)
    if body is None or is_closed is not False:
        return
    observer.headers = getattr(response, "headers", None)
    if inspect.ismethod(getattr(body, "aclose", None)):
        replace_body(response, _AsyncBody(body, observer))
    elif inspect.ismethod(getattr(body, "close", None)):
        replace_body(response, _SyncBody(body, observer))


def keep_with_body(response: Any, kept: object) -> None:
    """Keep an object alive as long as the body of an httpx response, if that is observed."""
    body = body_of(response)
    if type(body) is _SyncBody or type(body) is _AsyncBody:
        body._self_observer.kept = kept


class BodyObserver:
    """Ends an observation when the body is closed by anything but the tracker's stream.

    If the body is read as bytes, neither by the SDK's parser nor by a stream, the bytes are observed too.
    """

    __slots__ = (
        "_forwarded",
        "_has_stream",
        "_observation",
        "_stream_reader",
        "headers",
        "is_being_parsed",
        "kept",
        "rewrites_for_parser",
    )

    def __init__(self, observation: Observation) -> None:
        self._observation = weakref.ref(observation)
        self._has_stream = False
        self._stream_reader: weakref.ref[Any] | None = None
        self._forwarded: ForwardedBody | None = None
        self.is_being_parsed = False
        """Whether the SDK is reading the body to parse it for the caller."""
        self.rewrites_for_parser = False
        """Whether bytes are rewritten also if the SDK parses them, because nobody rewrites what it makes of them."""
        self.headers: Any = None
        """The response's headers."""
        self.kept: object = None
        """An object that must live as long as the body."""

    def set_stream(self, stream: Any) -> None:
        """From now on `stream` reads the body, and a tracker observes the stream."""
        # A stream with a `__next__` of its own may read the body outside of the generator.
        reader = own_generator(stream) if delegates_to_iterator(stream, "__next__", "__anext__") else None
        # A weak reference: the generator refers to the response, and the response to this observer.
        self._stream_reader = None if reader is None else weakref.ref(reader)
        self._has_stream = True

    def start_reading(self) -> _Passing | None:
        """Called before the body is read: returns what its bytes pass, None if they pass unseen."""
        observation = self._observation()
        if observation is None or observation.ended:
            return None
        is_parsed = self.is_being_parsed or (
            self._has_stream and (self._stream_reader is None or _is_running(self._stream_reader()))
        )
        if is_parsed and not self.rewrites_for_parser:
            return None
        encoding = text_of(field(self.headers, "content-encoding")) or ""
        passing = _Passing()
        # Imported late: most callers take what the SDK parsed.
        if observation.config.tool_call_tags is not None:
            passing.rewritten = attempt("tag rewriting", _rewritten_body, observation, encoding)
        if not is_parsed:
            from otel_llm.wrappers.forwarded_body import ForwardedBody

            passing.forwarded = self._forwarded = ForwardedBody(observation, encoding)
        return passing

    @property
    def _reader(self) -> Any:
        """What the stream reads, None if that is unknown or gone."""
        return None if self._stream_reader is None else self._stream_reader()

    def closed(self, error: BaseException | None = None) -> None:
        """The body was closed. `error`: what that raised."""
        # The response, and so this observer, may be kept for long; nothing more will be read.
        forwarded, self._forwarded = self._forwarded, None
        observation = self._observation()
        if observation is None or observation.ended or self.is_being_parsed:
            return
        if error is not None and not (self._has_stream and _is_running(self._reader)):
            observation.fail(error)
        elif not self._has_stream:
            # The caller took bytes, perhaps not all of them, or nothing.
            observation.end("closed", unread=forwarded is None or forwarded.is_unread)
        elif self._stream_reader is None:
            # The SDK's stream is inside another library's, which may read ahead. If the SDK closes the body because it
            # ended, the tracker is still to receive the last chunks and the end from the other library.
            if not is_called_by_stream():
                observation.end("closed")
        else:
            reader = self._reader
            if forwarded is not None or (reader is not None and not _is_running(reader)):
                observation.end("closed")


def _is_running(generator: Any) -> bool:
    return bool(getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False))


def _follow_closing(response: Any, observer: BodyObserver) -> None:
    """Tell `observer` when a response is closed that has no body left to close. Only once."""
    kind, known = type(response), weakref.ref(response)
    if not (hasattr(kind, "close") and hasattr(kind, "aclose")):
        return

    def restored() -> Any:
        response = known()
        for name in ("close", "aclose"):
            getattr(response, "__dict__", {}).pop(name, None)
        return response

    def close() -> Any:
        response = restored()
        try:
            return None if response is None else kind.close(response)
        finally:
            _closed(observer)

    async def aclose() -> Any:
        response = restored()
        try:
            return None if response is None else await kind.aclose(response)
        finally:
            _closed(observer)

    response.close, response.aclose = close, aclose


def _closed(observer: BodyObserver, error: BaseException | None = None) -> None:
    try:
        observer.closed(error)
    except Exception as fault:  # noqa: BLE001
        swallow("a response's closing", fault)


def _rewritten_body(observation: Observation, encoding: str) -> RewrittenBody:
    from otel_llm.wrappers.rewritten_body import RewrittenBody

    return RewrittenBody(observation, encoding)


class _Passing:
    """What the bytes of a body pass on their way to the caller: the rewriting, then the observation."""

    __slots__ = ("forwarded", "rewritten")

    def __init__(self) -> None:
        self.forwarded: ForwardedBody | None = None
        self.rewritten: RewrittenBody | None = None

    def feed(self, piece: bytes, wait_started_ns: int) -> bytes:
        """What the caller gets for a piece that it began to wait for at `wait_started_ns`."""
        if self.rewritten is not None:
            piece = self.rewritten.feed(piece)
        if self.forwarded is not None and piece:
            self.forwarded.feed(piece, wait_started_ns)
        return piece

    def finish(self) -> bytes:
        """The body has ended: what the caller still gets."""
        rest = b"" if self.rewritten is None else self.rewritten.finish()
        self.rewritten = None
        if self.forwarded is not None:
            if rest:
                self.forwarded.feed(rest, perf_counter_ns())
            else:
                self.forwarded.finish()
        return rest

    def fail(self, error: BaseException, wait_started_ns: int) -> None:
        """The read that began at `wait_started_ns` raised."""
        if self.forwarded is not None:
            self.forwarded.fail(error, wait_started_ns)


class _SyncBody(ObjectProxy):
    def __init__(self, body: Any, observer: BodyObserver) -> None:
        super().__init__(body)
        self._self_observer = observer

    def __iter__(self) -> Iterator[bytes]:
        passing = attempt("a response's bytes", self._self_observer.start_reading)
        pieces = iter(self.__wrapped__)
        return pieces if passing is None else _PassedPieces(pieces, passing)

    def close(self) -> None:
        try:
            self.__wrapped__.close()
        except BaseException as error:
            _closed(self._self_observer, error)
            raise
        _closed(self._self_observer)


class _AsyncBody(ObjectProxy):
    def __init__(self, body: Any, observer: BodyObserver) -> None:
        super().__init__(body)
        self._self_observer = observer

    def __aiter__(self) -> AsyncIterator[bytes]:
        passing = attempt("a response's bytes", self._self_observer.start_reading)
        pieces: AsyncIterator[bytes] = self.__wrapped__.__aiter__()
        return pieces if passing is None else _AsyncPassedPieces(pieces, passing)

    async def aclose(self) -> None:
        try:
            await self.__wrapped__.aclose()
        except BaseException as error:
            _closed(self._self_observer, error)
            raise
        _closed(self._self_observer)


class _PassedPieces:
    """The bytes of a body as they arrive, each piece fed to a `_Passing`."""

    __slots__ = ("_passing", "_pieces")

    def __init__(self, pieces: Iterator[bytes], passing: _Passing) -> None:
        self._pieces = pieces
        self._passing = passing

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        wait_started_ns = perf_counter_ns()
        while True:
            try:
                piece = next(self._pieces)
            except StopIteration:
                rest = self._passing.finish()
                if rest:
                    return rest
                raise
            except BaseException as error:
                self._passing.fail(error, wait_started_ns)
                raise
            if passed := self._passing.feed(piece, wait_started_ns):
                return passed


class _AsyncPassedPieces:
    """The asynchronous counterpart."""

    __slots__ = ("_passing", "_pieces")

    def __init__(self, pieces: AsyncIterator[bytes], passing: _Passing) -> None:
        self._pieces = pieces
        self._passing = passing

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        wait_started_ns = perf_counter_ns()
        while True:
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                rest = self._passing.finish()
                if rest:
                    return rest
                raise
            except BaseException as error:
                self._passing.fail(error, wait_started_ns)
                raise
            if passed := self._passing.feed(piece, wait_started_ns):
                return passed
