"""Commands that run until they are interrupted, and programs that they run."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final

_SECONDS_TO_END: Final = 5
NOT_FOUND: Final = 127  # what a shell reports for a program that it cannot start


def interruption() -> asyncio.Future[int]:
    """The number of the first SIGINT or SIGTERM that arrives from now on, instead of their usual effect."""
    loop = asyncio.get_running_loop()
    interrupted: asyncio.Future[int] = loop.create_future()

    def interrupt(number: int) -> None:
        if not interrupted.done():
            interrupted.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows, where an interrupt is an exception
            loop.add_signal_handler(number, interrupt, number)
    return interrupted


async def until_interrupted(interrupted: asyncio.Future[int], server: asyncio.Task[None]) -> int:
    """The exit status for the signal, as a shell reports it. Raises what the server failed with."""
    ends: set[asyncio.Future[Any]] = {interrupted, server}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if not interrupted.done():
        server.result()
        return 0
    return 128 + interrupted.result()


async def run_program(command: Sequence[str], environ: Mapping[str, str], interrupted: asyncio.Future[int]) -> int:
    """Run a program, and end it when this process is interrupted; the value is its exit status as a shell reports it.

    Raises OSError if it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(*command, env=environ)
    ended = asyncio.ensure_future(process.wait())
    ends: set[asyncio.Future[Any]] = {ended, interrupted}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    # An interrupt at a terminal reaches the program by itself.
    if not ended.done() and interrupted.result() == signal.SIGTERM:
        process.terminate()
    for stop in (process.terminate, process.kill):
        if not ended.done():
            await asyncio.wait({ended}, timeout=_SECONDS_TO_END)
        if not ended.done():
            stop()
    status = await ended
    return status if status >= 0 else 128 - status
