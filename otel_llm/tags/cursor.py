"""Reading a text that is still coming.  Pure.

A grammar is a generator: it takes what has come and yields where it must know more. What it takes is not searched
again, so reading is linear however the text is cut; and because it waits wherever the text so far leaves a choice, the
way it is cut cannot change what is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from typing import TypeVar

_T = TypeVar("_T")
# A part of a grammar: yields to wait for more text, returns what it read.
Step = Generator[None, None, _T]

# White space that may stand in markup; more than that is no markup.
_MOST_WHITE = 1024
_WHITE = re.compile(r"\s*")


class Cursor:
    """What has come and is not read yet; and, between `mark` and `settle`, what was read and may be given back."""

    __slots__ = ("_keeping", "_kept", "ended", "position", "text")

    def __init__(self) -> None:
        self.text = ""
        self.position = 0
        self.ended = False
        """Whether no more text comes."""
        self._kept: list[str] = []
        self._keeping = False

    def feed(self, chunk: str) -> None:
        self.text = self.text[self.position :] + chunk
        self.position = 0

    def take(self, length: int) -> str:
        piece = self.text[self.position : self.position + length]
        self.position += len(piece)
        if self._keeping:
            self._kept.append(piece)
        return piece

    def mark(self) -> int:
        """A place to come back to with `rewind`."""
        self._keeping = True
        return len(self._kept)

    def rewind(self, mark: int) -> None:
        """Give back what was read since `mark`, to be read again."""
        returned = "".join(self._kept[mark:])
        del self._kept[mark:]
        self.text = returned + self.text[self.position :]
        self.position = 0

    def settle(self) -> str:
        """What was read is decided: nothing of it will be given back. Returns what was kept of it."""
        kept = self.kept
        self._kept.clear()
        self._keeping = False
        return kept

    @property
    def kept(self) -> str:
        """What was read and may still be given back."""
        return "".join(self._kept)

    @property
    def waiting(self) -> int:
        """Characters that have come and are not read."""
        return len(self.text) - self.position


def peek(cursor: Cursor) -> Step[str]:
    """The next character, unread; empty at the end."""
    while not cursor.waiting and not cursor.ended:
        yield
    return cursor.text[cursor.position : cursor.position + 1]


def literal(cursor: Cursor, word: str) -> Step[bool]:
    """Read `word` if it is what comes."""
    while True:
        if cursor.text.startswith(word, cursor.position):
            cursor.take(len(word))
            return True
        if cursor.ended or not word.startswith(cursor.text[cursor.position :]):
            return False
        yield


def one_of(cursor: Cursor, words: Sequence[str]) -> Step[str | None]:
    """Read the longest of `words` that comes."""
    possible = sorted(words, key=len, reverse=True)
    while True:
        text, position = cursor.text, cursor.position
        for word in possible:
            if text.startswith(word, position):
                cursor.take(len(word))
                return word
            if not cursor.ended and len(text) - position < len(word) and word.startswith(text[position:]):
                break
        else:
            return None
        yield


def run(cursor: Cursor, characters: re.Pattern[str], most: int = 256) -> Step[str]:
    """Read the longest run that `characters` (a pattern that ends in `*`) allows, at most `most` of them."""
    pieces: list[str] = []
    length = 0
    while True:
        match = characters.match(cursor.text, cursor.position, cursor.position + most - length)
        if match and match.end() > cursor.position:
            piece = cursor.take(match.end() - cursor.position)
            pieces.append(piece)
            length += len(piece)
        if cursor.waiting or cursor.ended or length >= most:
            return "".join(pieces)
        yield


def white(cursor: Cursor) -> Step[str]:
    """Read white space."""
    return (yield from run(cursor, _WHITE, _MOST_WHITE))


def until(
    cursor: Cursor, words: Sequence[str], pass_on: Callable[[str], None] | None = None, most: int | None = None
) -> Step[tuple[str, str | None]]:
    """Read up to and including the first of `words`: what was before it, and it; None where the text ends first.

    With `pass_on` the text before it is handed over as it comes, and not returned. After more than `most` characters
    none of them is looked for any longer.
    """
    pattern = _any_of(tuple(words))
    pieces: list[str] = []
    length = 0
    give = pieces.append if pass_on is None else pass_on
    while True:
        match = pattern.search(cursor.text, cursor.position)
        if match is not None and match.group():
            if match.start() > cursor.position:
                give(cursor.take(match.start() - cursor.position))
            cursor.take(len(match.group()))
            return "".join(pieces), match.group()
        safe = cursor.waiting if cursor.ended else cursor.waiting - undecided(cursor.text, cursor.position, words)
        if safe > 0:
            length += safe
            give(cursor.take(safe))
        if cursor.ended or (most is not None and length > most):
            return "".join(pieces), None
        yield


def undecided(text: str, position: int, words: Sequence[str]) -> int:
    """Length of the longest end of `text` from `position` that is a beginning of one of `words`."""
    most = max(map(len, words)) - 1
    for length in range(min(most, len(text) - position), 0, -1):
        end = text[len(text) - length :]
        if any(word.startswith(end) for word in words):
            return length
    return 0


@lru_cache(maxsize=256)
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)))
