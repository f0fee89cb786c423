"""Ids of calls and of output items, for those that a model writes without one.  Pure."""

from __future__ import annotations

import uuid


def new_id(prefix: str) -> str:
    """Such as `call_…`; servers write them like this."""
    return f"{prefix}_{uuid.uuid4().hex[:24]}"
