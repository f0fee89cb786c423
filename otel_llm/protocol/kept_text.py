"""What is kept of the text of a choice, or of its reasoning, for the diagnosis and for telemetry.  Pure.

Deltas are appended to `fresh` as they come, and joined later, up to the limit. Besides the text, what shows how it came
is kept: the first deltas, the last one, and the end of a text that is over the limit.
"""

from __future__ import annotations

from typing import Any

TAIL = 4096
"""Characters that are kept of the end of a text beyond the limit."""


class KeptText:
    """The text of one choice, or its reasoning."""

    # Defaults of the class, because most choices have no reasoning, and many no text.
    first: tuple[str, ...] = ()
    """The deltas of the first lump, each by itself; none if that is over the limit."""
    last = ""
    """The last delta; empty if its lump is over the limit."""
    length = 0
    """Characters of the text that are kept."""
    over = 0
    """Characters beyond the limit."""
    _tail = ""

    def __init__(self) -> None:
        self.fresh: list[Any] = []
        """Deltas that came since the text was last settled, as they came."""
        self.parts: list[str] = []
        """The text up to the limit, in lumps of many deltas."""

    @property
    def whole(self) -> str:
        """All text that is kept."""
        return "".join(self.parts)

    @property
    def end(self) -> str:
        """The last characters of the text, also where it is over the limit."""
        return self._tail if self.over else self.whole[-TAIL:]

    def keep(self, deltas: list[str], room: int) -> int:
        """Add deltas. Returns how many characters of the room they take."""
        text = "".join(deltas)
        if not text:
            return 0
        kept = text
        if len(text) > room:
            self._tail = (self.end + text)[-TAIL:]
            self.over += len(text) - room
            kept, self.last = text[:room], ""
        else:
            self.last = deltas[-1] or next(delta for delta in reversed(deltas) if delta)
            if not self.parts:
                self.first = tuple(deltas)
        if kept:
            self.parts.append(kept)
            self.length += len(kept)
        return len(kept)
