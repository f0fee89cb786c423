"""How the details of anomalies are worded.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from otel_llm.protocol.unicode_text import one_line


def number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shown(text: str | None) -> str:
    """A name or an id, cut, on one line."""
    return "a call without one" if text is None else one_line(text[:80])


def listed(texts: Sequence[str]) -> str:
    """The first names or ids, and how many there are besides."""
    first = ", ".join(shown(text) for text in texts[:4])
    return first if len(texts) <= 4 else f"{first} and {len(texts) - 4} more"
