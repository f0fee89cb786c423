"""Finds tool calls in a text that is still coming: text in, pieces out.  Pure.

The rules:

- Each opening marker of the table (`formats.py`) begins a call if what follows reads as one. Otherwise it is text. If
  families share a marker, what follows decides between them.
- Markers that are only mentioned are text: in a code span, in a code fence of any language but `tool_code`, and in
  reasoning (`<think>` at the start of a line, and the like). Reasoning and fences that are never closed go on to the
  end of the text.
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
from collections.abc import Mapping, Sequence

from otel_llm.protocol.request import Tool
from otel_llm.tags import unmarked
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, until
from otel_llm.tags.formats import FORMATS, Format
from otel_llm.tags.grammars import Context
from otel_llm.tags.pieces import Piece, PieceBuffer

# Marks around the thoughts of a model, at the start of a line. Nothing between them is a call.
REASONING = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "◁think▷": "◁/think▷",
}
# The same, for marks that count anywhere.
_ANALYSIS = {
    "<|channel|>analysis<|message|>": "<|end|>",
    "<|start|>assistant<|channel|>analysis<|message|>": "<|end|>",
}


def _openers(at: str) -> dict[str, list[Format]]:
    openers: dict[str, list[Format]] = {}
    for entry in FORMATS:
        if entry.at == at and entry.grammar is not None:
            for opener in entry.openers:
                if not opener.startswith("`"):
                    openers.setdefault(opener, []).append(entry)
    return openers


_ANYWHERE, _AT_LINE, _AT_START = _openers("anywhere"), _openers("line"), _openers("start")
(_TOOL_CODE,) = (entry for entry in FORMATS if entry.openers == ("```tool_code",))

_FIRSTS = "".join(sorted({re.escape(opener[0]) for opener in _ANYWHERE} | {"{", "`", r"\["}))
_LINE_FIRSTS = "".join(sorted({re.escape(opener[0]) for opener in [*_AT_LINE, *REASONING]} | {"~"}))
# Text without any of these passes at once.
_NOT_PLAIN = re.compile(rf"[{_FIRSTS}\n]")
_TRIGGER = re.compile(rf"[{_FIRSTS}]|\n[^\S\n]*[{_LINE_FIRSTS}]")
_LINE_TRIGGER = re.compile(rf"\s*[{_LINE_FIRSTS}]")
_WHITE = re.compile(r"\s*")
_TICKS = {"`": re.compile(r"`*"), "~": re.compile(r"~*")}
_BEFORE_FENCE = re.compile(r"[ \t>]*")
_INFO = re.compile(r"[^`\n]*")


def _by_first(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for word in words:
        grouped[word[0]] = (*grouped.get(word[0], ()), word)
    return grouped


_WORDS = _by_first([*_ANYWHERE, *_ANALYSIS])
_LINE_WORDS = _by_first([*_ANYWHERE, *_ANALYSIS, *_AT_LINE, *REASONING])
_START_WORDS = _by_first([*_ANYWHERE, *_ANALYSIS, *_AT_LINE, *_AT_START, *REASONING])


class Scanner:
    """Scans one text. `tools`: the declared tools by name, None if they are not known."""

    def __init__(self, tools: Mapping[str, Tool] | None = None) -> None:
        self._tools = tools
        self._cursor = Cursor()
        self._out = PieceBuffer(self._cursor)
        self._begin()

    @property
    def held(self) -> str:
        """The text that has come and is not decided yet."""
        unwritten = self._out.unwritten
        begun = unwritten() if unwritten else ""
        return begun + self._cursor.kept + self._cursor.text[self._cursor.position :]

    @property
    def decided(self) -> int:
        """How many characters of all that were fed are decided."""
        return self._cursor.settled

    @property
    def began_at(self) -> int:
        """How many characters of all that were fed stand before the last call."""
        return self._out.began_at

    @property
    def count(self) -> int:
        """Calls begun so far."""
        return self._out.count

    def is_plain(self, text: str) -> bool:
        """Whether `text`, as the next chunk, is plain text. If so, it counts as scanned and need not be fed."""
        return self._in_plain_text and not self._out.at_line_start and _NOT_PLAIN.search(text) is None

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are decided with this text."""
        if text:
            self._cursor.feed(text)
            next(self._steps)
        return self._out.drain()

    def flush(self) -> list[Piece]:
        """The text is over: the pieces that were held back. Then another text can be scanned."""
        self._cursor.ended = True
        for _ in self._steps:
            pass
        pieces = self._out.drain()
        self._begin()
        return pieces

    def _begin(self) -> None:
        self._cursor.begin()
        self._out.reset()
        self._out.at_line_start = self._out.in_line_head = True
        # Whether no text has come so far.
        self._at_start = True
        self._in_plain_text = True
        self._steps = self._scan()
        next(self._steps)

    def _scan(self) -> Step[None]:
        cursor = self._cursor
        while True:
            while not cursor.waiting:
                if cursor.ended:
                    return
                self._in_plain_text = True
                yield
            self._in_plain_text = False
            place = self._next_trigger()
            if place is None:
                self._text(cursor.take(cursor.waiting))
                continue
            if place > cursor.position:
                self._text(cursor.take(place - cursor.position))
            mark = cursor.text[cursor.position]
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
        return match.end() - 1 if match else None

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
            opening = yield from one_of(cursor, words[mark])
            closing = _ANALYSIS.get(opening or "") or (REASONING.get(opening or "") if at_line_start else None)
            if closing is not None:
                out.text(cursor.settle())
                _, end = yield from until(cursor, (closing,), out.text)
                out.text(end or "")
                return True
            if opening is not None and (yield from self._marked(opening)):
                return True
            cursor.rewind(start)
        context = Context(self._tools)
        if mark == "{":
            return (yield from unmarked.json_call(cursor, out, context, at_line_start=at_line_start))
        if mark == "[":
            if (yield from unmarked.python_list(cursor, out, context, at_line_start=at_line_start)):
                return True
            cursor.rewind(start)
            return (yield from unmarked.json_list(cursor, out, context, at_line_start=at_line_start))
        return False

    def _marked(self, opening: str) -> Step[bool]:
        """Read the call after an opening marker. False if none of its formats reads one."""
        cursor, out = self._cursor, self._out
        place = cursor.mark()
        formats = [*_ANYWHERE.get(opening, ())]
        if out.at_line_start:
            formats += _AT_LINE.get(opening, ())
        if self._at_start:
            formats += _AT_START.get(opening, ())
        for entry in formats:
            if entry.grammar is not None:
                if (yield from entry.grammar(cursor, out, Context(self._tools, entry.name, opening))):
                    return True
                out.discard()
                cursor.rewind(place)
        return False

    # Code -------------------------------------------------------------------------------------------------

    def _code(self, mark: str) -> Step[None]:
        """Read a code span, or a code fence if this is the start of a line."""
        cursor = self._cursor
        cursor.mark()
        in_line_head = self._out.in_line_head
        ticks = yield from run(cursor, _TICKS[mark], 1024)
        info = yield from run(cursor, _INFO, 256) if len(ticks) >= 3 else _nothing()
        is_fence = len(ticks) >= 3 and (yield from peek(cursor)) in {"", "\n"}
        if not is_fence or not (in_line_head or info.strip() == "tool_code"):
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

    def _fenced_call(self, language: str, ticks: str) -> Step[bool]:
        """Read the calls in a fence, and its closing line. Returns whether that is all; if not, the rest is text."""
        cursor, out = self._cursor, self._out
        has_calls = False
        if language == "tool_code" and _TOOL_CODE.grammar is not None:
            context = Context(self._tools, _TOOL_CODE.name, cursor.kept)
            before = out.count
            has_calls = (yield from _TOOL_CODE.grammar(cursor, out, context)) and out.count > before
        elif language == "json" and self._tools is not None:
            is_whole = yield from unmarked.fenced_json(cursor, out, Context(self._tools), ticks)
            if is_whole:
                out.reset()
                cursor.settle()
                return True
        if not has_calls:
            out.discard()
            out.text(cursor.settle())
            return False
        out.reset()
        cursor.settle()
        place = cursor.mark()
        yield from run(cursor, _WHITE, 1024)
        is_closed = yield from literal(cursor, ticks)
        if not is_closed:
            cursor.rewind(place)
        cursor.settle()
        return is_closed


def _nothing() -> Step[str]:
    yield from ()
    return ""
