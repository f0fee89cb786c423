"""The words of details.  Pure.

Positions in a detail are offsets: characters and bytes count from 0. `character 6 of 6` is the end of the text.
"""

from __future__ import annotations

from collections.abc import Sequence

from otel_llm.protocol.unicode_text import one_line


def number(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shown(text: str | None, absent: str = "a call without one") -> str:
    """A name or an id, in one line and not too long."""
    return absent if text is None else one_line(text[:80])


def listed(texts: Sequence[str]) -> str:
    """Names or ids, the first of them if there are many."""
    named = ", ".join(shown(text) for text in texts[:4])
    return named if len(texts) <= 4 else f"{named} and {len(texts) - 4} more"
