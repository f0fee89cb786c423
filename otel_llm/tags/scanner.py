"""Finds tool calls in a text that is still coming: text in, pieces out.  Pure.

The rules:

- Each opening marker of the table (`formats.py`) begins a call if what follows it reads as one. If not, the marker is
  text, and so are markers that are only talked about: in a code span, in a fence of any language but `tool_code`, in
  reasoning (`<think>` at the head of a line and the like). What is behind a marker decides among families that share
  it. Reasoning and fences that are never closed go on to the end of the text.
- Without a marker a call is told by its looks: see `unmarked.py`.
- Once a call has begun, it goes on to its closing marker or, where none comes, to the end of its JSON. What then
  follows is text again. A call whose JSON is whole is told at once; its closing marker goes with it when it comes.
- A call that the text ends within is told as far as it came, and is not complete.
- What is held back is the least that leaves a choice open: the beginning of a marker, what stands between a marker and
  the first key of its body, a call that only its end decides.

The way in which the text is cut into chunks cannot change what is found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from otel_llm.protocol.request import Tool
from otel_llm.tags import unmarked
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, until
from otel_llm.tags.formats import FORMATS, Format
from otel_llm.tags.found import Findings, Piece
from otel_llm.tags.grammars import Context

# Between these a model thinks; nothing that stands there is a call.
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
# The same for markers that stand anywhere.
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
# Text in which none of these stands passes at once.
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
    """Reads one text. `tools`: the declared tools by name, None where they are not known."""

    def __init__(self, tools: Mapping[str, Tool] | None = None) -> None:
        self._tools = tools
        self._cursor = Cursor()
        self._found = Findings(self._cursor)
        self._begin()

    @property
    def held(self) -> str:
        """What has come and is not decided yet."""
        aside = self._found.aside
        begun = aside() if aside else ""
        return begun + self._cursor.kept + self._cursor.text[self._cursor.position :]

    @property
    def decided(self) -> int:
        """How many of the characters that were fed are decided."""
        return self._cursor.settled

    @property
    def began_at(self) -> int:
        """How many of the characters that were fed stand before the last call."""
        return self._found.began_at

    @property
    def count(self) -> int:
        """Calls begun so far."""
        return self._found.count

    def is_plain(self, text: str) -> bool:
        """Whether `text`, coming now, is nothing but text. If so it counts as scanned."""
        return self._in_plain_text and not self._found.at_line_start and _NOT_PLAIN.search(text) is None

    def feed(self, text: str) -> list[Piece]:
        """What has become clear with this text."""
        if text:
            self._cursor.feed(text)
            next(self._steps)
        return self._found.drain()

    def flush(self) -> list[Piece]:
        """The text is over: what was held back. Another text may follow, as if it were the first."""
        self._cursor.ended = True
        for _ in self._steps:
            pass
        pieces = self._found.drain()
        self._begin()
        return pieces

    def _begin(self) -> None:
        self._cursor.ended = False
        self._found.over()
        self._found.at_line_start = True
        # Nothing so far at all.
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
            if mark == "`" or (mark == "~" and self._found.at_line_start):
                yield from self._code(mark)
                continue
            start = cursor.mark()
            known = yield from self._call(mark)
            if known:
                cursor.settle()
                self._found.over()
                self._at_start = False
            else:
                self._found.forget()
                cursor.rewind(start)
                cursor.settle()
                self._text(cursor.take(1))

    def _next_trigger(self) -> int | None:
        text, position = self._cursor.text, self._cursor.position
        if self._at_start and text[position] in _START_WORDS:
            return position
        if self._found.at_line_start:
            match = _LINE_TRIGGER.match(text, position)
            if match:
                return match.end() - 1
        match = _TRIGGER.search(text, position)
        return match.end() - 1 if match else None

    def _text(self, text: str) -> None:
        if text:
            self._found.text(text)
            self._at_start = False

    def _call(self, mark: str) -> Step[bool]:
        """Read what a marker, or its looks, say is a call. False where it is none; what was read is then text."""
        cursor, found = self._cursor, self._found
        at_line_start = found.at_line_start
        start = cursor.mark()
        words = _START_WORDS if self._at_start else _LINE_WORDS if at_line_start else _WORDS
        if mark in words:
            opening = yield from one_of(cursor, words[mark])
            thinks_to = _ANALYSIS.get(opening or "") or (REASONING.get(opening or "") if at_line_start else None)
            if thinks_to is not None:
                self._found.text(cursor.settle())
                _, end = yield from until(cursor, (thinks_to,), found.text)
                found.text(end or "")
                return True
            if opening is not None and (yield from self._marked(opening)):
                return True
            cursor.rewind(start)
        context = Context(self._tools)
        if mark == "{":
            return (yield from unmarked.json_call(cursor, found, context, at_line_start=at_line_start))
        if mark == "[":
            if (yield from unmarked.python_list(cursor, found, context, at_line_start=at_line_start)):
                return True
            cursor.rewind(start)
            return (yield from unmarked.json_list(cursor, found, context, at_line_start=at_line_start))
        return False

    def _marked(self, opening: str) -> Step[bool]:
        cursor, found = self._cursor, self._found
        place = cursor.mark()
        formats = [*_ANYWHERE.get(opening, ())]
        if found.at_line_start:
            formats += _AT_LINE.get(opening, ())
        if self._at_start:
            formats += _AT_START.get(opening, ())
        for entry in formats:
            if entry.grammar is not None:
                if (yield from entry.grammar(cursor, found, Context(self._tools, entry.name, opening))):
                    return True
                found.forget()
                cursor.rewind(place)
        return False

    # Code -------------------------------------------------------------------------------------------------

    def _code(self, mark: str) -> Step[None]:
        """A code span up to the same number of backticks or the end of its line; or, at the head of a line, a fence."""
        cursor = self._cursor
        cursor.mark()
        in_line_head = self._found.in_line_head
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
        """Read the rest of a fence, up to the ticks that close it at the head of a line, in a list or a quote too."""
        cursor = self._cursor
        while True:
            if self._found.in_line_head:
                self._text((yield from run(cursor, _BEFORE_FENCE, 256)))
                if (yield from literal(cursor, ticks)):
                    self._text(ticks + (yield from run(cursor, _TICKS[ticks[0]], 1024)))
                    return
            _, end = yield from until(cursor, ("\n",), self._text)
            if end is None:
                return
            self._text(end)

    def _code_span(self, ticks: str) -> Step[None]:
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
        """Read the calls that the fence is there for, and its closing line. What was read is text if there are none.

        What stands behind them in the fence is text, up to the closing line.
        """
        cursor, found = self._cursor, self._found
        read = False
        if language == "tool_code" and _TOOL_CODE.grammar is not None:
            context = Context(self._tools, _TOOL_CODE.name, cursor.kept)
            before = found.count
            read = (yield from _TOOL_CODE.grammar(cursor, found, context)) and found.count > before
        elif language == "json" and self._tools is not None:
            only = yield from unmarked.fenced_json(cursor, found, Context(self._tools), ticks)
            if only:
                found.over()
                cursor.settle()
                return True
        if not read:
            found.forget()
            found.text(cursor.settle())
            return False
        found.over()
        cursor.settle()
        place = cursor.mark()
        yield from run(cursor, _WHITE, 1024)
        closed = yield from literal(cursor, ticks)
        if not closed:
            cursor.rewind(place)
        cursor.settle()
        return closed


def _nothing() -> Step[str]:
    yield from ()
    return ""
