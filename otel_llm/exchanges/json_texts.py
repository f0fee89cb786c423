"""Where the texts of JSON documents are, in bytes, and which text of an earlier document each goes on with.  Pure.

A document needs not be valid; what cannot be read has no texts.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import NamedTuple

_TOKEN = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)(?:"|\\?\Z)|([{}\[\],:])|([^\s{}\[\],:"]+)', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
# They number what their object belongs to.
_INDEXES = frozenset({b"index", b"output_index", b"content_index", b"summary_index"})
# They are whole in each event, and no text goes on in the next one.
_WHOLE = frozenset(
    {
        b"call_id",
        b"finish_reason",
        b"id",
        b"item_id",
        b"model",
        b"native_finish_reason",
        b"obfuscation",
        b"object",
        b"provider",
        b"role",
        b"service_tier",
        b"status",
        b"stop_reason",
        b"system_fingerprint",
        b"type",
    }
)
_DEEPEST = 200


class Text(NamedTuple):
    """A text between its quotes. `keys`: what it goes on with, once by every number on the way, and once by names."""

    start: int
    end: int
    keys: tuple[Hashable, Hashable]


class _Container:
    """An object or an array that is being read. `texts`: start, end, path and names of each, from the inside."""

    __slots__ = ("count", "index", "is_object", "key", "numbers", "texts")

    def __init__(self, is_object: bool) -> None:
        self.is_object = is_object
        self.key: bytes | None = None
        self.count = 0
        self.index: bytes | None = None
        self.numbers: list[tuple[bytes, bytes]] = []
        self.texts: list[tuple[int, int, list[Hashable], list[bytes]]] = []


def _text(start: int, end: int, path: Iterable[Hashable], names: Iterable[bytes]) -> Text:
    return Text(start, end, ((True, *path), (False, *names)))


class Documents:
    """Reads documents line by line."""

    def __init__(self) -> None:
        self._stack: list[_Container] = []
        self._offset = 0
        self._texts: list[Text] = []
        self._echoes: list[tuple[int, int]] = []

    def feed(self, line: bytes) -> bool:
        """Read a line; whether no document is open at its end."""
        any_token = False
        for match in _TOKEN.finditer(line):
            kind = match.lastindex
            if kind == 1:
                any_token = True
                self._string(match.group(1), *match.span(1))
            elif kind == 2:
                any_token = any_token or bool(self._stack) or match.group() in b"{["
                self._mark(match.group())
            elif self._stack:
                self._bare(match.group(), *match.span())
        if not any_token and not self._stack and line.startswith(b"data:"):
            # An event of plain text.
            start = 6 if line.startswith(b"data: ") else 5
            self._texts.append(_text(self._offset + start, self._offset + len(line.rstrip(b"\r\n")), (), ()))
        self._offset += len(line)
        return not self._stack

    def finish(self) -> tuple[list[Text], list[tuple[int, int]]]:
        """The texts since the last time, and what tells texts once more: the probabilities of their tokens."""
        while self._stack:
            self._close()
        texts, echoes = self._texts, self._echoes
        self._offset = 0
        self._texts, self._echoes = [], []
        return texts, echoes

    def _string(self, value: bytes, start: int, end: int) -> None:
        if self._stack and self._stack[-1].is_object and self._stack[-1].key is None:
            self._stack[-1].key = value
            return
        span = self._offset + start, self._offset + end
        if not self._stack:
            self._texts.append(_text(*span, (), ()))
            return
        container = self._stack[-1]
        if container.is_object:
            name = container.key or b""
            if name == b"type" and len(self._stack) == 1:
                container.numbers.append((name, value))
            if name not in _WHOLE:
                container.texts.append((*span, [name], [name]))
        else:
            container.texts.append((*span, [container.count], []))

    def _bare(self, value: bytes, start: int, end: int) -> None:
        container = self._stack[-1]
        if container.is_object and container.key in _INDEXES:
            if container.key == b"index":
                container.index = value
            container.numbers.append((container.key or b"", value))
        elif not container.is_object and value.isdigit() and self._is_echo():
            self._echoes.append((self._offset + start, self._offset + end))

    def _is_echo(self) -> bool:
        return any(container.key == b"logprobs" for container in self._stack if container.is_object)

    def _mark(self, mark: bytes) -> None:
        if mark in b"{[":
            if len(self._stack) < _DEEPEST:
                self._stack.append(_Container(mark == b"{"))
        elif mark in b"}]":
            if self._stack:
                self._close()
        elif mark == b"," and self._stack:
            self._stack[-1].key = None
            self._stack[-1].count += 1

    def _close(self) -> None:
        closed = self._stack.pop()
        numbers = tuple(sorted(closed.numbers))
        if numbers:
            for _, _, path, _ in closed.texts:
                path.append(numbers)
        if not self._stack:
            for start, end, path, names in closed.texts:
                self._texts.append(_text(start, end, path, names))
                if b"logprobs" in names:
                    self._echoes.append((start, end))
            return
        parent = self._stack[-1]
        for text in closed.texts:
            if parent.is_object:
                text[2].append(parent.key)
                text[3].append(parent.key or b"")
            elif closed.index is None:
                text[2].append(parent.count)
        parent.texts.extend(closed.texts)


def characters(written: bytes, start: int) -> tuple[str, list[tuple[int, int]]]:
    """The characters of a JSON string, and where each is written."""
    text = written.decode("utf-8", "surrogateescape")
    value: list[str] = []
    spans: list[tuple[int, int]] = []
    at, position = 0, start
    while at < len(text):
        escape = _ESCAPE.match(text, at) if text[at] == "\\" else None
        source = text[at] if escape is None else escape.group()
        length = len(source.encode("utf-8", "surrogateescape"))
        if escape is None:
            one = source
        elif escape.group(1) is not None:
            one = chr(int(escape.group(1), 16))
        else:
            one = _ESCAPED.get(escape.group(2), escape.group(2))
        if value and "\ud800" <= value[-1] <= "\udbff" and "\udc00" <= one <= "\udfff":
            # Two halves are one character.
            value[-1] = (value[-1] + one).encode("utf-16", "surrogatepass").decode("utf-16")
            spans[-1] = (spans[-1][0], position + length)
        else:
            value.append(one)
            spans.append((position, position + length))
        at += len(source)
        position += length
    return "".join(value), spans
