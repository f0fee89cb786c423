"""Faults of this package are logged once per kind and swallowed: the application never notices."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    _Args = TypeVarTuple("_Args")
_T = TypeVar("_T")

_logger = logging.getLogger("otel_llm")
_reported: set[tuple[str, str]] = set()
# There are few kinds, but exception types made at run time must not let the set grow without bound.
_MOST_KINDS = 256

observers: list[Callable[[str, BaseException], object]] = []
"""Called with every fault, logged or not, in the thread where it happened. This package's own tests fail by it."""


def swallow(where: str, fault: BaseException) -> None:
    """Log the first fault of its type at `where` as a warning, with its traceback. Never raises."""
    try:
        for observer in observers:
            observer(where, fault)
        kind = (where, type(fault).__qualname__)
        if kind in _reported or len(_reported) >= _MOST_KINDS:
            return
        _reported.add(kind)
        _logger.warning(
            "otel-llm failed in %s and went on without it; the application is not affected. Reported once per kind.",
            where,
            exc_info=fault,
        )
    except Exception:  # noqa: BLE001, S110  a logging handler may be what is broken
        pass


def attempt(where: str, function: Callable[[Unpack[_Args]], _T], /, *args: Unpack[_Args]) -> _T | None:
    """Return what `function` returns, or None if it raises; the fault is swallowed."""
    try:
        return function(*args)
    except Exception as fault:  # noqa: BLE001
        swallow(where, fault)
        return None
