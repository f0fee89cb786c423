"""The marks of thoughts and of answers in the texts of known families, and where they count.  Pure.

Whether a mark counts is decided by its line before it and by a bounded piece of text behind it, so that a stream and a
whole text are read alike:

- A mark in quotes is only mentioned, and so is one between two words, with space or punctuation behind it.
- A mark that is a token of its own counts anywhere else. One that looks like a tag (`<think>`) must begin a line or
  stand behind a sentence, or before text that could not be about it: a new line, a long or unfinished line, or markup.
- A tag with words behind it that speak of tags is only mentioned: `<think> and </think>`, `<think> tags`,
  `<think> is an element`. So is a closing mark at the head of a line.
- In thoughts, the first closing mark counts that does not stand in backticks.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from otel_llm.tags.mentions import is_subject, leads_to_mark

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
    "[unused16]": "[unused17]",  # openPangu
    "<unused94>thought": "<unused95>",  # MedGemma
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
    "<|think:start|>": "<|think:end|>",  # Solar Open 2
    "<|think|>": "<|end|>",  # Solar Open
    "<|begin|>assistant<|think|>": "<|end|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",  # OpenThinker
    "<|plamo:begin_think:plamo|>": "<|plamo:end_think:plamo|>",  # PLaMo 3
    "<|channel>thought": "<channel|>",  # Gemma 4
    "<|channel|>analysis<|message|>": "<|end|>",  # gpt-oss
    "<|start|>assistant<|channel|>analysis<|message|>": "<|end|>",
    "<|open|>think<|sep|>": "<|close|>think<|sep|>",  # Kimi K3
    "<|content_thinking|>": "<|end_message|>",  # Inkling
    "<|message_model|><|content_thinking|>": "<|end_message|>",
    "<|start|>assistant to=self<|message|>": "<|eom|>",  # Muse
    " to=self<|message|>": "<|eom|>",
    "Here are my reasoning steps:\n": "[BEGIN FINAL RESPONSE]",  # Apriel
    "◁think▷": "◁/think▷",  # Kimi-VL
}
"""Opening and closing marks of the thoughts of known families of models."""

AT_START = frozenset({" to=self<|message|>", "Here are my reasoning steps:\n"})
"""Marks that count only at the start of a text."""


DETAILS = ("<details", "</details>")
"""Some front ends show thoughts in such an element; then its end is theirs."""


class Answer(NamedTuple):
    """The marks around an answer: those that close it, and others that follow it."""

    closings: tuple[str, ...]
    stops: tuple[str, ...] = ()


_INKLING = Answer(
    ("<|end_message|>",), ("<|message_model|>", "<|content_invoke_tool_json|>", "<|content_model_end_sampling|>")
)
_SOLAR = Answer(("<|end|>", "<|flush|>"), ("<|begin|>", "<|tool_calls|>"))
ANSWER_MARKS = {
    "<|content_text|>": _INKLING,
    "<|message_model|><|content_text|>": _INKLING,
    "<|content|>": _SOLAR,  # Solar Open
    "<|begin|>assistant<|content|>": _SOLAR,
    "<|open|>response<|sep|>": Answer(("<|close|>response<|sep|>",), ("<|open|>tools<|sep|>",)),  # Kimi K3
    "<|START_RESPONSE|>": Answer(("<|END_RESPONSE|>",), ("<|START_ACTION|>",)),  # Command R7B
    "<|START_TEXT|>": Answer(("<|END_TEXT|>",), ("<|START_ACTION|>",)),  # Command A
    "<|begin_of_solution|>": Answer(("<|end_of_solution|>",)),  # OpenThinker
}
"""Opening marks of answers. Nothing between them and what ends them is a call. For headers of messages, see
`messages.py`."""

LONE_ANSWER_MARKS = (
    "<|close|>response<|sep|>",
    "<|close|>message<|sep|>",
    "<|content_model_end_sampling|>",
    "[END FINAL RESPONSE]",
    "<|END_RESPONSE|>",
    "<|END_TEXT|>",
)
"""Marks around an answer that need no opening mark before them: the prompt may have it."""

# These end messages of other kinds too, so that alone they say nothing.
_SHARED = frozenset({"<|end|>", "<|end_message|>", "<|eom|>"})
CLOSING_MARKS = (
    *dict.fromkeys(mark for mark in THOUGHT_MARKS.values() if mark not in _SHARED),
    "</think:opensource>",  # Hunyuan V4; other suffixes show themselves
)
"""Closing marks that show thoughts even without an opening one: the prompt opened them."""

# What ends thoughts besides their closing mark, and is no part of them.
_STOPS = {
    "<|end|>": (
        "<|start|>assistant",
        "<|channel|>final<|message|>",
        "<|channel|>commentary to=",
        "<|begin|>assistant",
        "<|content|>",
    ),
    "<|end_message|>": ("<|message_model|>", "<|content_text|>", "<|content_invoke_tool_json|>"),
    "<|eom|>": ("<|eot|>", "<|start|>assistant"),
    "<|close|>think<|sep|>": ("<|open|>response<|sep|>", "<|open|>tools<|sep|>"),
}
# Hunyuan's tags may have a suffix, one for each checkpoint.
SUFFIXED, SUFFIXED_CLOSING = "<think:", "</think:"
SUFFIX = re.compile(r"[\w.\-]*")
MOST_SUFFIX = 32

NEAR = 400
"""How many characters behind a mark may have a say in whether it counts."""
ABOVE = 64
"""How many characters before it."""
_BEFORE = 2
_ABOUT = 32
_QUOTES = frozenset("\"'“”‘’«»„‹›「」『』()[]{}*_`")
_ENDS = frozenset(".!?…。！？")
_STOP_SIGNS = _ENDS | frozenset(":;")
_AROUND_WORDS = frozenset(" \t,.;:!?)/")
_MAY_BE_ABOUT = frozenset(" \t/,.…&+-:;|")
# Two marks with only this between them are mentioned together.
_BETWEEN = re.compile(r"[\s/,.…&+-]*(?:and|or|und|oder|et|ou|to|y)?[\s/,.…&+-]*", re.IGNORECASE)
_SPEAKS_OF_TAGS = re.compile(r"[ \t]*(?:[,;:|]|(?:tags?|tokens?|blocks?|markers?|marks?|elements?|sections?|and|or)\b)")
_LONGEST_NAMED = 40


def closing_of(mark: str) -> str:
    """The closing mark of thoughts that `mark` opens."""
    return f"</{mark[1:]}" if mark.startswith(SUFFIXED) else THOUGHT_MARKS[mark]


def stops_of(closing: str) -> tuple[str, ...]:
    """What also ends thoughts that `closing` closes, and belongs to what follows."""
    return _STOPS.get(closing, ())


def opens(mark: str, before: str, after: str, *, begins_line: bool, ended: bool) -> bool | None:
    """Whether thoughts or an answer begin at an opening mark. None: more text decides.

    `before`: the line before the mark, its last two characters at least. `begins_line`: there is only white space in
    it. `after`: the text behind the mark. `ended`: no more text comes.
    """
    closing = closing_of(mark) if mark.startswith(SUFFIXED) or mark in THOUGHT_MARKS else ""
    before = before[-_BEFORE:]
    if before and before[-1] in _QUOTES:
        quoted = _is_in_quotes(closing, after, ended=ended)
        if quoted is not False:
            return None if quoted is None else False
    said = before.rstrip()
    if mark.startswith(("<|", " to=", "[unused", "<unused")) or mark in AT_START:
        if begins_line or not said or said == before:
            return True
        if not after and not ended:
            return None
        return not (after[:1] and after[0] in _AROUND_WORDS)
    if begins_line or (said and said[-1] in _ENDS):
        return _opens_line(closing, after, ended=ended)
    return _opens_in_line(closing, after, ended=ended)


def closes(above: str, before: str, after: str, *, begins_line: bool, ended: bool) -> bool | None:
    """Whether thoughts end at a closing mark without an opening one. None: more text decides. See `opens`.

    `above`: the text before the mark, its last `ABOVE` characters at least, with those of its line.
    """
    before = before[-_BEFORE:]
    if before and before[-1] in _QUOTES:
        if not after and not ended:
            return None
        if after[:1] and after[0] in _QUOTES:
            return False
    said = before.rstrip()
    if begins_line:
        above = above[-ABOVE:].rstrip()
        if above and leads_to_mark(above):
            sentence = _goes_on_below(after, ended=ended)
            if sentence is not False:
                return None if sentence is None else False
        return _closes_line(after, ended=ended)
    if not said or said == before or said[-1] in _STOP_SIGNS:
        return True
    # In a sentence: `close it with </think>.`
    if not after[:1]:
        return True if ended else None
    if after[0].isalnum() or after[0] in "\r\n":
        return True
    line = after[:NEAR].lstrip(" \t")
    if not line:
        return True if ended or len(after) >= NEAR else None
    return line[0] in "\r\n"


def _is_in_quotes(closing: str, after: str, *, ended: bool) -> bool | None:
    """Whether the quotes end behind the opening mark, or behind the closing one in the same line."""
    if not after:
        return False if ended else None
    if after[0] in _QUOTES:
        return True
    if not closing:
        return False
    line, has_break, _ = after[:NEAR].partition("\n")
    place = line.find(closing)
    if place < 0:
        return False if has_break or ended or len(after) >= NEAR else None
    behind = after[place + len(closing) :]
    if not behind:
        return False if ended else None
    return behind[0] in _QUOTES


def _opens_line(closing: str, after: str, *, ended: bool) -> bool | None:
    if not after:
        return True if ended else None
    if after[0] not in _MAY_BE_ABOUT and after[0].isascii():
        return True
    line, has_break, _ = after[:_ABOUT].partition("\n")
    if not has_break and len(after) < _ABOUT and not ended:
        return None
    between = _BETWEEN.match(line)
    if between is not None and between.group().strip() and line.startswith(closing, between.end()):
        return False
    return _SPEAKS_OF_TAGS.match(line) is None and not is_subject(line, of_cjk=True)


def _closes_line(after: str, *, ended: bool) -> bool | None:
    """At the head of a line, unless a verb or a noun behind it makes it the subject: `</think> is missing`."""
    if not after:
        return True if ended else None
    if after[0] not in " \t" and after[0].isascii():
        return True
    line, has_break, _ = after[:_ABOUT].partition("\n")
    if not has_break and len(after) < _ABOUT and not ended:
        return None
    return not is_subject(line, of_cjk=True)


def _goes_on_below(after: str, *, ended: bool) -> bool | None:
    """Whether the sentence before a mark goes on in the line below it: `close it with ⏎ </think> ⏎ and answer`."""
    line = after[:NEAR].lstrip(" \t\r")
    if not line:
        return False if ended or len(after) >= NEAR else None
    below = line[1:].lstrip(" \t")
    if line[0] != "\n":
        return False
    if not below:
        return False if ended or len(after) >= NEAR else None
    return below[0].islower()


def _opens_in_line(closing: str, after: str, *, ended: bool) -> bool | None:
    """Behind words, only what no sentence about the mark would have behind it: a new line, a long line, markup."""
    if not after:
        return False if ended else None
    if after[0] in "\r\n":
        return True
    if not after[0].isalnum() and after[0] != "<":
        return False
    line, has_break, _ = after[:NEAR].partition("\n")
    place = line.find(closing)
    if place >= 0:
        return place > _LONGEST_NAMED or "<" in line[:place]
    if has_break:
        return True
    if len(after) >= NEAR:
        return True
    return False if ended else None


class BacktickCount:
    """Counts backticks in the present line of thoughts: whether a closing mark in them stands in a code span."""

    __slots__ = ("_count", "_last")

    def __init__(self) -> None:
        self._count = 0
        self._last = ""

    def add(self, text: str) -> None:
        if text:
            line_break = text.rfind("\n")
            self._count = text.count("`", line_break + 1) + (self._count if line_break < 0 else 0)
            self._last = text[-1]

    @property
    def may_hold_mark(self) -> bool:
        """Whether what comes next is in a code span, right behind its backtick."""
        return self._last == "`" and self._count % 2 == 1
