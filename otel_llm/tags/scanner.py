"""Finds tool calls in a text that is still coming: text in, pieces out.  Pure.

The rules:

- Each opening marker of the table (`formats.py`) begins a call if what follows reads as one. Otherwise it is text. If
  families share a marker, what follows decides between them.
- Markers that are only mentioned are text: in code (see `code_blocks.py`), in thoughts, and in a message that its
  header addresses to the user (see `marked_thoughts.py`). Fences that are never closed go on to the end of the text.
  A call is mentioned in quotes, and in a sentence that shows it (see `shown_calls.py`).
- Markup that holds no call is none of the content (see `empty_markup.py`).
- Where the prompt opened the thoughts, the text begins inside of them. Only the caller can know; the scanner reports a
  closing mark without an opening one.
- Calls without a marker: see `unmarked.py`.
- A call goes on to its closing marker or, if there is none, to the end of its JSON. What follows is text again. A call
  whose JSON is complete is emitted at once, and its closing marker is dropped when it comes.
- If the text ends within a call, the call is emitted as far as it came, as incomplete.
- After very many markers that begin no call, or brackets that begin none, no more of them count in that text.
- As little text as possible is held back: the beginning of a marker, the text between a marker and the first key of its
  body, and a call that only its end decides.

The result does not depend on how the text is cut into chunks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from otel_llm.protocol.request import Tool
from otel_llm.tags import unmarked
from otel_llm.tags.code_blocks import code
from otel_llm.tags.cursor import Cursor, Step, one_of, peek, white
from otel_llm.tags.empty_markup import empty_markup
from otel_llm.tags.grammars import Context
from otel_llm.tags.marked_thoughts import MarkReader
from otel_llm.tags.openings import (
    CALL_OPENERS,
    LINE_TRIGGER,
    LINE_WORDS,
    MARK_TRIGGER,
    START_WORDS,
    TRIGGER,
    WORDS,
    find_other,
    formats_of,
)
from otel_llm.tags.pieces import TAIL, Piece, PieceBuffer
from otel_llm.tags.shown_calls import may_be_shown, shown_calls

# So many markers of a text may begin no call, and so many brackets. Each costs much more than plain text does.
_MOST_FALSE_MARKERS = 1024
_MOST_FALSE_BRACKETS = 1024


class Scanner:
    """Scans one text. `tools`: the declared tools by name, None if they are not known.

    `inside`: the closing marks of thoughts that the text begins inside of, if it has no opening mark itself.
    `is_in_thoughts`, `is_in_line`: it reads calls in thoughts, or in a line behind text, for another scanner.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool] | None = None,
        inside: Sequence[str] = (),
        *,
        is_in_thoughts: bool = False,
        is_in_line: bool = False,
    ) -> None:
        self._tools = tools
        self._inside = inside
        self._cursor = Cursor()
        self._out = PieceBuffer(self._cursor, tools)
        # Thoughts in thoughts would be read again and again.
        self._marks = MarkReader(self._cursor, self._out, self._is_calls, reads_sections=not is_in_thoughts)
        self.passes = False
        """Whether the next chunk is plain text if `find_other` finds nothing in it."""
        self.passed: deque[str] = deque(maxlen=TAIL)
        """The last plain chunks, none of them empty: they may decide what a mark behind them is."""
        # Whether what comes behind a marker is being read, and whether the text ended while it was.
        self._in_head = self._is_cut_in_head = False
        self._false_markers = self._false_brackets = 0
        # What stands before the first call decided already that it may be shown.
        self._may_show = not is_in_line
        self._begin()
        if is_in_line:
            out = self._out
            out.at_start = out.at_line_start = out.in_line_head = False

    @property
    def held(self) -> str:
        """The text that has come and is not decided yet."""
        unwritten = self._out.unwritten
        begun = unwritten() if unwritten else ""
        return begun + self._cursor.kept + self._cursor.text[self._cursor.position :]

    @property
    def left(self) -> int:
        """How many characters of all that were fed are not decided."""
        return self._cursor.left

    @property
    def left_since_call(self) -> int:
        """How many characters of all that were fed stand behind the beginning of the last call."""
        return self._cursor.fed - self._out.began_at

    @property
    def lacks_thoughts(self) -> bool:
        """Whether the text was to begin inside of thoughts, and no mark closed any before it."""
        return bool(self._inside) and not self._marks.closed_inside

    @property
    def is_all_thoughts(self) -> bool:
        """Whether the text began inside of thoughts and no mark closed them, so that it has nothing else."""
        return self._marks.began_inside and not self._marks.closed_inside

    @property
    def lone_closing(self) -> str | None:
        """The first closing mark of thoughts that no mark in the text opened: the prompt did."""
        return self._marks.lone_closing

    @property
    def count(self) -> int:
        """Calls begun so far."""
        return self._out.count

    @property
    def is_in_call(self) -> bool:
        """Whether the text so far ends within a call, or within what may begin one."""
        return self._in_head or self._out.is_open

    def resume(self) -> None:
        """What was flushed was not the end of the text: it goes on."""
        self._out.resume_text()

    def is_plain(self, text: str) -> bool:
        """Whether `text`, as the next chunk, is plain text. If so, it counts as scanned and need not be fed.

        It must not be empty.
        """
        if self.passes and find_other(text) is None:
            self.passed.append(text)
            return True
        return False

    def is_argument(self, text: str) -> bool:
        """Whether `text`, as the next chunk, is a piece of the arguments of a call that has a name, and stays as it
        is. If so, it counts as scanned and need not be fed.
        """
        find = self._cursor.find_other
        if find is None or not self._out.committed or find(text) is not None:
            return False
        return self._cursor.pass_over(text)

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are decided with this text."""
        if text:
            if self.passed:
                self._note_plain()
            self._cursor.feed(text)
            next(self._steps)
        return self._out.drain()

    def flush(self) -> list[Piece]:
        """The text is over: the pieces that were held back. Then another text can be scanned."""
        self._note_plain()
        self._is_cut_in_head = self._in_head and not self._out.committed
        self._cursor.ended = True
        for _ in self._steps:
            pass
        pieces = self._out.drain()
        self._begin()
        return pieces

    def _note_plain(self) -> None:
        """Something may come now that depends on the end of the text before it."""
        self._out.tail = (self._out.tail + "".join(self.passed))[-TAIL:]
        self.passed.clear()

    def _begin(self) -> None:
        self._cursor.begin()
        self._out.begin_text()
        self._marks.begin()
        self.passes = False
        self._in_head = self._is_cut_in_head = False
        self._false_markers = self._false_brackets = 0
        self._steps = self._scan()
        next(self._steps)

    def _scan(self) -> Step[None]:
        cursor, out = self._cursor, self._out
        if self._inside:
            yield from self._marks.thoughts_from_start(self._inside)
        while True:
            while not cursor.waiting:
                if cursor.ended:
                    return
                self.passes = not out.at_line_start
                yield
            self.passes = False
            place = self._next_trigger()
            if place is None:
                out.text(cursor.take(cursor.waiting))
                continue
            if place > cursor.position:
                out.text(cursor.take(place - cursor.position))
            mark = cursor.text[cursor.position]
            if mark == "<" and self._marks.passes_lone_mark():
                continue
            if mark == "`" or (mark == "~" and out.at_line_start):
                yield from code(cursor, out, self._tools, mark)
                out.at_start = False
                continue
            start = cursor.mark()
            if (yield from self._call(mark)):
                cursor.settle()
                out.reset()
                out.at_start = False
            else:
                out.discard()
                cursor.rewind(start)
                cursor.settle()
                out.text(cursor.take(1))

    def _next_trigger(self) -> int | None:
        text, position, out = self._cursor.text, self._cursor.position, self._out
        if self._false_markers >= _MOST_FALSE_MARKERS:
            return None
        if out.at_start and text[position] in START_WORDS:
            return position
        if out.at_line_start:
            match = LINE_TRIGGER.match(text, position)
            if match:
                return match.end() - 1
        trigger = TRIGGER if self._false_brackets < _MOST_FALSE_BRACKETS else MARK_TRIGGER
        match = trigger.search(text, position)
        if match is None:
            return None
        # Its first character, or the one behind the white space of a line.
        start = match.start()
        return start if text[start] != "\n" else match.end() - 1

    def _call(self, mark: str) -> Step[bool]:
        """Read a call, thoughts or an answer. False if none of these comes; what was read is then text."""
        cursor, out = self._cursor, self._out
        at_line_start = out.at_line_start
        start = cursor.mark()
        words = START_WORDS if out.at_start else LINE_WORDS if at_line_start else WORDS
        if mark in words:
            self._in_head = True
            opening = yield from one_of(cursor, words[mark])
            self._in_head = False
            if opening is not None:
                if (yield from self._marks.thoughts(opening)):
                    return True
                calls_before = out.count
                found = yield from self._behind_marker(opening, start)
                if out.count == calls_before:
                    self._false_markers += 1
                if found:
                    return True
            cursor.rewind(start)
        if mark not in "{[" or self._false_brackets >= _MOST_FALSE_BRACKETS:
            return False
        if (yield from self._bracket(mark, at_line_start=at_line_start)):
            return True
        self._false_brackets += 1
        return False

    def _behind_marker(self, opening: str, start: int) -> Step[bool]:
        """Read what an opening marker begins, which stands at `start`: a call, an answer or an empty block."""
        cursor, out = self._cursor, self._out
        may_call = opening in CALL_OPENERS
        if may_call and ((yield from self._shown_calls(start)) or (yield from self._marked_call(opening))):
            return True
        if (yield from self._marks.answer(opening)):
            return True
        return may_call and (yield from empty_markup(cursor, out, opening, is_cut=self._is_cut_in_head))

    def _bracket(self, mark: str, *, at_line_start: bool) -> Step[bool]:
        """Read a call without a marker. False if none comes."""
        cursor, out = self._cursor, self._out
        start = cursor.mark()
        if (yield from self._shown_calls(start)):
            return True
        context = Context(self._tools)
        if mark == "{":
            return (yield from unmarked.json_call(cursor, out, context, at_line_start=at_line_start))
        if (yield from unmarked.python_list(cursor, out, context, at_line_start=at_line_start)):
            return True
        cursor.rewind(start)
        return (yield from unmarked.json_list(cursor, out, context, at_line_start=at_line_start))

    def _marked_call(self, opening: str) -> Step[bool]:
        """Read the call after an opening marker. False if none of its formats reads one."""
        self._in_head = True
        found = yield from self._read_format(opening)
        self._in_head = False
        return found

    def _read_format(self, opening: str) -> Step[bool]:
        cursor, out = self._cursor, self._out
        place = cursor.mark()
        first: str | None = None
        for entry in formats_of(opening, at_start=out.at_start, at_line_start=out.at_line_start):
            if entry.grammar is not None:
                if entry.first:
                    if first is None:
                        yield from white(cursor)
                        first = yield from peek(cursor)
                        cursor.rewind(place)
                    if not entry.may_begin(first):
                        continue
                if (yield from entry.grammar(cursor, out, Context(self._tools, entry.name, opening))):
                    return True
                out.discard()
                cursor.rewind(place)
        return False

    def _shown_calls(self, start: int) -> Step[bool]:
        """Read calls that the text only shows as text, from where they begin. If there are none, read nothing."""
        if not self._may_show or not may_be_shown(self._out.line_before):
            return False
        return (yield from shown_calls(self._cursor, self._out, Scanner(self._tools, is_in_line=True), start))

    def _is_calls(self, text: str) -> bool:
        """Whether a text in thoughts is calls and nothing else."""
        inner = Scanner(self._tools, is_in_thoughts=True)
        pieces = inner.feed(text) + inner.flush()
        return inner.count > 0 and not any(piece.text.strip() for piece in pieces if piece.call is None)
