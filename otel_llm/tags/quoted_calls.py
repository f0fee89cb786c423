"""Arguments whose strings stand between markers of their own: `key:<|"|>text<|"|>,other:{n:1}`.  Pure.

The strings are raw: nothing is escaped in them. Keys are bare.
"""

from __future__ import annotations

import math
import re
from typing import Any

from otel_llm.tags.python_calls import NotACall

_BARE = re.compile(r"[^\s,:\[\]{}]+")
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_DEEPEST = 100


def read_arguments(text: str, delimiters: tuple[str, str]) -> dict[str, Any]:
    """The arguments in `text`, which begins and ends with a brace. Raises `NotACall`."""
    reader = _Reader(text, delimiters)
    value = reader.value(0)
    if reader.place < len(text) or not isinstance(value, dict):
        raise NotACall
    return value


class _Reader:
    def __init__(self, text: str, delimiters: tuple[str, str]) -> None:
        self._text = text
        self._open, self._close = delimiters
        self.place = 0

    def _takes(self, mark: str) -> bool:
        while self._text[self.place : self.place + 1].isspace():
            self.place += 1
        if not self._text.startswith(mark, self.place):
            return False
        self.place += len(mark)
        return True

    def _want(self, mark: str) -> None:
        if not self._takes(mark):
            raise NotACall

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise NotACall
        if self._takes(self._open):
            end = self._text.find(self._close, self.place)
            if end < 0:
                raise NotACall
            text = self._text[self.place : end]
            self.place = end + len(self._close)
            return text
        if self._takes("{"):
            mapping: dict[str, Any] = {}
            while not self._takes("}"):
                key = self.value(depth + 1) if self._text.startswith(self._open, self.place) else self._bare()
                self._want(":")
                mapping[str(key)] = self.value(depth + 1)
                if not self._takes(","):
                    self._want("}")
                    break
            return mapping
        if self._takes("["):
            items: list[Any] = []
            while not self._takes("]"):
                items.append(self.value(depth + 1))
                if not self._takes(","):
                    self._want("]")
                    break
            return items
        return _scalar(self._bare())

    def _bare(self) -> str:
        match = _BARE.match(self._text, self.place)
        if match is None:
            raise NotACall
        self.place = match.end()
        return match.group()


def _scalar(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    value = _number(text, int)
    if value is None:
        value = _number(text, float)
    return text if value is None else value


def _number(text: str, kind: type[int | float]) -> int | float | None:
    try:
        value = kind(text)
    except ValueError:
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None
