"""Reads calls and literals in Python's syntax: `name(key='value', other=[1, 2])`.  Pure.

Only literals are values. JSON's `true`, `false` and `null` are accepted too, because some models write them. Anything
else (a variable, an operator, a positional argument) makes the text not a call.
"""

from __future__ import annotations

import re
from typing import Any

_WHITE = re.compile(r"(?:\s|\\\n|#[^\n]*)*")
_NAME = re.compile(r"[A-Za-z_][\w.\-]*")
_NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?)")
_WORDS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(\r\n|.))", re.DOTALL)
_ESCAPED = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "/": "/",
    "\\": "\\", "'": "'", '"': '"', "\n": "", "\r\n": "",
}  # fmt: skip
# For each kind of quotes, what ends a string in them, or an escape.
ENDS = {quote: re.compile(rf"{quote}|\\") for quote in ('"', "'", '"' * 3, "'" * 3)}
_DEEPEST = 100


class NotACall(ValueError):  # noqa: N818  a result, not an error
    """The text does not follow the syntax of a call, or of a literal."""


def read_calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and arguments of the calls in `text`: `[f(a=1), g()]`, or one after the other without brackets.

    Raises NotACall if there is anything else in it.
    """
    reader = _Reader(text)
    bracketed = reader.takes("[")
    calls = []
    while not reader.at_end() and not (bracketed and reader.takes("]", keep=True)):
        calls.append(reader.call())
        if not reader.takes(","):
            reader.takes(";")
    if bracketed:
        reader.want("]")
    if not reader.at_end() or not calls:
        raise NotACall
    return calls


def read_literal(text: str) -> Any:
    """The value of one literal. Raises NotACall."""
    reader = _Reader(text)
    value = reader.value(0)
    if not reader.at_end():
        raise NotACall
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def _skip(self) -> None:
        match = _WHITE.match(self._text, self._place)
        self._place = match.end() if match else self._place

    def at_end(self) -> bool:
        self._skip()
        return self._place >= len(self._text)

    def takes(self, mark: str, *, keep: bool = False) -> bool:
        self._skip()
        if not self._text.startswith(mark, self._place):
            return False
        if not keep:
            self._place += len(mark)
        return True

    def want(self, mark: str) -> None:
        if not self.takes(mark):
            raise NotACall

    def name(self) -> str:
        self._skip()
        match = _NAME.match(self._text, self._place)
        if match is None:
            raise NotACall
        self._place = match.end()
        return match.group()

    def call(self) -> tuple[str, dict[str, Any]]:
        name = self.name()
        self.want("(")
        arguments: dict[str, Any] = {}
        while not self.takes(")"):
            key = self.name()
            self.want("=")
            arguments[key] = self.value(0)
            if not self.takes(","):
                self.want(")")
                break
        return name, arguments

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise NotACall
        self._skip()
        mark = self._text[self._place : self._place + 1]
        if mark and mark in "\"'":
            return self._strings(mark)
        if mark == "{":
            return self._mapping(depth)
        if mark and mark in "[(":
            return self._sequence(mark, depth)
        number = _NUMBER.match(self._text, self._place)
        if number and number.end() > self._place:
            self._place = number.end()
            return _number(number.group())
        word = self.name()
        if word not in _WORDS:
            raise NotACall
        return _WORDS[word]

    def _mapping(self, depth: int) -> dict[str, Any]:
        self.want("{")
        value: dict[str, Any] = {}
        while not self.takes("}"):
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise NotACall
            self.want(":")
            value[key] = self.value(depth + 1)
            if not self.takes(","):
                self.want("}")
                break
        return value

    def _sequence(self, opening: str, depth: int) -> Any:
        self.want(opening)
        closing = "]" if opening == "[" else ")"
        items: list[Any] = []
        commas = 0
        while not self.takes(closing):
            items.append(self.value(depth + 1))
            if not self.takes(","):
                self.want(closing)
                break
            commas += 1
        # Round brackets around one value without a comma only group it.
        return items[0] if closing == ")" and len(items) == 1 and not commas else items

    def _strings(self, mark: str) -> str:
        value = self._string(mark)
        while self.takes('"', keep=True) or self.takes("'", keep=True):
            value += self._string(self._text[self._place])
        return value

    def _string(self, mark: str) -> str:
        text, start = self._text, self._place
        quote = mark * 3 if text.startswith(mark * 3, start) else mark
        ends = ENDS[quote]
        place = start + len(quote)
        while True:
            match = ends.search(text, place)
            if match is None:
                raise NotACall
            if match.group() == quote:
                break
            place = match.end() + 1
        end = match.start()
        self._place = end + len(quote)
        return unescape(text[start + len(quote) : end])


def _number(text: str) -> int | float:
    digits = text.replace("_", "")
    try:
        if digits.lower().lstrip("+-").startswith("0x"):
            return int(digits, 16)
        return int(digits)
    except ValueError:
        pass
    try:
        value = float(digits)
    except ValueError as error:
        raise NotACall from error
    if value in {float("inf"), float("-inf")}:
        raise NotACall
    return value


def unescape(text: str) -> str:
    """The value of what stands between the quotes of a string."""
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[str]) -> str:
    two, four, eight, octal, other = match.groups()
    if octal is not None:
        return chr(int(octal, 8))
    if other is not None:
        return _ESCAPED.get(other, "\\" + other)
    code = int(two or four or eight, 16)
    return chr(code) if code < 0x110000 else match.group()
