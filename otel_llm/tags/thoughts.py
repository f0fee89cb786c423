"""The thoughts of a model that are marked in a text, and the code in it.  Pure.

How a text is read:

- Code is a span in backticks, a fence, or an indented block. What stands in it is only mentioned.
- Which marks count is decided in `thought_marks.py`, as in a stream.
- Thoughts that are never closed go on to the end of the text.
- A closing mark without an opening one ends thoughts that the chat template opened: all text before it is thoughts.
- A mark that the text around it shows to be its subject is only mentioned (see `mentions.py`). A stream cannot wait for
  all of that.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from otel_llm.tags.mentions import (
    CODE,
    is_defined_below,
    is_explained,
    is_labelled,
    is_named,
    is_set_apart,
    is_subject,
    is_told_below,
    is_type_argument,
    line_around,
    without_head,
)
from otel_llm.tags.thought_marks import (
    ABOVE,
    AT_START,
    CLOSING_MARKS,
    DETAILS,
    MOST_SUFFIX,
    NEAR,
    SUFFIXED,
    THOUGHT_MARKS,
    BacktickCount,
    closes,
    closing_of,
    opens,
    stops_of,
)

_KNOWN = sorted(map(re.escape, {*THOUGHT_MARKS, *CLOSING_MARKS} - AT_START), key=len, reverse=True)
_MARK = re.compile(
    "|".join((rf"</?think:[\w.\-]{{0,{MOST_SUFFIX}}}>", *_KNOWN, *(rf"\A{re.escape(mark)}" for mark in AT_START)))
)
_PLACES = re.compile(rf"(?P<mark>{_MARK.pattern})|(?P<ticks>`+|~~~+)|\n(?=    |\t)|\A(?=    |\t)")
# What may stand before the first word of a line.
_HEAD = re.compile(r"[ \t>*+\-#]*(?:\d+[.)][ \t]*)?")
_INDENTED = re.compile(r"(?:(?: {4}|\t)[^\n]*\n?|[ \t]*\n)+")
# Two marks that are items of a list, one below the other.
_NEXT_ITEM = re.compile(r"[ \t]*\n[ \t]*(?:[-*+•–]|\d+[.)])[ \t]+")


# Marks that are words in brackets, as a label may be.
_WORDS = frozenset({"[THINK]"})


class Thought(NamedTuple):
    """Thoughts in a text: from `start` to `end`, with the marks. `mark`: the one that shows it, empty if none does."""

    start: int
    end: int
    inner: str
    mark: str


class Layout(NamedTuple):
    """A text by its parts. `plain` is the text with `CODE` in place of code, and of the same length."""

    plain: str
    thoughts: tuple[Thought, ...]

    def without_thoughts(self, text: str) -> str:
        """`text` without its thoughts, a line break in place of each."""
        parts: list[str] = []
        place = 0
        for thought in self.thoughts:
            parts.append(text[place : thought.start])
            place = thought.end
        parts.append(text[place:])
        return "\n".join(part for part in parts if part.strip() or part is parts[-1])


def may_hold_thoughts(text: str) -> bool:
    """Whether there is any mark in the text, mentioned or not."""
    return _MARK.search(text) is not None


def read_layout(text: str) -> Layout:
    reader = _Reader(text)
    reader.read()
    return Layout(reader.plain, tuple(reader.thoughts))


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self.thoughts: list[Thought] = []
        self._code: list[tuple[int, int]] = []
        self._line_end = -1
        # The closing mark of an opening one that is only mentioned, and the end of its line.
        self._mentioned = ("", 0)
        # Closing marks that do not come any more.
        self._over: set[str] = set()
        # The open `<details>` elements, up to a place.
        self._details = self._counted = 0

    @property
    def plain(self) -> str:
        parts: list[str] = []
        place = 0
        for start, end in self._code:
            code = "\n".join(CODE * len(line) for line in self._text[start:end].split("\n"))
            parts += (self._text[place:start], code)
            place = end
        return "".join((*parts, self._text[place:]))

    def read(self) -> None:
        place = 0
        while (match := _PLACES.search(self._text, place)) is not None:
            start, end = match.span()
            mark = match["mark"]
            if mark is None:
                end = self._code_at(start, end, match["ticks"])
            elif mark in THOUGHT_MARKS or mark.startswith(SUFFIXED):
                end = self._opening(start, end, mark)
            else:
                self._closing(start, end, mark)
            place = max(end, place + 1) if end == start else end

    def _code_at(self, start: int, end: int, ticks: str | None) -> int:
        """Read the code at this place, if there is any. Returns where to read on."""
        text = self._text
        if ticks is None:
            # An indented block begins the text, or stands behind an empty line.
            if start and line_around(text, start, start)[0].strip():
                return end
            block = _INDENTED.match(text, end)
            if block is None:
                return end
            self._code.append((end, block.end()))
            # Its last line break may begin another.
            return max(end, block.end() - 1)
        line_end = self._end_of_line(end)
        begins_line = len(ticks) >= 3 and _HEAD.fullmatch(line_around(text, start, start)[0])
        if begins_line and "`" not in text[end : min(line_end, end + NEAR)]:
            closing = re.compile(
                rf"^[ \t>]*{ticks[0]}{{{min(len(ticks), 99)},}}[ \t]*(?:$|(?=<[|｜/]))", re.MULTILINE
            ).search(text, line_end)
            stop = len(text) if closing is None else closing.end()
        elif ticks[0] == "`":
            stop = text.find(ticks, end, line_end)
            stop = end if stop < 0 else stop + len(ticks)
        else:
            stop = end
        if stop > end:
            self._code.append((start, stop))
        return stop

    def _end_of_line(self, place: int) -> int:
        if self._line_end < place:
            line_end = self._text.find("\n", place)
            self._line_end = len(self._text) if line_end < 0 else line_end
        return self._line_end

    def _counts(self, start: int, end: int, mark: str, *, opening: bool) -> bool:
        text = self._text
        before, _ = line_around(text, start, start)
        behind = self.thoughts[-1].end if self.thoughts else 0
        line = before if behind < start - len(before) else text[behind:start]
        after = text[end : end + NEAR]
        if not opening:
            above = text[max(behind, start - ABOVE) : start]
            return closes(above, line, after, begins_line=not line.strip(), ended=True) is True
        return opens(mark, line, after, begins_line=not line.strip(), ended=True) is True

    def _opening(self, start: int, end: int, mark: str) -> int:
        """Read the thoughts that `mark` may open. Returns where to read on."""
        text = self._text
        closing = closing_of(mark)
        if not self._counts(start, end, mark, opening=True) or self._is_subject(start, end, closing):
            self._mentioned = (closing, self._end_of_line(end))
            return end
        words = (closing, *stops_of(closing), *([DETAILS[1]] if self._in_details(start) else []))
        backticks = BacktickCount()
        place = end
        while closing not in self._over:
            match = _any_of(words).search(text, place)
            if match is None:
                self._over.add(closing)
                break
            backticks.add(text[place : match.start()])
            if match.group() != closing:
                # The mark belongs to what follows.
                self.thoughts.append(Thought(start, match.start(), text[end : match.start()], mark))
                return match.start()
            if not (backticks.may_hold_mark and text[match.end() : match.end() + 1] == "`"):
                self.thoughts.append(Thought(start, match.end(), text[end : match.start()], mark))
                return match.end()
            backticks.add(closing)
            place = match.end()
        if mark in _WORDS and text[end : end + 1] == " ":
            # Models write their thoughts right behind this one, and people write it too: `[THINK] about it.`
            return end
        # Thoughts that were not finished.
        self.thoughts.append(Thought(start, len(text), text[end:], mark))
        return len(text)

    def _in_details(self, place: int) -> bool:
        """Whether there is an open `<details>` element around `place`."""
        opening, closing = DETAILS
        before = self._text[self._counted : place]
        self._details = max(self._details + before.count(opening) - before.count(closing), 0)
        self._counted = place
        return self._details > 0

    def _is_subject(self, start: int, end: int, closing: str) -> bool:
        """Whether the text is about an opening mark, or about it and its closing one."""
        text = self._text
        if self.thoughts and self.thoughts[-1].end == start:
            return False
        before, after = line_around(text, start, end)
        close = text.find(closing, end, self._end_of_line(end))
        if close < 0:
            item = _NEXT_ITEM.match(text, end)
            if item is not None and text.startswith(closing, item.end()) and without_head(before)[1]:
                return True
            return self._is_mentioned(start, end, before, after)
        stop = close + len(closing)
        if is_set_apart(text, start, stop, before, line_around(text, stop, stop)[1]):
            return True
        may_be = not text[end:close].strip() or is_subject(after, of_cjk=True)
        return may_be and is_subject(text[stop : stop + NEAR], of_cjk=True)

    def _is_mentioned(self, start: int, end: int, before: str, after: str) -> bool:
        text = self._text
        if is_set_apart(text, start, end, before, after) or is_type_argument(text, start, end):
            return True
        if is_named(before) or is_labelled(text, start, end, before):
            return True
        said, is_item = without_head(before)
        if said.strip():
            return False
        if after.strip():
            return is_explained(after)
        return is_item or is_defined_below(text, end) or is_told_below(text, end)

    def _closing(self, start: int, end: int, mark: str) -> None:
        mentioned, line_end = self._mentioned
        if mark == mentioned and start < line_end:
            self._mentioned = ("", 0)
        elif self._counts(start, end, mark, opening=False):
            before, after = line_around(self._text, start, end)
            if is_subject(after, of_cjk=True) or self._is_mentioned(start, end, before, after):
                return
            behind = self.thoughts[-1].end if self.thoughts else 0
            self.thoughts.append(Thought(behind, end, self._text[behind:start], mark))


@lru_cache(maxsize=64)
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, words)))
