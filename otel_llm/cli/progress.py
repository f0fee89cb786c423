"""A line on a terminal that tells what a command is doing, and that the next thing printed takes the place of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from time import monotonic
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_EVERY: Final = 1.0  # seconds
_CLEAR: Final = "\r\x1b[K"
_WIDTH: Final = 79


class Progress:
    """Writes to standard error, if that and standard output are the same person's: two terminals."""

    def __init__(self, *, wanted: bool = True) -> None:
        self._to: TextIO | None = (
            sys.stderr if wanted and _is_terminal(sys.stdout) and _is_terminal(sys.stderr) else None
        )
        self._doing = ""
        self._began = 0.0
        self._is_shown = False

    def doing(self, what: str) -> None:
        """Something begins."""
        self._doing, self._began = what, monotonic()
        self._draw()

    def also(self, what: str) -> None:
        """Something happens within it."""
        self._draw(what)

    def clear(self) -> None:
        """Before anything else is printed."""
        if self._to is not None and self._is_shown:
            self._to.write(_CLEAR)
            self._to.flush()
        self._is_shown = False
        self._doing = ""

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Let the seconds count while something is done."""
        counting = None if self._to is None else asyncio.ensure_future(self._count())
        try:
            yield
        finally:
            if counting is not None:
                counting.cancel()
            self.clear()

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            self._draw()

    def _draw(self, more: str = "") -> None:
        if self._to is None or not self._doing:
            return
        seconds = int(monotonic() - self._began)
        line = f"{self._doing}  {seconds} s" if seconds else self._doing
        self._to.write(_CLEAR + f"{line}  {more}".rstrip()[:_WIDTH])
        self._to.flush()
        self._is_shown = True


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
