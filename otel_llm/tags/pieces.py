"""What the scanner makes of a text: pieces of text and of tool calls, as they come.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from otel_llm.protocol.request import Tool
from otel_llm.tags.cursor import Cursor
from otel_llm.tags.declared import tool_named

TAIL = 64
"""How many characters of text before a mark may have a say in what it is."""
_LINE_HEAD = re.compile(r"(?:[ \t>*+\-]|\d+[.)])*")


class ParsedCall:
    """A tool call found in a text, as far as it is known. Its content comes in pieces."""

    __slots__ = ("complete", "format", "has_marker", "in_fence", "name", "number", "verbatim", "well_formed")

    def __init__(self, number: int, format_name: str, *, verbatim: bool) -> None:
        self.number = number
        """Its place among the calls of the text, from 0."""
        self.format = format_name
        """The name of its syntax in `formats.py`."""
        self.verbatim = verbatim
        """Whether the text holds it as one JSON object with name and arguments, which comes in `body` pieces."""
        self.has_marker = True
        """Whether a marker announced it. False for a call in a syntax without one (see `unmarked.py`)."""
        self.in_fence = False
        """Whether it stands in a `json` code fence."""
        self.name: str | None = None
        self.well_formed = True
        """False if the body does not follow its syntax. The text of the body may still be repaired."""
        self.complete = False
        """Whether its end came. False if the text ended first."""


class Piece(NamedTuple):
    """A piece of a scanned text, in the order of the text.

    `text`: text outside of any call, as it came. `thoughts_begin`, `thoughts`, `thoughts_end`: thoughts, and the marks
    around them, empty if the text has none. `frame`: a mark around an answer. `begin`, `end`: the start or end of a
    call, with its markup. `body`: a piece of the JSON object that the call is written as. `name`: the whole name, once.
    `arguments`: a piece of the arguments as JSON, after the name.
    """

    kind: Literal[
        "text", "thoughts_begin", "thoughts", "thoughts_end", "frame", "begin", "body", "name", "arguments", "end"
    ]
    text: str
    call: ParsedCall | None = None


class PieceBuffer:
    """Collects the pieces that a grammar emits, and holds them back until the grammar commits to its reading."""

    __slots__ = (
        "_before",
        "_cursor",
        "_opened",
        "_pending",
        "_pieces",
        "_tools",
        "at_line_start",
        "at_start",
        "began_at",
        "committed",
        "count",
        "in_line_head",
        "is_open",
        "mentioned",
        "tail",
        "unwritten",
    )

    def __init__(self, cursor: Cursor, tools: Mapping[str, Tool] | None = None) -> None:
        self._cursor = cursor
        self._tools = tools
        self._pieces: list[Piece] = []
        self._pending: list[Piece] = []
        self._opened = False
        self.count = 0
        """Calls found."""
        self.committed = False
        """Whether what is being read is a call for sure."""
        self.began_at = 0
        """Where the last call began: how many characters of all that were fed stand before it."""
        self.is_open = False
        """Whether a call has begun and not ended."""
        self.at_start = True
        """Whether nothing has been read so far."""
        self.at_line_start = True
        """Whether there is only white space before the next character, in its line or since the last call."""
        self.in_line_head = True
        """Whether only white space and marks of quotes and lists come before the next character in its line."""
        self.mentioned: str | None = None
        """The closing mark of thoughts whose opening mark is only mentioned in this line."""
        self.tail = ""
        """The last `TAIL` characters of text before the next one."""
        # The place where the text before this one ended, which may turn out to go on.
        self._before = (self.tail, self.at_line_start, self.in_line_head)
        self.unwritten: Callable[[], str] | None = None
        """Returns what was read of a value and has not been emitted yet, as it came."""

    def begin_text(self) -> None:
        """Another text begins."""
        self._before = (self.tail, self.at_line_start, self.in_line_head)
        self.reset()
        self.at_start = self.at_line_start = self.in_line_head = True
        self.tail = ""
        self.mentioned = None

    def resume_text(self) -> None:
        """What begins is no other text: the one before it goes on."""
        self.at_start = False
        self.tail, self.at_line_start, self.in_line_head = self._before

    @property
    def line_before(self) -> str:
        """The end of the line before the next character; empty if it is only white space."""
        return "" if self.at_line_start else self.tail.rpartition("\n")[2]

    def begin(self, format_name: str, *, verbatim: bool = False, opening: str = "") -> ParsedCall:
        """A call begins. `opening` is the markup before it; only the first call of a block gets it."""
        call = ParsedCall(self.count, format_name, verbatim=verbatim)
        self.count += 1
        if self.committed and self._opened:
            self.began_at = self._cursor.settled
        self._add_mark(Piece("begin", "" if self._opened else opening, call))
        self._opened = True
        return call

    def body(self, call: ParsedCall, text: str) -> None:
        if text:
            self._add(Piece("body", text, call))

    def name(self, call: ParsedCall, name: str) -> None:
        call.name = tool_named(self._tools, name)
        self._add(Piece("name", call.name, call))

    def arguments(self, call: ParsedCall, text: str) -> None:
        if text:
            self._add(Piece("arguments", text, call))

    def end(self, call: ParsedCall, *, complete: bool = True, closing: str = "") -> None:
        call.complete = complete
        self._add_mark(Piece("end", closing, call))

    def text(self, text: str) -> None:
        if text:
            self._pieces.append(Piece("text", text))
            self._note_text(text)

    def put(self, piece: Piece) -> None:
        """Emit a piece that nothing can take back."""
        self._pieces.append(piece)
        kind = piece.kind
        if kind == "text":
            self._note_text(piece.text)
        elif kind == "begin":
            self.is_open = True
        elif kind == "end":
            self.is_open = False
            self.at_line_start = self.in_line_head = True
            self.tail = ""

    def _note_text(self, text: str) -> None:
        self.at_start = False
        self.tail = (self.tail + text)[-TAIL:]
        _, line_break, line = text.rpartition("\n")
        if line_break:
            self.mentioned = None
        if line_break or self.at_line_start:
            self.at_line_start = not line or line.isspace()
        if line_break or self.in_line_head:
            self.in_line_head = _LINE_HEAD.fullmatch(line) is not None

    def _add(self, piece: Piece) -> None:
        """Add a piece of what is in a call. Most pieces are, so this is all that is done for them."""
        (self._pieces if self.committed else self._pending).append(piece)

    def _add_mark(self, piece: Piece) -> None:
        """Add the beginning or the end of a call."""
        if self.committed:
            self.put(piece)
        else:
            self._pending.append(piece)

    def commit(self) -> None:
        """What is being read is a call: emit the pieces held back."""
        if not self.committed:
            self.committed = True
            self.began_at = self._cursor.settled
            for piece in self._pending:
                self.put(piece)
            self._pending.clear()
            self._cursor.settle()

    def commit_as_text(self) -> None:
        """What was read, and could still be given back, is text."""
        self.discard()
        self.committed = True
        self.text(self._cursor.settle())

    def discard(self) -> None:
        """What is being read is not a call: drop the pieces held back."""
        self.count -= sum(1 for piece in self._pending if piece.kind == "begin")
        self._pending.clear()
        self.reset()

    def reset(self) -> None:
        """What was being read is over; the next thing is undecided."""
        self.committed = False
        self._opened = False
        self.unwritten = None

    def drain(self) -> list[Piece]:
        """The pieces emitted since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces
