"""Tells calls that a text only shows, in quotes or within a sentence about them, from those of a model.  Pure."""

from __future__ import annotations

import re

_SENTENCE_ENDS = frozenset(".!?…。！？")
# Quotes before a call, and those behind it that close them.
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "„": "“”", "«": "»", "‹": "›", "「": "」", "『": "』"}
# Words before a call that is only shown.
_SHOWS = re.compile(
    r"(?i:\b(?:looks?|looked|written|formatted|something)(?: \w+){0,3} (?:like|as|so)|\b(?:such as|for example"
    r"|for instance|e\.g\.|i\.e\.|namely|the (?:form|format|syntax|shape|pattern|template)(?: \w+){0,2}"
    r"|an? (?:string|text|message|line|call) (?:like|such as|of the form)|like this|as follows"
    r"|(?:model|models|LLM|assistant|template|it|they) (?:writes?|emits?|prints?|outputs?|generates?|produces?)"
    r"|zum Beispiel|z\. ?B\.|par exemple|por ejemplo))[,:]?[ \t]+$"
)


def ends_sentence(above: str) -> bool:
    """Whether a sentence ends with this text."""
    return above[-1:] in _SENTENCE_ENDS


def may_be_shown(before: str) -> bool:
    """Whether the line before a call opens a quote, or says that something is written so."""
    last = before[-1:]
    return last in _QUOTES or (last.isspace() and _SHOWS.search(before) is not None)


def is_shown(before: str, behind: str) -> bool | None:
    """Whether calls with this before them in their line, and this behind them, stand in quotes or within a sentence.
    None: more text decides. Some models put all they write in quotes.
    """
    quote = _QUOTES.get(before[-1:])
    if quote is not None:
        rest = behind.lstrip()
        if not rest or rest[0] not in quote:
            return False if rest else None
        if before[:-1].strip():
            return True
        behind = rest[1:]
    line = behind.lstrip(" \t")
    return (line[0].isalnum() or line[0] in ",;.!?)") if line else None
