"""Ends an observation when the HTTP response behind a stream is closed past its tracker.

The SDK's own helpers do that (`client.chat.completions.stream(...)` closes the response, not the stream), and so does
whoever reads a raw response as bytes. The response's byte stream is the one thing that every way of closing reaches;
it is replaced by a proxy that takes note of its closing and costs nothing while bytes flow.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from types import AsyncGeneratorType, GeneratorType
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

    __slots__ = ("_is_reading", "_observation", "_reader", "parsing")

    def __init__(self, observation: Observation) -> None:
        self._observation = weakref.ref(observation)
        self._reader: weakref.ref[Any] | None = None
        self._is_reading: Callable[[Observation], bool] | None = None
        self.parsing = False
        """Whether the body is being read for a caller who gets it parsed."""

    def read_by(self, stream: Any, is_reading: Callable[[Observation], bool]) -> None:
        """From now on `stream` reads the body, and a tracker sees how it ends.

        `is_reading`: whether the tracker is reading at this moment.
        """
        reader = own_generator(stream)
        # Held weakly: the reader holds the response, and the response holds us.
        self._reader = None if reader is None else weakref.ref(reader)
        self._is_reading = is_reading

    def __call__(self) -> None:
        observation = self._observation()
        if observation is None or observation.ended or self.parsing:
            return
        if self._is_reading is None:
            # The caller took the bytes; nothing of them came past us.
            observation.end("closed", unread=True)
        elif self._reader is None:
            # The SDK's stream is behind another library's, which hands on its end, or has chunks in hand still.
            if not self._is_reading(observation):
                observation.end("closed")
        else:
            reader = self._reader()
            running = getattr(reader, "gi_running", False) or getattr(reader, "ag_running", False)
            if reader is not None and not running:
                observation.end("closed")


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
