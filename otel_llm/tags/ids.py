"""Ids of calls and of output items, for those that a model writes without one.  Pure."""

from __future__ import annotations

import uuid
from secrets import choice
from string import ascii_letters, digits

_LETTERS = ascii_letters + digits


def new_id(prefix: str) -> str:
    """Such as `call_…`; servers write them like this."""
    return f"{prefix}_{uuid.uuid4().hex[:24]}"


def new_call_id() -> str:
    """An id for a call."""
    return new_id("call")


def new_short_id() -> str:
    """Nine letters and digits, as Mistral's API wants the ids of calls."""
    return "".join(choice(_LETTERS) for _ in range(9))
