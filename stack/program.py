"""A background program: start it, wait for it, stop or kill it. Its output goes to a file."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

_STOP_TIMEOUT: Final = 20.0  # seconds before a program that was asked to stop is killed
_POLL_INTERVAL: Final = 0.05  # seconds
_LINES_SHOWN: Final = 20
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProgramError(Exception):
    """A program stopped or never became ready; the text has the last lines of its output."""


class Program:
    """A child process in its own session, so that Ctrl-C does not reach it directly.

    The program is ready when ``is_ready`` returns true. As a context manager, it is started and stopped.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        is_ready: Callable[[], bool],
        timeout: float = 60.0,
    ) -> None:
        self.name = name
        self.folder = folder
        self.output = folder / f"{name}.log"
        self._command = command
        self._environment = {**os.environ, **(environment or {})}
        self._is_ready = is_ready
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id. Raises ProgramError if the program was not started."""
        if self._process is None:
            raise ProgramError(f"{self.name} was not started.")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready. Raises ProgramError if it stops or takes too long."""
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Start it without waiting."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                self._command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - it calls no Python lock
            )

    def wait_until_ready(self) -> None:
        """Wait until it is ready, after `begin`. If it stops or takes too long, kill it and raise ProgramError."""
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask it to stop, and kill it if it does not. Does nothing if it has stopped already."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with SIGKILL, like a crash."""
        self._end(signal.SIGKILL)

    def has_ended(self) -> bool:
        """Return whether it was started and no longer runs."""
        return self._process is not None and self._process.poll() is not None

    def last_lines(self) -> str:
        """Return the last lines of its output."""
        if not self.output.exists():
            return ""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-_LINES_SHOWN:])

    def _end(self, first: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        for way in (first, signal.SIGKILL):
            if process.poll() is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(way)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_TIMEOUT)

    def _wait(self) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._is_ready():
            if self.has_ended():
                raise ProgramError(f"{self.name} stopped while starting:\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise ProgramError(f"{self.name} was not ready after {self._timeout:.0f} s:\n{self.last_lines()}")
            time.sleep(_POLL_INTERVAL)


def _end_with_parent() -> None:
    """Runs in the child before its program, so that the kernel kills the program if this process dies."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def answers(url: str) -> Callable[[], bool]:
    """Return a function that tells whether a GET of ``url`` succeeds."""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own loopback address
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return ask


def accepts(port: int) -> Callable[[], bool]:
    """Return a function that tells whether 127.0.0.1 accepts a connection on ``port``."""

    def ask() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return ask
