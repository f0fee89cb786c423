"""Text from a model, made fit to be exported and printed.

JSON may carry half a surrogate pair (`"\\ud83d"`); Python keeps it, UTF-8 cannot, and one such character makes an
OTLP exporter lose its whole batch. Control characters forge log lines.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
# C0 and C1 controls, line and paragraph separators, and the marks that reorder what a terminal shows.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def join_surrogates(text: str) -> str:
    """Join pairs whose halves came in two deltas into the character they are."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def has_lone_surrogate(text: str) -> bool:
    """Whether a half without its other half is in `text`, pairs joined."""
    return not text.isascii() and _SURROGATE.search(join_surrogates(text)) is not None


def ends_with_half(text: str) -> bool:
    """Whether more text could make a character of the last one."""
    return "\ud800" <= text[-1:] <= "\udbff"


def starts_with_half(text: str) -> bool:
    """Whether the first character is the second half of a pair."""
    return "\udc00" <= text[:1] <= "\udfff"


def exportable(text: str) -> str:
    """`text` in which every lone surrogate is written as its escape, so that it can be encoded."""
    if text.isascii():
        return text
    return join_surrogates(text).encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """`text` in which nothing can start a new line, move the cursor or turn the direction of writing."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), exportable(text))
