"""What a request says, to see whether something in the answer was asked for.  Pure; never raises.

Only references are kept, so a request costs nothing until its answer is judged. An iterator is not read, because that
would consume it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from otel_llm.protocol.fields import given, is_a

_SOURCES = frozenset(
    {
        "messages",
        "input",
        "instructions",
        "tools",
        "functions",
        "prompt",
        "prediction",
        "response_format",
        "text",
        "stop",
    }
)
# Most values and characters that are read.
_MOST_VALUES = 100_000
_MOST_CHARACTERS = 8 * 1_048_576


_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16))


class RequestText:
    """The texts of one request."""

    __slots__ = ("_sources",)

    def __init__(self, kwargs: Mapping[str, Any]) -> None:
        # The application may add to its list of messages before the response has ended.
        self._sources = {
            name: source.copy() if type(source) is list else source
            for name, source in kwargs.items()
            if name in _SOURCES
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestText) and self._given() == other._given()

    __hash__ = None  # type: ignore[assignment]  # its sources can change

    def holds(self, word: str) -> bool:
        """Whether `word` is in any text of the request. True too if that cannot be known."""
        try:
            left = _MOST_CHARACTERS
            for text in self._texts():
                left -= len(text)
                if word in text or left < 0:
                    return True
                # JSON within a message may spell the word in escapes.
                if "\\u" in text and word in _ESCAPE.sub(_character, text):
                    return True
        except Exception:  # noqa: BLE001  a message of the application that raises
            return True
        return False

    def folded(self) -> str | None:
        """All texts of the request without difference of case, and without escapes. None if they cannot be known."""
        texts: list[str] = []
        left = _MOST_CHARACTERS
        try:
            for text in self._texts():
                left -= len(text)
                if left < 0:
                    return None
                texts.append(text)
        except Exception:  # noqa: BLE001  as above
            return None
        whole = "\0".join(texts)
        if "\\" in whole:
            whole = _ESCAPE.sub(_character, whole).replace("\\/", "/")
        if "&" in whole:
            whole = whole.replace("&lt;", "<").replace("&gt;", ">")
        return whole.casefold()

    def _given(self) -> dict[str, Any]:
        """The sources that are not marked as omitted."""
        return {name: source for name, source in self._sources.items() if given(source) is not None}

    def _texts(self) -> Iterator[str]:
        pending = list(self._given().values())
        count = 0
        while pending:
            value = pending.pop()
            count += 1
            if count > _MOST_VALUES:
                raise OverflowError
            kind = type(value)
            if kind is str:
                yield value
            elif kind is dict:
                pending += value
                pending += value.values()
            elif kind is list or kind is tuple:
                pending += value
            elif value is None or kind in {int, float, bool, type, bytes, bytearray}:
                continue
            elif is_a(value, str):
                yield str(value)
            elif is_a(value, Mapping):
                pending += list(value.values())
            elif is_a(value, (list, tuple)):
                pending += list(value)
            elif type(fields := getattr(value, "__dict__", None)) is dict and not hasattr(value, "__next__"):
                pending += list(fields.values())
            elif hasattr(value, "__iter__"):
                raise TypeError
