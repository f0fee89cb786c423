"""What a scanner finds: text, and calls as they come.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from otel_llm.tags.cursor import Cursor

_LINE_HEAD = re.compile(r"(?:[ \t>*+\-]|\d+[.)])*")


class FoundCall:
    """A call that was found in a text. Its parts come as pieces; what is known of it so far is here."""

    __slots__ = ("complete", "fenced", "format", "marked", "name", "number", "understood", "verbatim")

    def __init__(self, number: int, format_name: str, *, verbatim: bool) -> None:
        self.number = number
        """Its place among the calls of the text, from 0."""
        self.format = format_name
        self.verbatim = verbatim
        """Whether the text holds one JSON object for it, which comes in `body` pieces."""
        self.marked = True
        """Whether markup says that it is a call, and not its looks alone."""
        self.fenced = False
        """Whether a fence of code holds it that is for more than calls."""
        self.name: str | None = None
        self.understood = True
        """False where its body is not what its format says, for a repair to make something of."""
        self.complete = False
        """Whether its end came."""


class Piece(NamedTuple):
    """A piece of a scanned text, in the order of the text.

    `text`: text outside of any call, as it came. `begin`, `end`: a call's, with the markup that opened or closed it.
    `body`: a piece of the JSON object that the call is written as. `name`: the call's name, once. `arguments`: a piece
    of its arguments as JSON, after the name.
    """

    kind: Literal["text", "begin", "body", "name", "arguments", "end"]
    text: str
    call: FoundCall | None = None


class Findings:
    """What a grammar finds, held back until it is sure that it reads a call."""

    __slots__ = (
        "_cursor",
        "_opened",
        "_pending",
        "_pieces",
        "aside",
        "at_line_start",
        "began_at",
        "count",
        "in_line_head",
        "sure",
    )

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._pieces: list[Piece] = []
        self._pending: list[Piece] = []
        self._opened = False
        self.count = 0
        """Calls found."""
        self.sure = False
        self.began_at = 0
        """The place of the last call that was found: how many characters of all text stand before it."""
        self.at_line_start = True
        """Whether what comes next is the first in its line, or in all, but for white space, or comes behind a call."""
        self.in_line_head = True
        """Whether only white space and the marks of quotes and lists stand before what comes next in its line."""
        self.aside: Callable[[], str] | None = None
        """Says what was read of a value and is not passed on yet, as it came."""

    def begin(self, format_name: str, *, verbatim: bool = False, opening: str = "") -> FoundCall:
        """A call begins. `opening` stands before the first one of a block alone."""
        call = FoundCall(self.count, format_name, verbatim=verbatim)
        self.count += 1
        if self.sure and self._opened:
            self.began_at = self._cursor.settled
        self._add(Piece("begin", "" if self._opened else opening, call))
        self._opened = True
        return call

    def body(self, call: FoundCall, text: str) -> None:
        if text:
            self._add(Piece("body", text, call))

    def name(self, call: FoundCall, name: str) -> None:
        call.name = name
        self._add(Piece("name", name, call))

    def arguments(self, call: FoundCall, text: str) -> None:
        if text:
            self._add(Piece("arguments", text, call))

    def end(self, call: FoundCall, *, complete: bool = True, closing: str = "") -> None:
        call.complete = complete
        self._add(Piece("end", closing, call))

    def text(self, text: str) -> None:
        if text:
            self.put(Piece("text", text))

    def put(self, piece: Piece) -> None:
        """A piece that is sure."""
        self._pieces.append(piece)
        if piece.kind == "end":
            self.at_line_start = self.in_line_head = True
        elif piece.kind == "text":
            _, line_break, line = piece.text.rpartition("\n")
            if line_break or self.at_line_start:
                self.at_line_start = not line or line.isspace()
            if line_break or self.in_line_head:
                self.in_line_head = _LINE_HEAD.fullmatch(line) is not None

    def _add(self, piece: Piece) -> None:
        if self.sure:
            self.put(piece)
        else:
            self._pending.append(piece)

    def commit(self) -> None:
        """What is being read is a call."""
        if not self.sure:
            self.sure = True
            self.began_at = self._cursor.settled
            for piece in self._pending:
                self.put(piece)
            self._pending.clear()
            self._cursor.settle()

    def commit_text(self) -> None:
        """What was read and might have been given back is text after all."""
        self.forget()
        self.sure = True
        self.text(self._cursor.settle())

    def forget(self) -> None:
        """It is none: what was found since nothing was sure was not found."""
        self.count -= sum(1 for piece in self._pending if piece.kind == "begin")
        self._pending.clear()
        self.over()

    def over(self) -> None:
        """What was being read is over."""
        self.sure = False
        self._opened = False
        self.aside = None

    def drain(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces
