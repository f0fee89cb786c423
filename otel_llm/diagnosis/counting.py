"""Whether a message asks for something several times: then the same call twice is what was asked for.  Pure.

A number alone asks for nothing: it may be an argument (`2 and 3`), a date or a price.
"""

from __future__ import annotations

import re

_LONGEST = 20_000

_WORDS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|several|multiple|many|both|"
    "zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|mehrere|beide|"
    "deux|trois|quatre|cinq|six|sept|huit|neuf|dix|plusieurs|"
    "dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|varias|varios|"
    "due|tre|quattro|cinque|duas|dois|três|quatro"
)
_NUMBER = rf"(?:(?:[2-9]|[1-9]\d{{1,2}})(?![\d.,:/%°-]*\d)|{_WORDS})"
# What a number may count that is no call.
_MEASURES = (
    "seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|months?|years?|degrees?|percent|dollars?|euros?|pounds?|"
    "miles?|meters?|metres?|kilometers?|kilometres?|characters?|words?|lines?|tokens?|bytes?|items?|results?|"
    "sentences?|paragraphs?|pages?|points?|sekunden|minuten|stunden|tage|wochen|jahre|jours?|heures?|días|horas"
)
_ASKS = re.compile(
    r"\b(?:twice|thrice|doppelt|zweimal|dreimal|viermal|fünfmal)\b"
    rf"|\b{_NUMBER}\s*(?:x\b|\u00d7|\*|-?\s*times\b|-?\s*mal\b|fois\b|veces\b|vezes\b|volte\b|раза?\b)"
    r"|[2-9二两三四五六七八九十]\s*(?:回|次|번|度|个|個)"
    r"|\b(?:x|\u00d7)\s*[2-9]\b"
    r"|\b(?:again|once more|one more|another|repeatedly|repeat|each of (?:them|us|the))\b"
    rf"|\b{_NUMBER}\s+(?!(?:{_MEASURES})\b)(?:\w+\s+){{0,2}}?(?!(?:{_MEASURES})\b)"
    r"(?:\w{2,}s|dice|men|people|children)\b",
    re.IGNORECASE,
)


def asks_for_several(text: str) -> bool:
    """Whether the text asks for something more than once: `three times`, `two dice`, `again`."""
    return _ASKS.search(text[:_LONGEST]) is not None
