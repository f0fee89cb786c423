"""Several processes that serve the same port. The kernel spreads connections among their sockets.

This process keeps the sockets, so that connections wait for a worker that is started anew, and hands signals on.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from otel_llm.proxy.configuration import Configuration
from otel_llm.proxy.running import run_process

if TYPE_CHECKING:
    import socket
    from multiprocessing.context import SpawnProcess

# A worker that ends sooner is started again only after so long.
_SECONDS_BETWEEN_STARTS = 1.0
_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_workers(
    configuration: Configuration,
    listeners: Sequence[socket.socket],
    reload: Callable[[], Configuration],
    tell: Callable[[str], None],
) -> int:
    """Run a worker for each socket until SIGTERM or an interrupt. The functions must be such that can be pickled."""
    context = multiprocessing.get_context("spawn")
    workers: list[SpawnProcess] = []
    ended_by: list[int] = []

    def hand_on(number: int, _frame: object) -> None:
        if number != signal.SIGHUP:
            ended_by.append(number)
        for worker in workers:
            if worker.pid is not None and worker.exitcode is None:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    def start(listener: socket.socket) -> SpawnProcess:
        worker = context.Process(target=_work, args=(configuration, listener, reload, tell))
        worker.start()
        return worker

    for number in _HANDED_ON:
        signal.signal(number, hand_on)
    workers += [start(listener) for listener in listeners]
    started = [time.monotonic()] * len(workers)
    if ended_by:
        hand_on(ended_by[-1], None)
    while not ended_by or any(worker.exitcode is None for worker in workers):
        multiprocessing.connection.wait([one.sentinel for one in workers if one.exitcode is None], timeout=1)
        for place, worker in enumerate(workers):
            if worker.exitcode is None or ended_by:
                continue
            if time.monotonic() - started[place] < _SECONDS_BETWEEN_STARTS:
                time.sleep(_SECONDS_BETWEEN_STARTS)
            tell(f"a worker ended with status {worker.exitcode} and is started again")
            workers[place], started[place] = start(listeners[place]), time.monotonic()
            if ended_by:
                # The signal came before this worker was there to be told.
                hand_on(ended_by[-1], None)
    return 130 if ended_by[0] == signal.SIGINT else 0


def _work(
    configuration: Configuration,
    listener: socket.socket,
    reload: Callable[[], Configuration],
    tell: Callable[[str], None],
) -> None:
    # A signal for the group, as Ctrl-C in a terminal, would come twice, and the second one ends streams at once.
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    raise SystemExit(run_process(configuration, [listener], reload, tell))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
