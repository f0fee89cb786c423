"""Bounds what a hostile text costs at the end of a stream: one of nothing but marks is judged in part.  Pure."""

from __future__ import annotations

# What each costs, as measured, in units of a bracket. In a text of a model, there is one unit in some characters.
_COSTS = {
    "<": 8,
    "`": 12,
    "~": 8,
    "[": 8,
    "]": 2,
    "{": 4,
    "}": 1,
    '"': 1,
    "\uff5c": 8,
    "\u25c1": 16,
    "\n\t": 8,
    "\n ": 4,
    # Parts of tokens and marks, which cost more than other tags.
    "<|": 40,
    **dict.fromkeys(("hink", "hought", "THINK", "easoning>"), 48),
    **dict.fromkeys(("</s>", "<s>", "tool", "function", "param", "invoke", "arg_"), 36),
    **dict.fromkeys(("INST", "SYS>", "_of_", "os>", "pad>", "unused", "TOOL", "DSML", "escape>", "gMASK"), 16),
}
_MOST = 330_000
_DEAREST = max(_COSTS.values())
_SLICE = 4_096


# Each line of a fence is two pieces, and each mark outside of code that begins no call is one of a single character,
# which costs more.
_MOST_PIECES = 40_000
_MOST_FAILED = 12_000


class Budget:
    """What the texts of one response may cost together, so that a hostile text is not judged once for each choice.

    `pieces` and `failed` are for the search for calls: pieces that are still to be read, and readings in vain.
    """

    __slots__ = ("_left", "_uncounted", "failed", "pieces")

    def __init__(self) -> None:
        self.pieces = _MOST_PIECES
        self.failed = _MOST_FAILED
        self._left = _MOST
        # A short text that is judged whole, and counted only if there is another one.
        self._uncounted = ""

    def judged_part(self, text: str) -> str:
        """The text up to where the marks are too many. That is all of it, except for hostile texts."""
        if self._left == _MOST and not self._uncounted and len(text) * _DEAREST <= _MOST:
            self._uncounted = text
            return text
        self._left -= _cost(self._uncounted)
        self._uncounted = ""
        cost = _cost(text)
        if cost <= self._left:
            self._left -= cost
            return text
        place = 0
        while place < len(text) and self._left > 0:
            self._left -= _cost(text[place : place + _SLICE])
            place += _SLICE
        return text[:place]


def judged_part(text: str) -> str:
    """The same for one text by itself."""
    return Budget().judged_part(text)


def _cost(text: str) -> int:
    return sum(text.count(mark) * cost for mark, cost in _COSTS.items())
