"""Whether a text begins inside of the model's thoughts, and whether its thoughts leave it.  Pure.

A chat template may open the thoughts, and then the text has only their closing mark. A whole text shows it; a stream
does not show it until the mark comes. So what a model's responses showed is remembered for its next streams.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

from otel_llm.protocol.fields import text_of
from otel_llm.protocol.request import Tool
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.thought_marks import CLOSING_MARKS, SUFFIXED_CLOSING

Reasoning = Literal["auto", "opened", "keep"]
"""`auto`: a text begins inside of thoughts if earlier ones of the model did, or if it shows it itself. `opened`: every
text does. `keep`: as `auto`, but thoughts stay in the text."""

_MOST_MODELS = 256
_CLOSING = re.compile("|".join(map(re.escape, (*CLOSING_MARKS, SUFFIXED_CLOSING))))


class KnownBeginnings:
    """The closing mark of the thoughts that the last text of a model began inside of, for each model that did.

    `key`: what tells models apart, such as the server, the name, and what the request says of thinking.
    """

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: dict[Hashable, str] = {}

    def mark_of(self, key: Hashable) -> str | None:
        return self._marks.get(key)

    def learn(self, key: Hashable, mark: str | None) -> None:
        """What the last text showed; None if it began outside of thoughts."""
        marks = self._marks
        if mark is None:
            marks.pop(key, None)
            return
        if len(marks) >= _MOST_MODELS and key not in marks:
            # The one known longest. Another thread may have taken it, or added one.
            marks.pop(next(iter([*marks]), key), None)
        marks[key] = mark


class ThoughtReading:
    """How the texts of one response are read.

    `beginnings`: what is remembered of models, and `key`: which one this is. `may_move`: False if the application
    wants thoughts in the text.
    """

    __slots__ = ("_beginnings", "_key", "_option", "is_told", "moves")

    def __init__(
        self,
        option: Reasoning = "auto",
        beginnings: KnownBeginnings | None = None,
        key: Hashable = None,
        *,
        may_move: bool = True,
    ) -> None:
        self._option = option
        self._beginnings = KnownBeginnings() if beginnings is None else beginnings
        self._key = key
        self.moves = may_move and option != "keep"
        """Whether thoughts leave the text, if the target has a field for them."""
        self.is_told = option == "opened"
        """Whether the application says that texts begin inside of thoughts. Otherwise it is a guess."""

    def of_stream(self) -> Sequence[str]:
        """The closing marks of the thoughts that a text begins inside of, as far as that is known before it comes."""
        if self._option == "opened":
            return CLOSING_MARKS
        mark = self._beginnings.mark_of(self._key)
        return () if mark is None else (mark,)

    def of_whole(self, text: str, tools: Mapping[str, Tool] | None, finish_reason: object) -> Sequence[str]:
        """The same for a whole text, which says itself whether it has such a mark. If it was cut off, it may not."""
        if self._option == "opened":
            return CLOSING_MARKS
        mark = _lone_closing(text, tools)
        if mark is None and (finish_reason == "length" or not text.strip()):
            return self.of_stream()
        self._beginnings.learn(self._key, mark)
        return () if mark is None else (mark,)

    def learn(self, scanner: Scanner, finish_reason: object) -> None:
        """Remember what a stream showed, at its end. `finish_reason`: None if it has none."""
        if self._option == "opened":
            return
        if scanner.lone_closing is not None:
            self._beginnings.learn(self._key, scanner.lone_closing)
            return
        # A server may send anything in its place.
        is_whole = finish_reason is not None and text_of(finish_reason) != "length"
        if is_whole and scanner.lacks_thoughts:
            self._beginnings.learn(self._key, None)


def _lone_closing(text: str, tools: Mapping[str, Tool] | None) -> str | None:
    """The first closing mark that nothing in the text opened."""
    if _CLOSING.search(text) is None:
        return None
    scanner = Scanner(tools)
    scanner.feed(text)
    scanner.flush()
    return scanner.lone_closing
