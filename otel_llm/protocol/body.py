"""One response body, bytes in: server-sent events while it streams, or one JSON document at its end.

What was asked for does not decide: servers answer a request for a stream with a whole response, above all with
an error.
The first character does.
"""

from __future__ import annotations

from collections.abc import Iterator

from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.sse import EventReader, ServerSentEvent

_LONGEST_DOCUMENT = 32 * 1_048_576
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Some servers send line feeds to keep a connection open before the model answers.
_LONGEST_PADDING = 65_536


class ResponseBody:
    """Takes one body, piece by piece. `is_document`: it is known to be a JSON document.

    `feed` and `finish` raise UnreadableError where an event or the document is too long.
    """

    def __init__(self, *, is_document: bool = False) -> None:
        self._padding = b""
        self._events: EventReader | None = None
        self._document: bytearray | None = bytearray() if is_document else None

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """The events that are complete with this."""
        if self._events is None and self._document is None:
            data = self._padding + data
            head = data.removeprefix(_BYTE_ORDER_MARK).lstrip()
            if not head and len(data) <= _LONGEST_PADDING:
                self._padding = data
                return
            self._padding = b""
            if head[:1] in {b"{", b"["}:
                self._document = bytearray()
            else:
                self._events = EventReader()
        if self._events is not None:
            yield from self._events.feed(data)
        elif self._document is not None:
            self._document += data
            if len(self._document) > _LONGEST_DOCUMENT:
                raise UnreadableError(f"a response that is no stream is longer than {_LONGEST_DOCUMENT >> 20} MB")

    def finish(self) -> Iterator[ServerSentEvent]:
        """The body is over: an event that only lacks its blank line is complete."""
        if self._events is not None:
            yield from self._events.finish()

    @property
    def document(self) -> bytes | None:
        """The JSON document so far, None where the body is a stream or nothing came yet."""
        return None if self._document is None else bytes(self._document).removeprefix(_BYTE_ORDER_MARK)
