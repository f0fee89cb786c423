"""Tells calls that a text only shows, in quotes or within a sentence about them, from those of a model.  Pure.

What stands before a call says whether it may be shown. Only what follows it can tell, so such calls are held back, up
to a limit.
"""

from __future__ import annotations

import re
from typing import Protocol

from otel_llm.tags.cursor import Cursor, Step
from otel_llm.tags.pieces import Piece, PieceBuffer

_MOST_HELD = 65_536
# Quotes before a call, and those behind it that close them.
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "„": "“”", "«": "»", "‹": "›", "「": "」", "『": "』"}
# Words before a call that is only shown.
_SHOWS = re.compile(
    r"(?i:\b(?:looks?|looked|written|formatted|something)(?: \w+){0,3} (?:like|as|so)|\b(?:such as|for example"
    r"|for instance|e\.g\.|i\.e\.|namely|the (?:form|format|syntax|shape|pattern|template)(?: \w+){0,2}"
    r"|an? (?:string|text|message|line|call) (?:like|such as|of the form)|like this|as follows"
    r"|(?:model|models|LLM|assistant|template|it|they|you)(?: (?:can|could|may|must|should|would))?"
    r" (?:writes?|emits?|prints?|outputs?|generates?|produces?)"
    r"|zum Beispiel|z\. ?B\.|par exemple|por ejemplo))[,:]?[ \t]+$"
)


class _Scanner(Protocol):
    @property
    def left(self) -> int: ...
    def feed(self, text: str) -> list[Piece]: ...
    def flush(self) -> list[Piece]: ...


def may_be_shown(before: str) -> bool:
    """Whether the line before a call opens a quote, or says that something is written so."""
    last = before[-1:]
    return last in _QUOTES or (last.isspace() and _SHOWS.search(before) is not None)


def _is_shown(before: str, behind: str) -> bool | None:
    """Whether calls with this before them in their line, and this behind them, stand in quotes or within a sentence.
    None: more text decides. Some models put all they write in quotes.
    """
    quote = _QUOTES.get(before[-1:])
    if quote is not None:
        rest = behind.lstrip()
        if not rest or rest[0] not in quote:
            return False if rest else None
        if before[:-1].strip():
            return True
        behind = rest[1:]
    line = behind.lstrip(" \t")
    return (line[0].isalnum() or line[0] in ",;.!?)") if line else None


def shown_calls(cursor: Cursor, out: PieceBuffer, scanner: _Scanner, start: int) -> Step[bool]:
    """Read calls that `may_be_shown` as text, if they are shown. If not, read nothing.

    `start`: where they begin, before what was read of them. `scanner`: reads them, as those of a line behind text.
    """
    before = out.line_before
    place = cursor.mark()
    cursor.rewind(start)
    read, behind, is_over = 0, "", False
    are_shown: bool | None = None
    while are_shown is None and read < _MOST_HELD:
        while not cursor.waiting and not cursor.ended:
            yield
        # One after the other, so that its place is known when a piece decides.
        character = cursor.take(1)
        read += len(character)
        pieces = scanner.feed(character) if character else scanner.flush()
        for kind, text, call in pieces:
            if call is not None:
                behind, is_over, are_shown = "", kind == "end", None
            elif is_over and kind == "text":
                behind += text
                are_shown = _is_shown(before, behind)
            else:
                are_shown = False
        if not character:
            break
    if not are_shown:
        cursor.rewind(place)
        return False
    cursor.rewind(start)
    text = cursor.take(read - scanner.left - len(behind))
    cursor.settle()
    out.text(text)
    return True
