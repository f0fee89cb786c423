"""When a server is too busy to be judged, and how long to wait before it is asked again.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from otel_llm.protocol.fields import field, text_of

MOST_TRIES = 3
LONGEST_WAIT = 30.0  # seconds; a server that wants more is not waited for
LONGEST_WAITS = 120.0  # seconds, of all requests together
_WAITS = (0.5, 1.0)  # seconds, where the server names no time

# Of a limit, or of a gateway that does not reach the server. 500 is the server's own.
_BUSY = frozenset({408, 425, 429, 502, 503, 504, *range(520, 528), 529, 530})
_BUSY_WORDS = ("rate_limit", "ratelimit", "overloaded", "too_many_requests", "unavailable", "capacity", "bad_gateway")


def is_busy(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a status says nothing about the server's tool calling."""
    return status in _BUSY or (status >= 500 and "retry-after" in headers)


def says_busy(error: Any) -> bool:
    """Whether an error that a gateway tells within a stream is of that kind."""
    for name in ("code", "status", "type"):
        value = field(error, name)
        number = int(value) if isinstance(value, str) and value.isdigit() and len(value) == 3 else value
        if isinstance(number, int) and number in _BUSY:
            return True
        words = (text_of(value) or "").lower().replace(" ", "_")
        if any(word in words for word in _BUSY_WORDS):
            return True
    return False


def named_wait(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that the server asks to wait, None if it names no time. `now`: seconds since 1970."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if seconds >= 0:
            return seconds
    try:
        # By the server's own clock, if it tells it.
        told = headers.get("date")
        clock = now if told is None else parsedate_to_datetime(told).timestamp()
    except (ValueError, OverflowError):
        clock = now
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - clock)
    except (KeyError, ValueError, OverflowError):
        return None


def wait_before(attempt: int, named: float | None, waited: float) -> float | None:
    """The seconds to wait before try number `attempt`, None to leave it. `waited`: by all requests so far."""
    if attempt > MOST_TRIES:
        return None
    seconds = _WAITS[min(attempt - 2, len(_WAITS) - 1)] if named is None else named
    return seconds if seconds <= LONGEST_WAIT and waited + seconds <= LONGEST_WAITS else None
