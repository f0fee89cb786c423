"""Returns memory to the system that the C library keeps after large messages."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable


def _found() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # not glibc
        return None


_malloc_trim = _found()


def give_back() -> None:
    """Return free memory, which takes some milliseconds. Does nothing without glibc."""
    if _malloc_trim is not None:
        _malloc_trim(0)
