"""From request bodies to the store: one thread decodes and writes, and commits waiting requests together."""

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
    """Stores the requests of exporters. `notify` is called in the event loop with the summaries of what was stored."""

    def __init__(self, store: Store, notify: Callable[[Summaries], None]) -> None:
        self._store = store
        self._notify = notify
        self._waiting: deque[tuple[Callable[[], ExportTraceServiceRequest], asyncio.Future[Summaries]]] = deque()
        self._thread = ThreadPoolExecutor(1, "otel-llm-intake")
        self._giving_back: asyncio.TimerHandle | None = None

    async def take(self, decode: Callable[[], ExportTraceServiceRequest]) -> Summaries:
        """Store what `decode` returns, which runs in the thread. The spans are committed when this returns.

        Raises RefusedError for every failure.
        """
        future: asyncio.Future[Summaries] = asyncio.get_running_loop().create_future()
        self._waiting.append((decode, future))
        self._thread.submit(self._work, asyncio.get_running_loop())
        try:
            return await future
        finally:
            # Decoded requests take several times the memory of their bodies.
            if self._giving_back is None:
                loop = asyncio.get_running_loop()
                self._giving_back = loop.call_later(_SECONDS_TO_GIVE_BACK, self._give_back)

    async def clear(self) -> None:
        """Delete everything that was stored."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.clear)

    def close(self) -> None:
        """Store what is waiting, and close the store."""
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
            except Exception as error:  # noqa: BLE001 - one request must not stop the others
                _log.exception("a request could not be read")
                _settle(loop, future, RefusedError(500, f"{type(error).__name__} while reading the request."))
        if not ready:
            return
        try:
            self._store.add([one for _, prepared in ready for one in prepared])
        except Exception as error:  # noqa: BLE001 - every waiting client gets an answer
            if not isinstance(error, sqlite3.Error):
                _log.exception("spans could not be stored")
            for future, _ in ready:
                _settle(loop, future, RefusedError(503, f"The store cannot be written: {error}"))
            return
        for future, prepared in ready:
            summaries = [one.summary for one in prepared if one.summary is not None]
            _settle(loop, future, summaries)
            if summaries:
                loop.call_soon_threadsafe(self._notify, summaries)


def _settle(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Summaries],
    result: Sequence[Mapping[str, Any]] | RefusedError,
) -> None:
    def settle() -> None:
        if future.done():  # its client has disconnected
            return
        if isinstance(result, RefusedError):
            future.set_exception(result)
        else:
            future.set_result(list(result))

    loop.call_soon_threadsafe(settle)
