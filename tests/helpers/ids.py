"""Names of test cases that are the same in every process, which those that share the tests among them must agree on."""

from __future__ import annotations

import re
from typing import Any


def stable_id(value: Any) -> str:
    """A value as text: without the address of an object, and with a set in order."""
    text = f"{{{', '.join(map(repr, sorted(value)))}}}" if isinstance(value, (set, frozenset)) else repr(value)
    return re.sub(r" at 0x[0-9a-f]+", "", text)[:60]
