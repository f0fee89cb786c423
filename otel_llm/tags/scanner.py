"""Finds tool calls in a text that is still coming: text in, pieces out.  Pure.

The rules:

- Each opening marker of the table (`formats.py`) begins a call if what follows reads as one. Otherwise it is text. If
  families share a marker, what follows decides between them.
- Markers that are only mentioned are text: in a code span, in a code fence of any language but `tool_code`, in
  thoughts (see `thought_marks.py`), and in a message that its header addresses to the user (see `messages.py`).
  Thoughts and fences that are never closed go on to the end of the text, except that calls by control tokens, or with
  a name behind `<tool_call>`, which end such thoughts and the text, count. A call is mentioned in quotes, and in a
  sentence that shows it.
- Markup that holds no call is none of the content: an empty block, and the beginning of a call that is cut off.
- Where the prompt opened the thoughts, the text begins inside of them. Only the caller can know; the scanner reports a
  closing mark without an opening one.
- Calls without a marker: see `unmarked.py`.
- A call goes on to its closing marker or, if there is none, to the end of its JSON. What follows is text again. A call
  whose JSON is complete is emitted at once, and its closing marker is dropped when it comes.
- If the text ends within a call, the call is emitted as far as it came, as incomplete.
- As little text as possible is held back: the beginning of a marker, the text between a marker and the first key of its
  body, and a call that only its end decides.

The result does not depend on how the text is cut into chunks.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence

from otel_llm.protocol.request import Tool
from otel_llm.tags import unmarked
from otel_llm.tags.blocks import SECTIONS, closing_of_block, is_token
from otel_llm.tags.brackets import MOST_HELD
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, until, white
from otel_llm.tags.formats import FORMATS, Format
from otel_llm.tags.grammars import Context
from otel_llm.tags.messages import ANSWERS, ANSWERS_AT_START, NEXT_MESSAGE
from otel_llm.tags.pieces import TAIL, Piece, PieceBuffer
from otel_llm.tags.shown_calls import ends_sentence, is_shown, may_be_shown
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


def _by_first(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for word in words:
        grouped[word[0]] = (*grouped.get(word[0], ()), word)
    return grouped


def _openers(at: str) -> dict[str, list[Format]]:
    openers: dict[str, list[Format]] = {}
    for entry in FORMATS:
        if entry.at == at and entry.grammar is not None:
            for opener in entry.openers:
                # A grammar that reads no call does not read one under another name.
                if not opener.startswith("`") and all(
                    entry.grammar is not one.grammar for one in openers.get(opener, ())
                ):
                    openers.setdefault(opener, []).append(entry)
    return openers


_ANYWHERE, _AT_LINE, _AT_START = _openers("anywhere"), _openers("line"), _openers("start")
(_TOOL_CODE,) = (entry for entry in FORMATS if entry.openers == ("```tool_code",))

_ANSWERS = {
    **ANSWER_MARKS,
    **{
        header: Answer(*(tuple(end for end in ends if (end == NEXT_MESSAGE) is stops) for stops in (False, True)))
        for header, ends in (ANSWERS | ANSWERS_AT_START).items()
    },
}
# A message that is not the first has its role in front of its channel.
_ANSWERS |= {f"<|start|>assistant{header}": _ANSWERS[header] for header in ANSWERS if header.startswith("<|channel|>")}
_MARKS_AT_START = (*AT_START, *ANSWERS_AT_START)
_OPENING_MARKS = [mark for mark in (*THOUGHT_MARKS, *_ANSWERS, SUFFIXED) if mark not in _MARKS_AT_START]
_MARKS = [*_OPENING_MARKS, *CLOSING_MARKS, SUFFIXED_CLOSING, *LONE_ANSWER_MARKS, *DETAILS]

_FIRSTS = "".join(sorted({re.escape(opener[0]) for opener in [*_ANYWHERE, *_MARKS]} | {"{", "`", r"\["}))
_LINE_FIRSTS = "".join(sorted({re.escape(opener[0]) for opener in _AT_LINE} | {"~"}))
# Text without any of these passes at once.
_find_other = re.compile(rf"[{_FIRSTS}\n]").search
# Each with the characters that may follow; at the end of what has come, any may.
_PAIRS = "|".join(
    rf"{re.escape(first)}(?:[{''.join(sorted({re.escape(word[1]) for word in words}))}]|\Z)"
    for first, words in _by_first([*_ANYWHERE, *_MARKS]).items()
    if first not in "{[`"
)
_TRIGGER = re.compile(rf"[`\[]|\{{(?:[\s\"]|\Z)|{_PAIRS}|\n[^\S\n]*[{_LINE_FIRSTS}]")
_LINE_TRIGGER = re.compile(rf"\s*[{_LINE_FIRSTS}]")
_WHITE = re.compile(r"\s*")
_TICKS = {"`": re.compile(r"`*"), "~": re.compile(r"~*")}
_BEFORE_FENCE = re.compile(r"[ \t>]*")
_INFO = re.compile(r"[^`\n]*")


_WORDS = _by_first([*_ANYWHERE, *_MARKS])
_LINE_WORDS = _by_first([*_ANYWHERE, *_MARKS, *_AT_LINE])
_START_WORDS = _by_first([*_ANYWHERE, *_MARKS, *_AT_LINE, *_AT_START, *_MARKS_AT_START])
_OPENS_SECTION = (*SECTIONS,)
# Languages of fences whose JSON may be calls.
_CALL_FENCES = frozenset({"json", "tool_call", "tool_calls"})
# Calls that may be mentioned, and the beginning of one that may be cut off, are read so far.
_MOST_SHOWN = 65_536
_MOST_CUT = 256
_CALL_OPENERS = frozenset((*_ANYWHERE, *_AT_LINE, *_AT_START))
_CLOSING_TAG = re.compile("|".join(re.escape(mark) for mark in CLOSING_MARKS if mark.startswith("</")))
_LONE_MARKS = frozenset((*CLOSING_MARKS, SUFFIXED_CLOSING, *LONE_ANSWER_MARKS))


class Scanner:
    """Scans one text. `tools`: the declared tools by name, None if they are not known.

    `inside`: the closing marks of thoughts that the text begins inside of, if it has no opening mark itself.
    """

    def __init__(self, tools: Mapping[str, Tool] | None = None, inside: Sequence[str] = ()) -> None:
        self._tools = tools
        self._inside = inside
        self._cursor = Cursor()
        self.lone_closing: str | None = None
        """The first closing mark of thoughts that no mark in the text opened: the prompt did."""
        self.expected_inside = bool(inside)
        self.closed_inside = False
        """Whether thoughts that the text began inside of came to an end before it."""
        self._out = PieceBuffer(self._cursor, tools)
        self._sections: Sequence[str] = _OPENS_SECTION
        # Whether it reads a part of a text for another scanner.
        self._is_inner = False
        # Whether plain text needs no reading here.
        self._passes = False
        # The last plain chunks, none of them empty, for the end of the text before what comes.
        self._recent: deque[str] = deque(maxlen=TAIL)
        # Whether what comes behind a marker is being read, and whether the text ended while it was.
        self._in_head = self._is_cut_in_head = False
        self._begin()

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
    def count(self) -> int:
        """Calls begun so far."""
        return self._out.count

    @property
    def is_in_call(self) -> bool:
        """Whether the text so far ends within a call, or within what may begin one."""
        return self._in_head or self._out.is_open

    def resume(self) -> None:
        """What was flushed was not the end of the text: it goes on."""
        self._at_start = False
        self._out.tail, self._out.at_line_start, self._out.in_line_head = self._end

    def is_plain(self, text: str) -> bool:
        """Whether `text`, as the next chunk, is plain text. If so, it counts as scanned and need not be fed.

        It must not be empty.
        """
        if self._passes and _find_other(text) is None:
            self._recent.append(text)
            return True
        return False

    def is_argument(self, text: str) -> bool:
        """Whether `text`, as the next chunk, is a piece of the arguments of a call that has a name, and stays as it
        is. If so, it counts as scanned and need not be fed.
        """
        find_other = self._cursor.find_other
        if find_other is None or not self._out.committed or find_other(text) is not None:
            return False
        return self._cursor.pass_over(text)

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are decided with this text."""
        if text:
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
        if self._recent:
            self._out.tail = (self._out.tail + "".join(self._recent))[-TAIL:]
            self._recent.clear()

    def _begin(self) -> None:
        out = self._out
        # The end of the text before, which may turn out to go on.
        self._end = (out.tail, out.at_line_start, out.in_line_head)
        self._cursor.begin()
        self._out.reset()
        self._out.at_line_start = self._out.in_line_head = True
        # Whether no text has come so far.
        self._at_start = True
        self._passes = False
        self._out.tail = ""
        self._out.mentioned = None
        self._has_thoughts = False
        self._in_head = self._is_cut_in_head = False
        # Open `<details>` elements.
        self._details = 0
        self._steps = self._scan()
        next(self._steps)

    def _scan(self) -> Step[None]:
        cursor = self._cursor
        if self._inside:
            yield from self._begin_inside(self._inside)
        while True:
            while not cursor.waiting:
                if cursor.ended:
                    return
                self._passes = not self._out.at_line_start
                yield
            self._passes = False
            place = self._next_trigger()
            if place is None:
                self._text(cursor.take(cursor.waiting))
                continue
            if place > cursor.position:
                self._text(cursor.take(place - cursor.position))
            mark = cursor.text[cursor.position]
            if mark == "<" and self._passes_lone_mark():
                continue
            if mark == "`" or (mark == "~" and self._out.at_line_start):
                yield from self._code(mark)
                continue
            start = cursor.mark()
            if (yield from self._call(mark)):
                cursor.settle()
                self._out.reset()
                self._at_start = False
            else:
                self._out.discard()
                cursor.rewind(start)
                cursor.settle()
                self._text(cursor.take(1))

    def _next_trigger(self) -> int | None:
        text, position = self._cursor.text, self._cursor.position
        if self._at_start and text[position] in _START_WORDS:
            return position
        if self._out.at_line_start:
            match = _LINE_TRIGGER.match(text, position)
            if match:
                return match.end() - 1
        match = _TRIGGER.search(text, position)
        if match is None:
            return None
        # Its first character, or the one behind the white space of a line.
        return match.start() if text[match.start()] != "\n" else match.end() - 1

    def _text(self, text: str) -> None:
        if text:
            self._out.text(text)
            self._at_start = False

    def _call(self, mark: str) -> Step[bool]:
        """Read a call, or reasoning. False if neither comes; what was read is then text."""
        cursor, out = self._cursor, self._out
        at_line_start = out.at_line_start
        start = cursor.mark()
        words = _START_WORDS if self._at_start else _LINE_WORDS if at_line_start else _WORDS
        if mark in words:
            self._in_head = True
            opening = yield from one_of(cursor, words[mark])
            self._in_head = False
            if opening is not None and (yield from self._mark(opening)):
                return True
            if opening in _CALL_OPENERS:
                if self._may_be_shown() and (yield from self._shown_calls(start)):
                    return True
                if (yield from self._marked(opening)):
                    return True
            if opening in _ANSWERS and (yield from self._answer(opening)):
                return True
            if opening in _CALL_OPENERS and (yield from self._without_call(opening)):
                return True
            cursor.rewind(start)
        if mark in "{[" and self._may_be_shown() and (yield from self._shown_calls(start)):
            return True
        context = Context(self._tools)
        if mark == "{":
            return (yield from unmarked.json_call(cursor, out, context, at_line_start=at_line_start))
        if mark == "[":
            if (yield from unmarked.python_list(cursor, out, context, at_line_start=at_line_start)):
                return True
            cursor.rewind(start)
            return (yield from unmarked.json_list(cursor, out, context, at_line_start=at_line_start))
        return False

    # Thoughts and answers ---------------------------------------------------------------------------------

    def _mark(self, mark: str) -> Step[bool]:
        """Read what a mark of thoughts opens or closes. False if it is none, or only mentioned."""
        cursor, out = self._cursor, self._out
        is_opening = mark in THOUGHT_MARKS or mark == SUFFIXED
        if not is_opening and mark not in _LONE_MARKS:
            if mark not in DETAILS:
                return False
            self._details = max(self._details + (1 if mark == DETAILS[0] else -1), 0)
            cursor.settle()
            out.text(mark)
            return True
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

    def _counts(self, mark: str, *, opening: bool) -> Step[bool]:
        """Whether a mark that was just read counts where it stands."""
        cursor = self._cursor
        before, begins_line = self._line_before()
        while True:
            after = cursor.text[cursor.position : cursor.position + NEAR]
            if opening:
                counts = opens(mark, before, after, begins_line=begins_line, ended=cursor.ended)
            else:
                counts = closes(self._out.tail, before, after, begins_line=begins_line, ended=cursor.ended)
            if counts is not None:
                return counts
            yield

    def _line_before(self) -> tuple[str, bool]:
        """The end of the line before what comes, and whether it is only white space."""
        if self._out.at_line_start:
            return "", True
        return self._out.tail.rpartition("\n")[2], False

    def _passes_lone_mark(self) -> bool:
        """Read a closing mark that no mark opened, if what has come decides that it counts. Else, read nothing."""
        cursor, out = self._cursor, self._out
        text, start = cursor.text, cursor.position
        match = _CLOSING_TAG.match(text, start)
        if match is None or match.group() == out.mentioned:
            return False
        before, begins_line = self._line_before()
        after = text[match.end() : match.end() + NEAR]
        if not after or not closes(out.tail, before, after, begins_line=begins_line, ended=False):
            return False
        cursor.take(match.end() - start)
        self._close(match.group())
        self._at_start = False
        return True

    def _close(self, mark: str) -> None:
        """A closing mark that no mark opened: the prompt opened the thoughts."""
        if not self._has_thoughts and self.lone_closing is None:
            self.lone_closing = mark
        self._out.text(mark)
        self._out.at_line_start = self._out.in_line_head = True

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

    def _begin_inside(self, closings: Sequence[str]) -> Step[None]:
        """Read the thoughts that a text begins inside of, unless it opens thoughts or an answer itself."""
        cursor = self._cursor
        start = cursor.mark()
        yield from run(cursor, _WHITE, 1024)
        has_more = (yield from peek(cursor)) != ""
        opening = yield from one_of(cursor, (*_OPENING_MARKS, *_MARKS_AT_START))
        cursor.rewind(start)
        cursor.settle()
        if has_more and opening is None:
            self.closed_inside = yield from self._thoughts("", closings, ())

    def _thoughts(self, mark: str, closings: Sequence[str], stops: Sequence[str]) -> Step[bool]:
        """Read thoughts to their end. Returns False if that is the end of the text."""
        cursor, out = self._cursor, self._out
        self._has_thoughts, self._at_start = True, False
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
        if word is None and (yield from peek(cursor)) == "":
            inner = Scanner(self._tools)
            # Thoughts in it would be read again and again.
            inner._sections = ()
            pieces = inner.feed(cursor.kept) + inner.flush()
            if inner.count and not any(piece.text.strip() for piece in pieces if piece.call is None):
                cursor.rewind(start)
                cursor.settle()
                return None
        return cursor.settle()

    def _answer(self, mark: str) -> Step[bool]:
        """Read a message to the user, which holds no calls, behind its header. False if that is only mentioned."""
        cursor, out = self._cursor, self._out
        if not (yield from self._counts(mark, opening=True)):
            return False
        cursor.settle()
        self._at_start = False
        out.put(Piece("frame", mark))
        closings, stops = _ANSWERS[mark]
        _, word = yield from until(cursor, (*closings, *stops), out.text)
        if word in stops:
            cursor.back(len(word))
        elif word is not None:
            out.put(Piece("frame", word))
        out.at_line_start = out.in_line_head = True
        return True

    # Calls ------------------------------------------------------------------------------------------------

    def _marked(self, opening: str) -> Step[bool]:
        """Read the call after an opening marker. False if none of its formats reads one."""
        place = self._cursor.mark()
        self._in_head = True
        found = yield from self._read_format(opening, place)
        self._in_head = False
        return found

    def _read_format(self, opening: str, place: int) -> Step[bool]:
        cursor, out = self._cursor, self._out
        formats = _ANYWHERE.get(opening, [])
        if out.at_line_start and opening in _AT_LINE:
            formats = [*formats, *_AT_LINE[opening]]
        if self._at_start and opening in _AT_START:
            formats = [*formats, *_AT_START[opening]]
        first: str | None = None
        for entry in formats:
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

    def _may_be_shown(self) -> bool:
        return not self._out.at_line_start and not self._is_inner and may_be_shown(self._line_before()[0])

    def _shown_calls(self, start: int) -> Step[bool]:
        """Read calls that are in quotes, or within a sentence that shows them, as text. If they are not, read nothing.

        Only what follows them can tell, so they are held back, up to a limit.
        """
        cursor, out = self._cursor, self._out
        before, _ = self._line_before()
        place = cursor.mark()
        cursor.rewind(start)
        inner = Scanner(self._tools)
        inner._is_inner = True
        inner._at_start = inner._out.at_line_start = inner._out.in_line_head = False
        read, behind, is_over = 0, "", False
        are_shown: bool | None = None
        while are_shown is None and read < _MOST_SHOWN:
            while not cursor.waiting and not cursor.ended:
                yield
            # One after the other, so that its place is known when a piece decides.
            character = cursor.take(1)
            read += len(character)
            pieces = inner.feed(character) if character else inner.flush()
            for kind, text, call in pieces:
                if call is not None:
                    behind, is_over, are_shown = "", kind == "end", None
                elif is_over and kind == "text":
                    behind += text
                    are_shown = is_shown(before, behind)
                else:
                    are_shown = False
            if not character:
                break
        if not are_shown:
            cursor.rewind(place)
            return False
        cursor.rewind(start)
        text = cursor.take(read - inner.left - len(behind))
        cursor.settle()
        out.text(text)
        return True

    def _without_call(self, opening: str) -> Step[bool]:
        """Read markup that holds no call: a block without any, or the beginning of one that is cut off."""
        cursor, out = self._cursor, self._out
        above = out.tail.rstrip()
        is_control = is_token(opening)
        begins = out.at_line_start or ends_sentence(above)
        if not (is_control or opening.startswith("<")) or not begins:
            return False
        place = cursor.mark()
        closing = closing_of_block(opening)
        yield from white(cursor)
        is_empty = yield from literal(cursor, "[]")
        yield from white(cursor)
        if closing and (yield from literal(cursor, closing)):
            is_empty = True
        elif closing:
            is_empty = False
        if is_empty and (is_control or (yield from peek(cursor)) in {"", "\n", "\r"}):
            out.put(Piece("frame", cursor.kept))
            cursor.settle()
            out.at_line_start = out.in_line_head = True
            return True
        cursor.rewind(place)
        rest = cursor.text[cursor.position :]
        is_cut = cursor.ended and (self._is_cut_in_head or not rest)
        if not is_cut or len(rest) > _MOST_CUT or above[-1:] == ":":
            return False
        if not is_control and rest.strip() and rest.lstrip()[0] not in "{[<":
            return False
        cursor.take(len(rest))
        out.put(Piece("frame", cursor.settle()))
        return True

    # Code -------------------------------------------------------------------------------------------------

    def _code(self, mark: str) -> Step[None]:
        """Read a code span, or a code fence if this is the start of a line."""
        cursor = self._cursor
        cursor.mark()
        in_line_head = self._out.in_line_head
        ticks = yield from run(cursor, _TICKS[mark], 1024)
        if len(ticks) >= 3 and (yield from self._tool_code(ticks)):
            return
        info = yield from run(cursor, _INFO, 256) if len(ticks) >= 3 else _nothing()
        is_fence = len(ticks) >= 3 and (yield from peek(cursor)) in {"", "\n"}
        if not is_fence or not in_line_head:
            self._text(cursor.settle())
            if mark == "`":
                yield from self._code_span(ticks)
            return
        self._at_start = False
        if not (yield from self._fenced_call(info.strip(), ticks)):
            yield from self._fence(ticks)

    def _fence(self, ticks: str) -> Step[None]:
        """Read the rest of a fence. The ticks that close it are at the start of a line, also in a quote or a list."""
        cursor = self._cursor
        while True:
            if self._out.in_line_head:
                self._text((yield from run(cursor, _BEFORE_FENCE, 256)))
                if (yield from literal(cursor, ticks)):
                    self._text(ticks + (yield from run(cursor, _TICKS[ticks[0]], 1024)))
                    return
            _, end = yield from until(cursor, ("\n",), self._text)
            if end is None:
                return
            self._text(end)

    def _code_span(self, ticks: str) -> Step[None]:
        """Read the rest of a code span, to the same number of backticks or the end of the line."""
        cursor = self._cursor
        while True:
            _, end = yield from until(cursor, ("`", "\n"), self._text)
            if end is None:
                return
            self._text(end)
            if end == "\n":
                return
            more = yield from run(cursor, _TICKS["`"], 1024)
            self._text(more)
            if len(more) + 1 == len(ticks):
                return

    def _tool_code(self, ticks: str) -> Step[bool]:
        """Read a `tool_code` fence, in a line of its own or within one. Returns whether that came; if not, nothing."""
        cursor, out = self._cursor, self._out
        place = cursor.mark()
        behind = ""
        if (yield from literal(cursor, "tool_code")):
            behind = yield from peek(cursor)
        if not behind.isspace() or _TOOL_CODE.grammar is None:
            cursor.rewind(place)
            return False
        before = out.count
        yield from _TOOL_CODE.grammar(cursor, out, Context(self._tools, _TOOL_CODE.name, cursor.kept))
        if not out.committed:
            out.discard()
            cursor.rewind(place)
            return False
        out.reset()
        cursor.settle()
        self._at_start = False
        is_closed = False
        if out.count > before:
            place = cursor.mark()
            yield from run(cursor, _WHITE, 1024)
            is_closed = yield from literal(cursor, ticks)
            if not is_closed:
                cursor.rewind(place)
            cursor.settle()
        if not is_closed:
            yield from self._fence(ticks)
        return True

    def _fenced_call(self, language: str, ticks: str) -> Step[bool]:
        """Read the calls in a fence of JSON, and its closing line. Returns whether that is all; if not, it is text."""
        cursor, out = self._cursor, self._out
        is_whole = False
        if language in _CALL_FENCES and self._tools is not None:
            is_whole = yield from unmarked.fenced_json(cursor, out, Context(self._tools), ticks)
        if not is_whole:
            out.discard()
            out.text(cursor.settle())
        out.reset()
        cursor.settle()
        return is_whole


def _nothing() -> Step[str]:
    yield from ()
    return ""
