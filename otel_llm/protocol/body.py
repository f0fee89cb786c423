"""One response body, bytes in: the events of a stream as they come, or one JSON document at the end.  Pure.

The first character decides which it is, not the request: servers answer a request for a stream with one JSON document
too, most often with an error. A byte order mark and white space before it do not count; some servers send line feeds to
keep the connection open until the model answers. The events are server-sent events, or messages of AWS's encoding,
which begin with a null byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.event_stream import MessageReader, begins_message
from otel_llm.protocol.sse import BYTE_ORDER_MARK, EventReader, ServerSentEvent, Stray

_LONGEST_DOCUMENT = 32 * 1_048_576
# A body that begins with more white space than this is a stream.
_LONGEST_PADDING = 65_536
# Of a message of AWS's encoding.
_LONGEST_PRELUDE = 12
_NOT_WHITE = re.compile(rb"[^ \t\r\n]")


class ResponseBody:
    """Reads one body in pieces of any size. `is_document`: the body is known to be a JSON document.

    `feed` and `finish` are generators, to be exhausted before the next call. Both raise UnreadableError for an event
    or a document that is too long.
    """

    def __init__(self, *, is_document: bool = False) -> None:
        # What came before the first character did.
        self._padding = bytearray()
        self._searched = 0
        self._events: EventReader | MessageReader | None = None
        self._document: bytearray | None = bytearray() if is_document else None

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """The events that this piece completes."""
        if self._events is None and self._document is None:
            self._padding += data
            if not self._is_decided():
                return
            data = bytes(self._padding)
            self._padding.clear()
        if self._events is not None:
            yield from self._events.feed(data)
        elif self._document is not None:
            self._document += data
            if len(self._document) > _LONGEST_DOCUMENT:
                raise UnreadableError(f"a response that is not a stream is longer than {_LONGEST_DOCUMENT >> 20} MB")

    def finish(self) -> Iterator[ServerSentEvent]:
        """The body is over. An event that lacks only its blank line counts as complete."""
        if self._events is not None:
            yield from self._events.finish()

    def take_strays(self) -> tuple[list[Stray], int]:
        """As `EventReader.take_strays`."""
        return ([], 0) if self._events is None or not self._events.strays else self._events.take_strays()

    @property
    def document(self) -> bytes | None:
        """The JSON document so far. None if the body is a stream, or if its first character has not come yet."""
        return None if self._document is None else bytes(self._document).removeprefix(BYTE_ORDER_MARK)

    def _is_decided(self) -> bool:
        """Look for the first character, and choose by it."""
        padding = self._padding
        if len(padding) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(padding):
            return False
        if not self._searched and padding.startswith(BYTE_ORDER_MARK):
            self._searched = len(BYTE_ORDER_MARK)
        first = _NOT_WHITE.search(padding, self._searched, _LONGEST_PADDING)
        if first is None and len(padding) < _LONGEST_PADDING:
            self._searched = len(padding)
            return False
        if first is not None and first.group() in {b"{", b"["}:
            self._document = bytearray()
        elif begins_message(bytes(padding[:_LONGEST_PRELUDE])):
            self._events = MessageReader()
        else:
            self._events = EventReader()
        return True
