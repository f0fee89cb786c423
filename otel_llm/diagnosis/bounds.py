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
_SLICE = 4_096


def judged_part(text: str) -> str:
    """The text up to where its marks are too many. That is all of it, except for hostile texts."""
    if len(text) * max(_COSTS.values()) <= _MOST or _cost(text) <= _MOST:
        return text
    left, place = _MOST, 0
    while place < len(text) and left > 0:
        left -= _cost(text[place : place + _SLICE])
        place += _SLICE
    return text[:place]


def _cost(text: str) -> int:
    return sum(text.count(mark) * cost for mark, cost in _COSTS.items())
