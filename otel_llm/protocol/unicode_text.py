"""Makes text from a model safe to export and to print.  Pure.

JSON can carry half of a surrogate pair (`"\\ud83d"`). Python keeps it, but UTF-8 has no form for it, and one such
character makes an OTLP exporter lose its whole batch. Control characters can forge log lines.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
# C0 and C1 controls, line and paragraph separators, and marks that change the direction of text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def join_surrogates(text: str) -> str:
    """Join surrogate pairs, whose halves may have come in two deltas, into characters."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def has_lone_surrogate(text: str) -> bool:
    """Whether `text` has a surrogate without its other half."""
    return not text.isascii() and _SURROGATE.search(join_surrogates(text)) is not None


def ends_with_half(text: str) -> bool:
    """Whether the last character is the first half of a pair, which more text may complete."""
    return "\ud800" <= text[-1:] <= "\udbff"


def starts_with_half(text: str) -> bool:
    """Whether the first character is the second half of a pair."""
    return "\udc00" <= text[:1] <= "\udfff"


def exportable(text: str) -> str:
    """`text` with lone surrogates escaped, so that it can be encoded as UTF-8."""
    if text.isascii():
        return text
    return join_surrogates(text).encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """`text` with control characters escaped, so that it cannot start a line, move a cursor or change direction."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), exportable(text))
