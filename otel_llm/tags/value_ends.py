"""Finds where a raw value ends, whose closing tag may be missing or be part of it.  Pure.

Raw text has no escape for its own tags. What decides:

- A closing tag right before another element of the call, or at the end of the text, ends the value. If that is the end
  of the call, with something else behind it than its block has, both may be part of the value. So it is with the head
  of a parameter that is not the next one for sure.
- Tags in pairs (`<parameter ...>...</parameter>`) may be part of the value. Then one more closing tag comes before the
  next element.
- If the closing tag is missing, the value ends where the next parameter begins, or at the end of the call if that is
  right before another element. If the value is on lines of its own, so is that tag. Where nothing tells the names of
  parameters and the first one began a line, the next one does, too.

Where the text so far can be read in two ways, the value is held back until a closing tag without a partner shows that
it goes on, or until the text ends. That look ahead is bounded; beyond it the first reading counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from otel_llm.tags.cursor import Cursor, Step, one_of, until, white

# What may follow on a value: an element of the call, nothing because the text ends, or something else. In doubt: the
# end of the call, with something else behind it than its block has.
# `key`: the head of a parameter that the call has already or should not have.
Next = Literal["element", "end", "doubt", "key", "other"]
_FARTHEST = 65_536


@dataclass(frozen=True)
class ValueTags:
    """The tags that tell where a value ends. `pair_open`: what a tag begins with that has `end` as its partner."""

    end: str
    pair_open: Sequence[str]
    nestable: Sequence[str]
    """Those of `pair_open` that are counted before it is in doubt where the value ends."""
    key: str
    call_ends: Sequence[str]
    """These end the call, or the block of calls."""
    elements: Sequence[str]
    """These may follow on a value or on the end of a call."""
    has_block: bool
    """Whether a call stands in a block, so that only an element may follow on it."""
    inner_ends: Sequence[str] = ()
    """Those of `call_ends` that do not end the block, if there is one."""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All tags at which a value may end."""
        return tuple(dict.fromkeys((self.end, self.key, *self.pair_open, *self.call_ends)))

    @cached_property
    def next_words(self) -> tuple[str, ...]:
        """What may come after a value, also its closing tag once more."""
        return (*self.elements, self.end)


class ValueEnd:
    """Looks for the end of one value. `feed` takes its text as it comes.

    `has_own_lines`: whether the value, as far as it came, is on lines of its own. `at_line_start`: whether its next
    character begins a line. `is_empty`: whether none has come; such a value does not end before another parameter.
    `next_key`: reads the name after `ValueTags.key`; None if it cannot be that of the next parameter. `heads_on_lines`:
    whether it must begin a line.
    """

    def __init__(
        self,
        tags: ValueTags,
        feed: Callable[[str], None],
        *,
        has_own_lines: Callable[[], bool],
        at_line_start: Callable[[], bool],
        is_empty: Callable[[], bool],
        next_key: Callable[[Cursor], Step[str | None]],
        heads_on_lines: bool = False,
    ) -> None:
        self._tags = tags
        self._feed = self._note_line if heads_on_lines else feed
        self._pass_on = feed
        self._heads_on_lines = heads_on_lines
        # Whether the next character begins a line, but for blanks.
        self._begins_line = False
        self._has_own_lines = has_own_lines
        self._at_line_start = at_line_start
        self._is_empty = is_empty
        self._next_key = next_key
        self._words = tags.words
        # Tags in the value whose partner has not come.
        self._open = 0
        # The same for those that are counted only in doubt.
        self._uncounted = 0
        self.has_tag = True

    def _note_line(self, text: str) -> None:
        if line := text.rstrip(" \t"):
            self._begins_line = line.endswith("\n")
        self._pass_on(text)

    def read(self, cursor: Cursor) -> Step[bool]:
        """Read up to the end of the value and its closing tag, if it has one. False if the text ends within it.

        `has_tag` says afterwards whether there was a closing tag.
        """
        tags, feed = self._tags, self._feed
        while True:
            _, mark = yield from until(cursor, self._words, feed, cut=(tags.end,))
            if mark is None:
                return False
            if mark != tags.end and self._has_own_lines() and not self._at_line_start():
                feed(mark)
                continue
            cursor.back(len(mark))
            start = cursor.mark()
            cursor.take(len(mark))
            key: str | None = None
            follows: Next = "other"
            if mark == tags.end:
                follows = yield from self._next(cursor, in_value=self._uncounted > 0)
                if follows in {"element", "end"} and not self._open:
                    cursor.settle()
                    return True
                may_end = follows != "other" or not self._open
                opened = max(self._open - 1, 0)
                end = start + len(mark)
            else:
                if mark == tags.key:
                    key = yield from self._next_key(cursor)
                    is_in_place = self._begins_line or not self._heads_on_lines
                    may_end = key is not None and is_in_place and not self._is_empty()
                else:
                    may_end = mark in tags.call_ends and (
                        not tags.has_block or (yield from self._next(cursor)) != "other"
                    )
                opened = self._open + (mark in tags.pair_open)
                end = start
            cursor.rewind(start)
            cursor.take(len(mark))
            if may_end:
                is_end = yield from self._ends(cursor, opened, key, follows)
                if is_end is None:
                    cursor.rewind(start)
                    cursor.take(len(mark))
                elif is_end:
                    self.has_tag = mark == tags.end
                    cursor.rewind(end)
                    cursor.settle()
                    return True
                else:
                    opened = 0
            if mark == tags.end:
                self._uncounted = max(self._uncounted - 1, 0)
            self._uncounted += mark in tags.pair_open and mark not in tags.nestable
            self._open = opened if mark not in tags.pair_open or mark in tags.nestable else self._open
            feed(cursor.settle())

    def _next(self, cursor: Cursor, *, in_value: bool = False) -> Step[Next]:
        """What comes next, which is left unread. A closing tag that is written twice counts once.

        `in_value`: a parameter that comes next may be part of the value.
        """
        tags = self._tags
        place = cursor.mark()
        yield from white(cursor)
        word = yield from one_of(cursor, tags.next_words)
        if word == tags.end:
            yield from white(cursor)
            word = yield from one_of(cursor, tags.elements)
        found: Next = "element" if word is not None else "other"
        if word in tags.inner_ends:
            yield from white(cursor)
            if (yield from one_of(cursor, tags.elements)) is None and not self._is_over(cursor):
                found = "doubt"
        elif word == tags.key and ((yield from self._next_key(cursor)) is None or in_value):
            found = "key"
        elif word is None and self._is_over(cursor):
            found = "end"
        cursor.rewind(place)
        return found

    def _is_over(self, cursor: Cursor) -> bool:
        """Whether the text ends here, or within an element."""
        rest = cursor.text[cursor.position :]
        return cursor.ended and any(element.startswith(rest) for element in self._tags.elements)

    def _ends(self, cursor: Cursor, opened: int, key: str | None, follows: Next) -> Step[bool | None]:
        """Look ahead from a tag at which the value may end. `opened`: tags before here whose partner has not come.
        `follows`: what comes after the tag.

        False if a closing tag without a partner comes before another element: the value goes on to there. What is
        before that tag is then read. None if the tag begins a parameter, `key`, that comes again: it is text.
        """
        tags = self._tags
        own_lines = self._has_own_lines()
        shows = {"element", "end"} if follows in {"doubt", "key"} else {"element", "end", "doubt", "key"}
        left = min(_FARTHEST, cursor.lookahead)
        while left > 0:
            text, word = yield from until(cursor, self._words, most=left)
            used = len(text) + len(word or "")
            left -= used
            cursor.lookahead -= used
            if word is None:
                break
            if word in tags.call_ends:
                key = None
                if follows == "key" and not opened and (yield from self._next(cursor)) in {"element", "end"}:
                    return True
            if word in tags.pair_open:
                opened += not own_lines or text.endswith("\n")
            if word not in {tags.end, tags.key} or (word == tags.end and opened):
                opened -= word == tags.end
                continue
            cursor.back(len(word))
            place = cursor.mark()
            cursor.take(len(word))
            if word == tags.end and (yield from self._next(cursor)) in shows:
                cursor.rewind(place)
                return False
            if word == tags.key and key is not None and (yield from self._next_key(cursor)) == key:
                return None
            cursor.rewind(place)
            cursor.take(len(word))
        return True
