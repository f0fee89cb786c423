"""One program in the background: started, waited for, stopped or killed, its output in a file."""

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

_STOP_TIMEOUT: Final = 20.0  # seconds until a program that was asked to stop is killed
_POLL_INTERVAL: Final = 0.05  # seconds
_LINES_SHOWN: Final = 20
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProgramError(Exception):
    """A program ended, or never became ready; the text has the last lines of its output."""


class Program:
    """A child process in a session of its own, so that Ctrl-C reaches it through us alone.

    ``is_ready`` is asked until it is true; as a context manager the program is started and, at the end, stopped.
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
        """The process id. Raises ProgramError where it does not run."""
        if self._process is None:
            raise ProgramError(f"{self.name} was not started.")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready. Raises ProgramError where it ends or takes too long."""
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Start it and do not wait."""
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
        """Wait for what `begin` started. Raises ProgramError, and ends it, where it ends or takes too long."""
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not; nothing where it has ended already."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        self._end(signal.SIGKILL)

    def has_ended(self) -> bool:
        """Tell whether it was started and runs no more."""
        return self._process is not None and self._process.poll() is not None

    def last_lines(self) -> str:
        """Give the end of its output."""
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
                raise ProgramError(f"{self.name} ended at its start:\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise ProgramError(f"{self.name} was not ready after {self._timeout:.0f} s:\n{self.last_lines()}")
            time.sleep(_POLL_INTERVAL)


def _end_with_parent() -> None:
    """In the child, before its program: whatever kills us, nothing is left running."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def answers(url: str) -> Callable[[], bool]:
    """Give a question: does a GET of ``url`` succeed?"""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own loopback address
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return ask


def accepts(port: int) -> Callable[[], bool]:
    """Give a question: does something on 127.0.0.1 take a connection at ``port``?"""

    def ask() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return ask
