"""Threads for what would hold up the event loop: long bodies to read, spans of long responses to end, files to write.

Each runs one thing after the other, so what belongs to one exchange keeps its order.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from otel_llm.transparency.faults import swallow

_T = TypeVar("_T")
_MOST_WAITING = 64 * 1_048_576  # bytes


class Background:
    """One thread. `close` waits for what it was given."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[Callable[[], object], int] | None] = SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def post(self, function: Callable[[], object], size: int = 0) -> bool:
        """Run a function later. `size`: the bytes that it holds. False, and it is not run, if too many wait already."""
        with self._lock:
            if size and self._waiting + size > _MOST_WAITING:
                return False
            self._waiting += size
        self._queue.put((function, size))
        return True

    def run(self, function: Callable[[], _T], then: Callable[[_T], object]) -> None:
        """Run a function there, then `then` with its result in the event loop. `function` must not raise."""
        loop = asyncio.get_running_loop()

        def work() -> None:
            result = function()
            loop.call_soon_threadsafe(then, result)

        self.post(work)

    def close(self, seconds: float) -> None:
        self._queue.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            function, size = job
            try:
                function()
            except Exception as fault:  # noqa: BLE001
                swallow("a task in the background", fault)
            del function, job
            with self._lock:
                self._waiting -= size
