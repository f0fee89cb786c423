"""The thoughts of a model that are marked in a text, and the code in it.  Pure.

How a text is read:

- Code is a span in backticks, a fence, or an indented block. What stands in it is only mentioned.
- A mark that is a token of its own counts anywhere. One that looks like a tag (`<think>`) must begin a line, or stand
  before several lines of thoughts.
- Thoughts that begin the text and are never closed go on to its end.
- A closing mark without an opening one ends thoughts that the chat template opened: all text before it is thoughts.
- A mark in quotes, or with space and words on both sides in its line, is only mentioned; so is one that the text
  around it shows to be its subject (see `mentions.py`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from otel_llm.tags.mentions import (
    CODE,
    is_defined_below,
    is_explained,
    is_labelled,
    is_named,
    is_quoted,
    is_set_apart,
    is_subject,
    is_type_argument,
    line_around,
    without_head,
)

THOUGHT_MARKS = {
    "<think>": "</think>",  # Qwen3, DeepSeek R1, GLM, Nemotron and many others
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",  # EXAONE
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "<mm:think>": "</mm:think>",  # MiniMax M3
    "<longcat_think>": "</longcat_think>",  # LongCat
    "<ifm|think>": "</ifm|think>",  # K2 Horizon
    "<ifm|think_fast>": "</ifm|think_fast>",
    "<ifm|think_faster>": "</ifm|think_faster>",
    "[THINK]": "[/THINK]",  # Magistral
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
    "<|think:start|>": "<|think:end|>",  # Solar Open 2
    "<|begin_of_thought|>": "<|end_of_thought|>",  # OpenThinker
    "<|plamo:begin_think:plamo|>": "<|plamo:end_think:plamo|>",  # PLaMo 3
    "<|channel>thought": "<channel|>",  # Gemma 4
    "<|channel|>analysis<|message|>": "<|end|>",  # gpt-oss
    "<|open|>think<|sep|>": "<|close|>think<|sep|>",  # Kimi K3
    "◁think▷": "◁/think▷",  # Kimi-VL
}
"""Opening and closing marks of the thoughts of known families of models."""

# `<|end|>` ends other messages too.
_CLOSING = frozenset(THOUGHT_MARKS.values()) - {"<|end|>"}
_MARK = re.compile("|".join(sorted(map(re.escape, {*THOUGHT_MARKS, *_CLOSING}), key=len, reverse=True)))
# One of these is in every mark.
_WORDS = ("think", "thought", "reasoning>", "THINK", "<|inner_", "<channel|>", "<|channel|>analysis")
_PLACES = re.compile(rf"(?P<mark>{_MARK.pattern})|(?P<ticks>`+|~~~+)|\n(?=    |\t)|\A(?=    |\t)")
# What may stand before the first word of a line.
_HEAD = re.compile(r"[ \t>*+\-#]*(?:\d+[.)][ \t]*)?")
_INDENTED = re.compile(r"(?:(?: {4}|\t)[^\n]*\n?|[ \t]*\n)+")
# Two marks with only this between them are mentioned together.
_BETWEEN = re.compile(r"[\s/,.…&+-]*(?:and|or|und|oder|et|ou|to|y)?[\s/,.…&+-]*", re.IGNORECASE)
# Two marks that are items of a list, one below the other.
_NEXT_ITEM = re.compile(r"[ \t]*\n[ \t]*(?:[-*+•–]|\d+[.)])[ \t]+")
_ENDS = frozenset(".!?…。！？")
_STOPS = _ENDS | frozenset(":;")
_NEAR = 400


class Thought(NamedTuple):
    """Marked thoughts: from `start` to `end`, with the marks. `mark` is the one that shows it."""

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
    """Whether there may be a mark in the text, mentioned or not."""
    return any(word in text for word in _WORDS)


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
        # Closing marks that do not come any more.
        self._over: set[str] = set()

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
            elif mark in THOUGHT_MARKS:
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
        if self._line_end < end:
            line_end = text.find("\n", end)
            self._line_end = len(text) if line_end < 0 else line_end
        line_end = self._line_end
        begins_line = len(ticks) >= 3 and _HEAD.fullmatch(line_around(text, start, start)[0])
        if begins_line and "`" not in text[end : min(line_end, end + _NEAR)]:
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

    def _opening(self, start: int, end: int, mark: str) -> int:
        text, closing = self._text, THOUGHT_MARKS[mark]
        before, after = line_around(text, start, end)
        behind = self.thoughts[-1].end if self.thoughts else 0
        begins_line = not (before if behind < start - len(before) else text[behind:start]).strip()
        is_token = mark.startswith("<|")
        close = -1 if closing in self._over else text.find(closing, end)
        if close < 0:
            self._over.add(closing)
            is_cut = is_token or (begins_line and after[:1] not in {" ", ","})
            if is_cut and not self._is_mentioned(start, end, before, after):
                # Thoughts that were not finished.
                self.thoughts.append(Thought(start, len(text), text[end:], mark))
                return len(text)
            return end
        stop = close + len(closing)
        inner = text[end:close]
        if "\n" in inner:
            if is_quoted(text, start, stop):
                return stop
            if self._is_mentioned(start, end, before, after) or (not is_token and _is_in_prose(before, after)):
                return end
            is_mentioned = _NEXT_ITEM.fullmatch(inner) is not None and without_head(before)[1]
        else:
            is_mentioned = is_quoted(text, start, end) or is_quoted(text, start, stop)
            is_mentioned = is_mentioned or is_set_apart(text, start, stop, before, line_around(text, stop, stop)[1])
            opens = not inner.strip() or is_subject(after, of_cjk=True)
            if opens and is_subject(text[stop : stop + _NEAR], of_cjk=True):
                is_mentioned = True
            if not is_mentioned and not is_token:
                is_pair = bool(inner.strip()) and _BETWEEN.fullmatch(inner) is not None
                is_mentioned = is_pair or not (begins_line or before.rstrip()[-1:] in _ENDS)
        if not is_mentioned:
            self.thoughts.append(Thought(start, stop, inner, mark))
        return stop

    def _closing(self, start: int, end: int, mark: str) -> None:
        text = self._text
        before, after = line_around(text, start, end)
        if _is_in_prose(before, after) or is_subject(after, of_cjk=True):
            return
        if self._is_mentioned(start, end, before, after):
            # Or at its end: `close it with </think>.`
            return
        behind = self.thoughts[-1].end if self.thoughts else 0
        self.thoughts.append(Thought(behind, end, text[behind:start], mark))

    def _is_mentioned(self, start: int, end: int, before: str, after: str) -> bool:
        text = self._text
        if is_set_apart(text, start, end, before, after) or is_type_argument(text, start, end) or is_named(before):
            return True
        if is_labelled(text, start, end, before):
            return True
        said, is_item = without_head(before)
        if said.strip():
            return False
        return is_explained(after) if after.strip() else is_item or is_defined_below(text, end)


def _is_in_prose(before: str, after: str) -> bool:
    """Whether a sentence goes on behind a mark that has space before it."""
    said = before.rstrip()
    if not said or said[-1] in _STOPS or not before[-1:].isspace():
        return False
    return bool(after.strip()) and not after[0].isalnum()
