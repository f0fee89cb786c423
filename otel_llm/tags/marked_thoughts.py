"""Reads thoughts and answers by the marks around them, in a text that is still coming.  Pure.

- Which marks count is decided in `thought_marks.py` and `messages.py`.
- Thoughts that are never closed go on to the end of the text, except that calls by control tokens, or with a name
  behind `<tool_call>`, which end such thoughts and the text, count.
- An answer, which is a message to the user, holds no calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from otel_llm.tags.blocks import SECTIONS
from otel_llm.tags.brackets import MOST_HELD
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, until, white
from otel_llm.tags.messages import ANSWERS, ANSWERS_AT_START, NEXT_MESSAGE
from otel_llm.tags.pieces import Piece, PieceBuffer
from otel_llm.tags.thought_marks import (
    ANSWER_MARKS,
    AT_START,
    CLOSING_MARKS,
    DETAILS,
    LONE_ANSWER_MARKS,
    MOST_SUFFIX,
    NEAR,
    SUFFIX,
    SUFFIXED,
    SUFFIXED_CLOSING,
    THOUGHT_MARKS,
    Answer,
    BacktickCount,
    closes,
    closing_of,
    opens,
    stops_of,
)

_ANSWERS = {
    **ANSWER_MARKS,
    **{
        header: Answer(*(tuple(end for end in ends if (end == NEXT_MESSAGE) is stops) for stops in (False, True)))
        for header, ends in (ANSWERS | ANSWERS_AT_START).items()
    },
}
# A message that is not the first has its role in front of its channel.
_ANSWERS |= {f"<|start|>assistant{header}": _ANSWERS[header] for header in ANSWERS if header.startswith("<|channel|>")}

MARKS_AT_START = (*AT_START, *ANSWERS_AT_START)
"""Marks that count only at the start of a text."""
_OPENING_MARKS = [mark for mark in (*THOUGHT_MARKS, *_ANSWERS, SUFFIXED) if mark not in MARKS_AT_START]
MARKS = (*_OPENING_MARKS, *CLOSING_MARKS, SUFFIXED_CLOSING, *LONE_ANSWER_MARKS, *DETAILS)
"""Marks that count anywhere."""
_LONE_MARKS = frozenset((*CLOSING_MARKS, SUFFIXED_CLOSING, *LONE_ANSWER_MARKS))
_CLOSING_TAG = re.compile("|".join(re.escape(mark) for mark in CLOSING_MARKS if mark.startswith("</")))
_OPENS_SECTION = (*SECTIONS,)
_WHITE = re.compile(r"\s*")


class MarkReader:
    """Reads what the marks of one text open or close. `is_calls`: whether a text is calls and nothing else.

    `reads_sections`: whether calls in thoughts may count at all.
    """

    def __init__(
        self, cursor: Cursor, out: PieceBuffer, is_calls: Callable[[str], bool], *, reads_sections: bool = True
    ) -> None:
        self._cursor = cursor
        self._out = out
        self._is_calls = is_calls
        self._sections: Sequence[str] = _OPENS_SECTION if reads_sections else ()
        self._has_thoughts = False
        # Open `<details>` elements.
        self._details = 0
        self.lone_closing: str | None = None
        """The first closing mark of thoughts that no mark in the text opened: the prompt did."""
        self.began_inside = False
        """Whether the text began inside of thoughts: it was to, and has no opening mark itself."""
        self.closed_inside = False
        """Whether thoughts that the text began inside of came to an end before it."""

    def begin(self) -> None:
        """Another text begins."""
        self._has_thoughts = False
        self._details = 0

    def thoughts_from_start(self, closings: Sequence[str]) -> Step[None]:
        """Read the thoughts that a text begins inside of, unless it opens thoughts or an answer itself."""
        cursor = self._cursor
        start = cursor.mark()
        yield from run(cursor, _WHITE, 1024)
        has_more = (yield from peek(cursor)) != ""
        opening = yield from one_of(cursor, (*_OPENING_MARKS, *MARKS_AT_START))
        cursor.rewind(start)
        cursor.settle()
        if has_more and opening is None:
            self._out.at_start = False
            self.began_inside = True
            self.closed_inside = yield from self._thoughts("", closings, ())

    def thoughts(self, mark: str) -> Step[bool]:
        """Read what a mark of thoughts opens or closes. False if it is none, or only mentioned."""
        cursor, out = self._cursor, self._out
        is_opening = mark in THOUGHT_MARKS or mark == SUFFIXED
        if mark in DETAILS:
            self._details = max(self._details + (1 if mark == DETAILS[0] else -1), 0)
            cursor.settle()
            out.text(mark)
            return True
        if not is_opening and mark not in _LONE_MARKS:
            return False
        if mark in {SUFFIXED, SUFFIXED_CLOSING}:
            mark += yield from run(cursor, SUFFIX, MOST_SUFFIX)
            if not (yield from literal(cursor, ">")):
                return False
            mark += ">"
        if not is_opening:
            return (yield from self._lone_mark(mark))
        closing = closing_of(mark)
        if not (yield from self._counts(mark, opening=True)):
            out.mentioned = closing
            return False
        cursor.settle()
        stops = stops_of(closing)
        yield from self._thoughts(mark, (closing,), (*stops, DETAILS[1]) if self._details else stops)
        return True

    def passes_lone_mark(self) -> bool:
        """Read a closing mark that no mark opened, if what has come decides that it counts. Else, read nothing."""
        cursor, out = self._cursor, self._out
        text, start = cursor.text, cursor.position
        match = _CLOSING_TAG.match(text, start)
        if match is None or match.group() == out.mentioned:
            return False
        after = text[match.end() : match.end() + NEAR]
        if not after or not closes(out.tail, out.line_before, after, begins_line=out.at_line_start, ended=False):
            return False
        cursor.take(match.end() - start)
        self._close(match.group())
        return True

    def answer(self, mark: str) -> Step[bool]:
        """Read a message to the user behind its header. False if it is no header, or only mentioned."""
        cursor, out = self._cursor, self._out
        if mark not in _ANSWERS or not (yield from self._counts(mark, opening=True)):
            return False
        cursor.settle()
        out.put(Piece("frame", mark))
        closings, stops = _ANSWERS[mark]
        _, word = yield from until(cursor, (*closings, *stops), out.text)
        if word in stops:
            cursor.back(len(word))
        elif word is not None:
            out.put(Piece("frame", word))
        out.at_line_start = out.in_line_head = True
        return True

    def _counts(self, mark: str, *, opening: bool) -> Step[bool]:
        """Whether a mark that was just read counts where it stands."""
        cursor, out = self._cursor, self._out
        before, begins_line = out.line_before, out.at_line_start
        while True:
            after = cursor.text[cursor.position : cursor.position + NEAR]
            if opening:
                counts = opens(mark, before, after, begins_line=begins_line, ended=cursor.ended)
            else:
                counts = closes(out.tail, before, after, begins_line=begins_line, ended=cursor.ended)
            if counts is not None:
                return counts
            yield

    def _lone_mark(self, mark: str) -> Step[bool]:
        cursor, out = self._cursor, self._out
        if mark == out.mentioned:
            out.mentioned = None
            return False
        if not (yield from self._counts(mark, opening=False)):
            return False
        cursor.settle()
        if mark in LONE_ANSWER_MARKS:
            out.put(Piece("frame", mark))
            out.at_line_start = out.in_line_head = True
        else:
            self._close(mark)
        return True

    def _close(self, mark: str) -> None:
        """A closing mark that no mark opened: the prompt opened the thoughts."""
        if not self._has_thoughts and self.lone_closing is None:
            self.lone_closing = mark
        self._out.text(mark)
        self._out.at_line_start = self._out.in_line_head = True

    def _thoughts(self, mark: str, closings: Sequence[str], stops: Sequence[str]) -> Step[bool]:
        """Read thoughts to their end. Returns False if that is the end of the text."""
        cursor, out = self._cursor, self._out
        self._has_thoughts = True
        out.put(Piece("thoughts_begin", mark))
        backticks = BacktickCount()

        def emit(text: str) -> None:
            backticks.add(text)
            out.put(Piece("thoughts", text))

        word: str | None = None
        while True:
            _, word = yield from until(cursor, (*closings, *stops, *self._sections), emit, leave=True)
            if word is None:
                break
            if word in SECTIONS:
                draft = yield from self._draft(word, closings)
                if draft is not None:
                    emit(draft)
                    continue
                word = None
                break
            place = cursor.mark()
            cursor.take(len(word))
            if not backticks.may_hold_mark or (yield from peek(cursor)) != "`":
                if word in stops:
                    cursor.rewind(place)
                    word = None
                cursor.settle()
                break
            cursor.settle()
            emit(word)
        out.put(Piece("thoughts_end", word or ""))
        out.at_line_start = out.in_line_head = True
        return word is not None or cursor.waiting > 0

    def _draft(self, opening: str, closings: Sequence[str]) -> Step[str | None]:
        """Read calls in thoughts, from their opening marker to what follows. Returns their text.

        None if nothing follows: the model called instead of closing its thoughts. Then nothing is read. Only the end of
        the text can tell, so the calls are held back.
        """
        cursor = self._cursor
        start = cursor.mark()
        word: str | None = opening
        while word is not None:
            cursor.take(len(word))
            if word == "<tool_call>" and not (yield from peek(cursor)).isalpha():
                # JSON is a draft: models that call so close their thoughts.
                yield from white(cursor)
                if not (yield from literal(cursor, "<function=")):
                    break
            _, end = yield from until(cursor, (*closings, SECTIONS[word]), most=MOST_HELD, leave=True)
            if end is not None and end in closings:
                break
            cursor.take(len(end or ""))
            yield from run(cursor, _WHITE, 1024)
            word = yield from one_of(cursor, _OPENS_SECTION)
            if word is not None:
                cursor.back(len(word))
        if word is None and (yield from peek(cursor)) == "" and self._is_calls(cursor.kept):
            cursor.rewind(start)
            cursor.settle()
            return None
        return cursor.settle()
