"""What commands print, also if the reader leaves before the end: `otel-llm inspect FILE | head`.

Printing to standard output then raises BrokenPipeError, which ends the command quietly, with the status that a shell
reports for a Unix tool that SIGPIPE ended. Lines on standard error are lost, and the command goes on.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console

    from otel_llm.terminal import Line

READER_GONE: Final = 141  # 128 + SIGPIPE
CANNOT_PRINT: Final = 74  # EX_IOERR of sysexits.h
_CANNOT_PRINT: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_ESCAPED: Final = "escape-for-otel-llm"
# What the commands print by themselves.
_IN_ASCII: Final = {"━": "=", "─": "-", "·": "-", "…": "...", "→": "->"}
_WIDTH: Final = 80  # columns, if the terminal claims to have none


def finished(run: Callable[[], int]) -> int:
    """The exit status of a command, when all that it printed has been written."""
    try:
        try:
            return run()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        _discard(sys.stderr)
        return READER_GONE
    except OSError as error:
        # Commands report what they cannot read or write themselves, so this is what they print.
        if error.errno not in _CANNOT_PRINT:
            raise
        _discard(sys.stdout)
        say(f"otel-llm: cannot print: {error.strerror}")
        return CANNOT_PRINT


def print_anywhere() -> None:
    """Escape what standard output cannot encode: models write every script, and code pages have few."""
    codecs.register_error(_ESCAPED, _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in {"strict", "surrogateescape"}:
        sys.stdout.reconfigure(errors=_ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = (_IN_ASCII.get(one) or one.encode("ascii", "backslashreplace").decode("ascii") for one in text)
    return "".join(plain), error.end


def say(line: str) -> None:
    """Print a line on standard error, with control characters escaped."""
    from otel_llm.protocol.unicode_text import one_line

    try:
        print(one_line(line), file=sys.stderr, flush=True)
    except BrokenPipeError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    """Let the interpreter's own flush at exit succeed; a failure would be printed and change the status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def console() -> Console:
    """A rich console on standard output. Raises ImportError if rich is not installed."""
    from rich.console import Console

    made = Console()
    # rich would exit with status 1.
    made.on_broken_pipe = _raise_broken_pipe  # type: ignore[method-assign]
    if made.width < 1:
        made.width = _WIDTH
    return made


def _raise_broken_pipe() -> None:
    raise BrokenPipeError("the reader of standard output is gone")


def line_printer() -> Callable[[Iterable[Line]], None]:
    """A function that prints lines as they are, neither wrapped nor read as markup.

    Raises ImportError if rich is not installed.
    """
    from rich.text import Text

    to = console()

    def show(lines: Iterable[Line]) -> None:
        text = Text("\n").join(Text.assemble(*line) for line in lines)
        to.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)

    return show
