"""Server-sent events, bytes in and events out, while they come.  Pure.

Format: the HTML standard, section "Server-sent events". Only `data` is read; the APIs put all they say there. A line
whose field the standard does not have is ignored, as it demands, and remembered: some servers tell errors so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from otel_llm.protocol.errors import UnreadableError

_LINE_END = re.compile(rb"\r\n|\n|\r")
_LONGEST_EVENT = 16 * 1_048_576
# The field of a comment has no name.
_OTHER_FIELDS = frozenset({b"", b"event", b"id", b"retry"})
_FIELD = re.compile(rb"[A-Za-z][A-Za-z_-]{0,19}")
_MOST_STRAYS = 64
_KEPT_OF_A_STRAY = 4096
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """The `data` of one event, and the byte offset in the body at which it began."""

    data: bytes
    offset: int


class Stray(NamedTuple):
    """A line that is no part of an event: its beginning, and its byte offset in the body."""

    line: bytes
    offset: int

    @property
    def field(self) -> str:
        """The name of its field, empty if it has none."""
        name, colon, _ = self.line.partition(b":")
        return name.decode("ascii") if colon and _FIELD.fullmatch(name) else ""

    @property
    def value(self) -> bytes:
        """What the field says, or the whole line."""
        return self.line.partition(b":")[2].strip() if self.field else self.line.strip()


class EventReader:
    """Reads one body in pieces of any size; each byte is searched once for the end of its line.

    `feed` and `finish` are generators, to be exhausted before the next call. Both raise UnreadableError for a line or
    an event that is too long; `finish` then yields nothing more. `strays`: the first lines that are no part of an
    event, which `take_strays` clears; `over_strays` counts those beyond them.
    """

    def __init__(self) -> None:
        self.strays: list[Stray] = []
        self.over_strays = 0
        self._buffer = bytearray()
        self._searched = 0
        self._offset = 0
        self._data: list[bytes] = []
        self._data_length = 0
        self._data_offset = 0

    def take_strays(self) -> tuple[list[Stray], int]:
        """The lines since the last call that are no part of an event, and how many more there were."""
        taken = self.strays, self.over_strays
        self.strays, self.over_strays = [], 0
        return taken

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """The events that this piece completes."""
        self._buffer += data
        if self._offset == 0 and self._buffer.startswith(BYTE_ORDER_MARK):
            self._take(len(BYTE_ORDER_MARK))
        start = 0
        while match := _LINE_END.search(self._buffer, max(start, self._searched)):
            if match.group() == b"\r" and match.end() == len(self._buffer):
                # A line feed may follow.
                self._searched = match.start()
                break
            yield from self._line(bytes(self._buffer[start : match.start()]), self._offset + start)
            start = self._searched = match.end()
        else:
            self._searched = len(self._buffer)
        self._take(start)
        if len(self._buffer) - self._buffer.endswith(b"\r") > _LONGEST_EVENT:
            self._give_up("a line")

    def finish(self) -> Iterator[ServerSentEvent]:
        """The body is over. An event that lacks only its blank line counts as complete."""
        if self._buffer:
            yield from self._line(bytes(self._buffer).rstrip(b"\r"), self._offset)
            self._buffer.clear()
        yield from self._line(b"", self._offset)

    def _take(self, length: int) -> None:
        if length:
            del self._buffer[:length]
            self._offset += length
            self._searched = max(0, self._searched - length)

    def _give_up(self, what: str) -> NoReturn:
        self._buffer.clear()
        self._data.clear()
        raise UnreadableError(f"{what} is longer than {_LONGEST_EVENT >> 20} MB")

    def _line(self, line: bytes, offset: int) -> Iterator[ServerSentEvent]:
        if len(line) > _LONGEST_EVENT:
            self._give_up("a line")
        if not line:
            if self._data:
                data, self._data, self._data_length = b"\n".join(self._data), [], 0
                yield ServerSentEvent(data, self._data_offset)
            return
        field, _, value = line.partition(b":")
        if field != b"data":
            if field not in _OTHER_FIELDS:
                if len(self.strays) < _MOST_STRAYS:
                    self.strays.append(Stray(line[:_KEPT_OF_A_STRAY], offset))
                else:
                    self.over_strays += 1
            return
        if not self._data:
            self._data_offset = offset
        value = value.removeprefix(b" ")
        self._data.append(value)
        self._data_length += len(value)
        if self._data_length > _LONGEST_EVENT:
            self._give_up("an event")
