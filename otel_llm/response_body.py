"""Ends an observation when the HTTP response behind a stream is closed past its tracker.

The SDK's own helpers do that (`client.chat.completions.stream(...)` closes the response, not the stream), and so does
whoever reads a raw response as bytes. The response's byte stream is the one thing that every way of closing reaches;
it is replaced by a proxy that takes note of its closing and costs nothing while bytes flow.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from types import AsyncGeneratorType, FrameType, GeneratorType
from typing import Any

from otel_llm.faults import swallow
from otel_llm.observation import Observation
from otel_llm.proxies import ObjectProxy


def watch_body(response: Any, closing: BodyClosing) -> None:
    """Have `closing` called when `response` (an httpx response) is closed. Anything else is left alone."""
    body = getattr(response, "stream", None)
    if body is None or getattr(response, "is_closed", True) is not False:
        return
    if inspect.ismethod(getattr(body, "aclose", None)):
        response.stream = _AsyncBody(body, closing)
    elif inspect.ismethod(getattr(body, "close", None)):
        response.stream = _SyncBody(body, closing)


class BodyClosing:
    """Ends `observation` when the body is closed by anyone but the stream's own reader."""

    __slots__ = ("_has_reader", "_observation", "_reader", "parsing")

    def __init__(self, observation: Observation) -> None:
        self._observation = weakref.ref(observation)
        self._reader: weakref.ref[Any] | None = None
        self._has_reader = False
        self.parsing = False
        """Whether the body is being read for a caller who gets it parsed."""

    def read_by(self, stream: Any) -> None:
        """From now on `stream` reads the body, and a tracker sees how it ends."""
        reader = own_generator(stream)
        # Held weakly: the reader holds the response, and the response holds us.
        self._reader = None if reader is None else weakref.ref(reader)
        self._has_reader = True

    def __call__(self) -> None:
        observation = self._observation()
        if observation is None or observation.ended or self.parsing:
            return
        if not self._has_reader:
            # The caller took the bytes; nothing of them came past us.
            observation.end("closed", unread=True)
        elif self._reader is None:
            # The SDK's stream is behind another library's, which reads it when and where it likes. If the SDK closes
            # the body because it came to its end, the other library will hand that on, and chunks it has in hand still.
            if not _sdk_is_reading():
                observation.end("closed")
        else:
            reader = self._reader()
            running = getattr(reader, "gi_running", False) or getattr(reader, "ag_running", False)
            if reader is not None and not running:
                observation.end("closed")


def _sdk_is_reading() -> bool:
    """Whether whoever asks was called by an SDK's stream that reads."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "__stream__" and str(frame.f_globals.get("__name__")).endswith("._streaming"):
            return True
        frame = frame.f_back
    return False


def own_generator(stream: Any) -> Any:
    """The generator that an SDK's stream reads, which its own iterator only goes round; None for other streams."""
    return generator_within(stream) if goes_round(stream, "__iter__", "__aiter__") else None


def generator_within(stream: Any) -> Any:
    """The generator that a stream goes round at this moment; None where somebody has put something else there."""
    iterator = stream._iterator
    return iterator if isinstance(iterator, (GeneratorType, AsyncGeneratorType)) else None


def goes_round(stream: Any, method: str, or_else: str) -> bool:
    """Whether a method of a stream is an SDK's, and does nothing but read the stream's `_iterator`.

    A proxy around such a stream has that too, but to read there would be to read past the proxy.
    """
    kind = type(stream)
    function = getattr(kind, method, None) or getattr(kind, or_else, None)
    module = getattr(function, "__module__", None) or ""
    return module.endswith("._streaming") and hasattr(stream, "_iterator")


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
        return iter(self.__wrapped__)

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
        iterator: AsyncIterator[bytes] = self.__wrapped__.__aiter__()
        return iterator

    async def aclose(self) -> None:
        try:
            await self.__wrapped__.aclose()
        finally:
            _closed(self._self_closing)
