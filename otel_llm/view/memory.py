"""Memory that the C library keeps after large messages, given back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable


def _found() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library than glibc
        return None


_malloc_trim = _found()


def give_back() -> None:
    """Give back what is free; it takes some milliseconds. Of C libraries only glibc has a call for it."""
    if _malloc_trim is not None:
        _malloc_trim(0)
