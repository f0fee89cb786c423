"""Reads a text that is still coming.  Pure.

A grammar is a generator. It takes the text that has come, and yields when it needs more. What it took is not searched
again, so reading takes linear time however the text is cut into chunks. And since it waits wherever the text so far can
be read in two ways, the cut cannot change the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from typing import TypeVar

_T = TypeVar("_T")
# A step of a grammar: yields to wait for more text, returns what it read.
Step = Generator[None, None, _T]

# Most white space inside of markup; with more it is text.
_MOST_WHITE = 1024
# How far a grammar may look ahead in one text, in all.
_MOST_LOOKAHEAD = 262_144
_WHITE = re.compile(r"\s*")


class Cursor:
    """The text that has come and is not read yet; between `mark` and `settle`, also what was read and may be given
    back.

    Marks are positions in the whole text. Giving back is a step back in `text`. Only text of earlier chunks is kept
    apart, and joined again when it is given back.
    """

    __slots__ = ("_base", "_kept", "_marked", "ended", "find_other", "lookahead", "position", "text")

    def __init__(self) -> None:
        self.text = ""
        self.position = 0
        self.ended = False
        """Whether no more text comes."""
        self.lookahead = _MOST_LOOKAHEAD
        """How many characters may still be read that are then given back to be read in another way."""
        self.find_other: Callable[[str], object] | None = None
        """While a string in the arguments of a call is read: finds what cannot be passed on in it as it is."""
        # The position of `text[0]`, the position of the first mark, and the text between the two.
        self._base = 0
        self._marked: int | None = None
        self._kept: list[str] = []

    def begin(self) -> None:
        """Another text begins."""
        self.ended = False
        self.lookahead = _MOST_LOOKAHEAD
        self.find_other = None

    def feed(self, chunk: str) -> None:
        if self._marked is not None:
            piece = self.text[max(self._marked - self._base, 0) : self.position]
            if piece:
                self._kept.append(piece)
        self._base += self.position
        self.text = self.text[self.position :] + chunk
        self.position = 0

    def pass_over(self, chunk: str) -> bool:
        """Read a chunk at once, if nothing is left before it and nothing may be given back."""
        if self._marked is not None or self.position < len(self.text):
            return False
        self._base += self.position
        self.text = chunk
        self.position = len(chunk)
        return True

    def take(self, length: int) -> str:
        """Read so many characters, or as many as there are."""
        piece = self.text[self.position : self.position + length]
        self.position += len(piece)
        return piece

    def back(self, length: int) -> None:
        """Give back characters that were just taken."""
        self.position -= length

    def mark(self) -> int:
        """The present position, to come back to with `rewind`."""
        place = self._base + self.position
        if self._marked is None:
            self._marked = place
        return place

    def rewind(self, mark: int) -> None:
        """Give back what was read since `mark`."""
        if mark < self._base:
            kept = "".join(self._kept)
            earlier = mark - (self._base - len(kept))
            self._kept = [kept[:earlier]] if earlier else []
            self.text = kept[earlier:] + self.text
            self._base = mark
        self.position = mark - self._base

    def settle(self) -> str:
        """Nothing that was read will be given back. Returns what was read since the first mark."""
        kept = self.kept
        self._kept.clear()
        self._marked = None
        return kept

    @property
    def kept(self) -> str:
        """What was read since the first mark, and may still be given back."""
        if self._marked is None:
            return ""
        if len(self._kept) > 1:
            # Who asks at each chunk shall not join all of them each time.
            self._kept = ["".join(self._kept)]
        before = self._kept[0] if self._kept else ""
        return before + self.text[max(self._marked - self._base, 0) : self.position]

    @property
    def settled(self) -> int:
        """How many characters of the whole text are read for good."""
        return self._base + self.position if self._marked is None else self._marked

    @property
    def left(self) -> int:
        """How many characters that have come may still be read, again or for the first time."""
        if self._marked is None:
            return len(self.text) - self.position
        return self._base + len(self.text) - self._marked

    @property
    def fed(self) -> int:
        """How many characters have come."""
        return self._base + len(self.text)

    @property
    def waiting(self) -> int:
        """How many characters have come and are not read."""
        return len(self.text) - self.position


def peek(cursor: Cursor) -> Step[str]:
    """The next character, which is left unread; empty at the end of the text."""
    while not cursor.waiting and not cursor.ended:
        yield
    return cursor.text[cursor.position : cursor.position + 1]


def literal(cursor: Cursor, word: str) -> Step[bool]:
    """Read `word` if it comes next."""
    while True:
        if cursor.text.startswith(word, cursor.position):
            cursor.take(len(word))
            return True
        if cursor.ended or not word.startswith(cursor.text[cursor.position :]):
            return False
        yield


def one_of(cursor: Cursor, words: Sequence[str]) -> Step[str | None]:
    """Read the longest of `words` that comes next. If none does, read nothing and return None."""
    pattern, longest = _any_of(tuple(words))
    while True:
        text, position = cursor.text, cursor.position
        if cursor.ended or len(text) - position >= longest or not _may_grow(text, position, words):
            match = pattern.match(text, position)
            return cursor.take(len(match.group())) if match else None
        yield


def run(cursor: Cursor, characters: re.Pattern[str], most: int = 256) -> Step[str]:
    """Read the longest run of `characters` (a pattern that ends in `*`), at most `most` of them."""
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
    cursor: Cursor,
    words: Sequence[str],
    emit: Callable[[str], None] | None = None,
    most: int | None = None,
    cut: Sequence[str] = (),
    *,
    leave: bool = False,
) -> Step[tuple[str, str | None]]:
    """Read up to and including the first of `words`. Returns the text before it, and the word.

    The word is None if the text ends first, or if none begins within `most` characters, which are then read. With
    `emit`, the text before the word is passed to that as it comes, and not returned. If the text ends within one of
    `cut`, at least two characters of it, that part is dropped. `leave`: the word is left unread.
    """
    pattern, longest = _any_of(tuple(words))
    pieces: list[str] = []
    length = 0
    take = pieces.append if emit is None else emit
    while True:
        text, position = cursor.text, cursor.position
        left = len(text) if most is None else most - length
        match = pattern.search(text, position, position + left + longest)
        safe = cursor.waiting
        if match is not None and (cursor.ended or not _may_grow(text, match.start(), words)):
            safe = match.start() - position
            if safe <= left:
                if safe:
                    take(cursor.take(safe))
                return "".join(pieces), match.group() if leave else cursor.take(len(match.group()))
        elif match is not None:
            safe = match.start() - position
        elif not cursor.ended:
            safe -= undecided(text, position, words)
        elif cut:
            part = undecided(text, position, cut)
            safe -= part if part > 1 else 0
        if safe > left:
            take(cursor.take(left))
            return "".join(pieces), None
        if safe > 0:
            length += safe
            take(cursor.take(safe))
        if cursor.ended:
            cursor.take(cursor.waiting)
            return "".join(pieces), None
        yield


def _may_grow(text: str, place: int, words: Sequence[str]) -> bool:
    """Whether more text could complete one of `words` at `place`."""
    rest = len(text) - place
    _, begun, longest = _beginnings(tuple(words))
    return not rest or (rest <= longest and text[place:] in begun)


def undecided(text: str, position: int, words: Sequence[str]) -> int:
    """Length of the longest end of `text[position:]` that is the beginning of one of `words`."""
    firsts, begun, longest = _beginnings(tuple(words))
    start = max(position, len(text) - longest)
    places = [place for first in firsts if (place := text.find(first, start)) >= 0]
    if not places:
        return 0
    for place in range(min(places), len(text)):
        if text[place:] in begun:
            return len(text) - place
    return 0


@lru_cache(maxsize=256)
def _beginnings(words: tuple[str, ...]) -> tuple[str, frozenset[str], int]:
    """The first characters of `words`, all that they may begin with, and the length of the longest of that."""
    begun = frozenset(word[:length] for word in words for length in range(1, len(word)))
    return "".join(sorted({word[0] for word in words})), begun, max(map(len, words)) - 1


@lru_cache(maxsize=256)
def _any_of(words: tuple[str, ...]) -> tuple[re.Pattern[str], int]:
    """A pattern for any of `words`, and the length of the longest."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(re.escape(word) for word in longest_first)), len(longest_first[0])
