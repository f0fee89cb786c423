"""Takes note of the HTTP response behind a stream where that is read or closed past its tracker.

The SDK's own helpers close the response, not the stream (`client.chat.completions.stream(...)`), and who wants a raw
response's bytes never asks for the stream. The response's byte stream is the one thing that every such way reaches; it
is replaced by a proxy that costs nothing while the SDK reads it.
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


def watch_body(response: Any, closing: BodyClosing) -> None:
    """Have `closing` called when `response` (an httpx response) is closed. Anything else is left alone."""
    body = body_of(response)
    if body is None or getattr(response, "is_closed", True) is not False:
        return
    closing.headers = getattr(response, "headers", None)
    if inspect.ismethod(getattr(body, "aclose", None)):
        replace_body(response, _AsyncBody(body, closing))
    elif inspect.ismethod(getattr(body, "close", None)):
        replace_body(response, _SyncBody(body, closing))


class BodyClosing:
    """Ends `observation` when the body is closed by anyone but the stream's own reader."""

    __slots__ = ("_forwarded", "_has_reader", "_observation", "_reader", "headers", "kept", "parsing")

    def __init__(self, observation: Observation) -> None:
        self._observation = weakref.ref(observation)
        self._reader: weakref.ref[Any] | None = None
        self._has_reader = False
        self.parsing = False
        """Whether the body is being read for a caller who gets it parsed."""
        self._forwarded: ForwardedBody | None = None
        self.headers: Any = None
        """Of the response."""
        self.kept: object = None
        """What is to live as long as the body does."""

    def read_by(self, stream: Any) -> None:
        """From now on `stream` reads the body, and a tracker sees how it ends."""
        # Whoever reads the body in a `next` of their own reads for the tracker, too.
        reader = own_generator(stream) if delegates_to_iterator(stream, "__next__", "__anext__") else None
        # Held weakly: the reader holds the response, and the response holds us.
        self._reader = None if reader is None else weakref.ref(reader)
        self._has_reader = True

    def forwarded(self) -> ForwardedBody | None:
        """What notes the bytes of a body that is about to be read, where neither the SDK nor a tracker will."""
        observation = self._observation()
        if observation is None or observation.ended or self.parsing:
            return None
        if self._has_reader and (self._reader is None or _is_running(self._reader())):
            return None
        # Most callers take what the SDK parsed.
        from otel_llm.wrappers.forwarded_body import ForwardedBody

        self._forwarded = ForwardedBody(observation, text_of(field(self.headers, "content-encoding")) or "")
        return self._forwarded

    def __call__(self) -> None:
        # Whoever keeps the response keeps us, and there is nothing more to note.
        forwarded, self._forwarded = self._forwarded, None
        observation = self._observation()
        if observation is None or observation.ended or self.parsing:
            return
        if not self._has_reader:
            # The caller wanted no stream of chunks, and as many of the bytes as came past us.
            observation.end("closed", unread=forwarded is None or forwarded.is_unread)
        elif self._reader is None:
            # The SDK's stream is behind another library's, which reads it when and where it likes. If the SDK closes
            # the body because it came to its end, the other library will hand that on, and chunks it has in hand still.
            if not is_called_by_stream():
                observation.end("closed")
        else:
            reader = self._reader()
            if forwarded is not None or (reader is not None and not _is_running(reader)):
                observation.end("closed")


def _is_running(reader: Any) -> bool:
    """Whether somebody reads by this generator at this moment."""
    return bool(getattr(reader, "gi_running", False) or getattr(reader, "ag_running", False))


def live_with_body(response: Any, kept: object) -> None:
    """Keep something as long as the body of an httpx response that is watched. Any other is left alone."""
    body = body_of(response)
    if type(body) is _SyncBody or type(body) is _AsyncBody:
        body._self_closing.kept = kept


def _closed(closing: BodyClosing) -> None:
    try:
        closing()
    except Exception as fault:  # noqa: BLE001
        swallow("a response's closing", fault)


class _SyncBody(ObjectProxy):
    def __init__(self, body: Any, closing: BodyClosing) -> None:
        super().__init__(body)
        self._self_closing = closing

    def __iter__(self) -> Iterator[bytes]:
        forwarded = attempt("a response's bytes", self._self_closing.forwarded)
        pieces = iter(self.__wrapped__)
        return pieces if forwarded is None else _Pieces(pieces, forwarded)

    def close(self) -> None:
        try:
            self.__wrapped__.close()
        finally:
            _closed(self._self_closing)


class _AsyncBody(ObjectProxy):
    def __init__(self, body: Any, closing: BodyClosing) -> None:
        super().__init__(body)
        self._self_closing = closing

    def __aiter__(self) -> AsyncIterator[bytes]:
        forwarded = attempt("a response's bytes", self._self_closing.forwarded)
        pieces: AsyncIterator[bytes] = self.__wrapped__.__aiter__()
        return pieces if forwarded is None else _AsyncPieces(pieces, forwarded)

    async def aclose(self) -> None:
        try:
            await self.__wrapped__.aclose()
        finally:
            _closed(self._self_closing)


class _Pieces:
    """A body as it comes from the network, with one who takes note."""

    __slots__ = ("_forwarded", "_pieces")

    def __init__(self, pieces: Iterator[bytes], forwarded: ForwardedBody) -> None:
        self._pieces = pieces
        self._forwarded = forwarded

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        asked_ns = perf_counter_ns()
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._forwarded.over()
            raise
        except BaseException as error:
            self._forwarded.failed(error, asked_ns)
            raise
        self._forwarded.take(piece, asked_ns)
        return piece


class _AsyncPieces:
    """The same for an asynchronous one."""

    __slots__ = ("_forwarded", "_pieces")

    def __init__(self, pieces: AsyncIterator[bytes], forwarded: ForwardedBody) -> None:
        self._pieces = pieces
        self._forwarded = forwarded

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        asked_ns = perf_counter_ns()
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._forwarded.over()
            raise
        except BaseException as error:
            self._forwarded.failed(error, asked_ns)
            raise
        self._forwarded.take(piece, asked_ns)
        return piece
