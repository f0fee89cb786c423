"""From bodies to the store: one thread decodes and writes, and what waits is committed together."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from otel_llm.protocol.errors import UnreadableError
from otel_llm.view import memory, spans
from otel_llm.view.http import RefusedError
from otel_llm.view.store import Prepared, Store, prepare

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Summaries = list[Mapping[str, Any]]

_log = logging.getLogger("otel_llm.view")
_MOST_TOGETHER = 64  # requests of exporters in one transaction
_SECONDS_TO_GIVE_BACK = 1.0


class Intake:
    """Takes requests of exporters. `told` is called in the loop with the summaries of what was stored."""

    def __init__(self, store: Store, told: Callable[[Summaries], None]) -> None:
        self._store = store
        self._told = told
        self._waiting: deque[tuple[Callable[[], ExportTraceServiceRequest], asyncio.Future[Summaries]]] = deque()
        self._thread = ThreadPoolExecutor(1, "otel-llm-intake")
        self._giving_back: asyncio.TimerHandle | None = None

    async def take(self, decode: Callable[[], ExportTraceServiceRequest]) -> Summaries:
        """Store what `decode` gives; it runs in the thread. What is returned is on the disk.

        Raises RefusedError, whatever went wrong.
        """
        future: asyncio.Future[Summaries] = asyncio.get_running_loop().create_future()
        self._waiting.append((decode, future))
        self._thread.submit(self._work, asyncio.get_running_loop())
        try:
            return await future
        finally:
            # Bodies are held until they are answered, and take several times as much when they are decoded.
            if self._giving_back is None:
                loop = asyncio.get_running_loop()
                self._giving_back = loop.call_later(_SECONDS_TO_GIVE_BACK, self._give_back)

    async def clear(self) -> None:
        """Forget everything that was stored."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.clear)

    def close(self) -> None:
        """Waits for what was taken."""
        if self._giving_back is not None:
            self._giving_back.cancel()
        self._thread.shutdown()
        self._store.close()

    def _give_back(self) -> None:
        self._giving_back = None
        self._thread.submit(memory.give_back)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        ready: list[tuple[asyncio.Future[Summaries], list[Prepared]]] = []
        while self._waiting and len(ready) < _MOST_TOGETHER:
            decode, future = self._waiting.popleft()
            try:
                ready.append((future, [prepare(single) for single in spans.single_spans(decode())]))
            except UnreadableError as error:
                _settle(loop, future, RefusedError(400, str(error)))
            except RefusedError as error:
                _settle(loop, future, error)
            except Exception as error:  # noqa: BLE001 - a fault of ours, with one request
                _log.exception("a request could not be read")
                _settle(loop, future, RefusedError(500, f"{type(error).__name__} while the request was read."))
        if not ready:
            return
        try:
            self._store.add([one for _, prepared in ready for one in prepared])
        except Exception as error:  # noqa: BLE001 - whoever waits must be told
            if not isinstance(error, sqlite3.Error):
                _log.exception("spans could not be stored")
            for future, _ in ready:
                _settle(loop, future, RefusedError(503, f"The store cannot be written: {error}"))
            return
        for future, prepared in ready:
            summaries = [one.summary for one in prepared if one.summary is not None]
            _settle(loop, future, summaries)
            if summaries:
                loop.call_soon_threadsafe(self._told, summaries)


def _settle(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Summaries],
    result: Sequence[Mapping[str, Any]] | RefusedError,
) -> None:
    def settle() -> None:
        if future.done():  # its client is gone
            return
        if isinstance(result, RefusedError):
            future.set_exception(result)
        else:
            future.set_result(list(result))

    loop.call_soon_threadsafe(settle)
