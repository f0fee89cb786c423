"""One response body, bytes in and entries out: a stream of events, or one JSON document.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from otel_llm.exchanges.entries import Chunk, Entry, ResponseEnd, ResponseStart, WholeResponse
from otel_llm.protocol.body import ResponseBody
from otel_llm.protocol.choice import Outcome
from otel_llm.protocol.errors import UnreadableError, error_in, message_in_body, message_of
from otel_llm.protocol.json_values import parse_json
from otel_llm.protocol.sse import ServerSentEvent

_READ_OF_AN_ERROR = 65_536  # bytes


class BodyReader:
    """Reads one body. `title` and `request` belong to the exchange; a stream that follows `[DONE]` is a new response.

    `status`: the HTTP status. `url`: where the request was sent, if that is known.

    The body of an HTTP error is not judged. Raises UnreadableError if the body is too long.
    """

    def __init__(
        self, title: str, request: Mapping[str, Any] | None = None, status: int = 200, *, url: str = ""
    ) -> None:
        self._title = title
        self._url = url
        self._request = request
        self._error_status = None if 200 <= status < 300 else status
        self._error_body = b""
        self._count = 0
        self._body = ResponseBody()
        self._open = False
        self._failed = False

    def feed(self, data: bytes, time_ns: int | None = None) -> Iterator[Entry]:
        if self._error_status is not None:
            self._error_body += data[: max(0, _READ_OF_AN_ERROR - len(self._error_body))]
            return
        for event in self._body.feed(data):
            yield from self._event(event, time_ns)

    def finish(self, outcome: Outcome = "completed", note: str = "", time_ns: int | None = None) -> Iterator[Entry]:
        """The rest, when the body has ended with the outcome that the file reports."""
        if self._error_status is not None:
            # Archives have status 0 for a request that was not answered.
            status = f"status {self._error_status}" if self._error_status else "no response"
            yield self._start()
            yield ResponseEnd("error", f"{status}: {message_in_body(self._error_body)}".rstrip(": "), time_ns)
            return
        document = self._body.document
        if document is not None:
            yield from self._whole(document, time_ns)
            return
        for event in self._body.finish():
            yield from self._event(event, time_ns, at_end=True)
        if self._open:
            yield ResponseEnd(outcome, note, time_ns)
        elif not self._count and not self._failed:
            # An empty body.
            yield self._start()
            yield ResponseEnd(outcome, note, time_ns)

    def _start(self) -> ResponseStart:
        self._count += 1
        title = self._title if self._count == 1 else f"{self._title} ({self._count})"
        return ResponseStart(title, self._request, self._url)

    def _event(self, event: ServerSentEvent, time_ns: int | None, *, at_end: bool = False) -> Iterator[Entry]:
        data = event.data.strip()
        if data.startswith(b"[DONE]"):
            if self._open:
                self._open = False
                yield ResponseEnd("completed", "", time_ns)
            self._failed = False
            return
        if self._failed:
            # No client reads on after an error.
            return
        if not self._open:
            self._open = True
            yield self._start()
        text = event.data.decode("utf-8", "surrogateescape")
        try:
            value = parse_json(text)
        except UnreadableError as fault:
            where = "the stream ends in the middle of an event" if at_end else "an event cannot be read"
            self._open, self._failed = False, True
            yield ResponseEnd("error", f"{where}, at byte {event.offset}: {fault}", time_ns)
            return
        error = error_in(value)
        if error is not None:
            self._open, self._failed = False, True
            yield ResponseEnd("error", f"an error event: {message_of(error)}", time_ns)
            return
        yield Chunk(value, text, event.offset, time_ns)

    def _whole(self, document: bytes, time_ns: int | None) -> Iterator[Entry]:
        text = document.decode("utf-8", "surrogateescape").strip()
        yield self._start()
        try:
            value = parse_json(text)
        except UnreadableError as error:
            yield ResponseEnd("error", f"the response cannot be read: {error}", time_ns)
            return
        yield from whole_entries(value, text, time_ns)


def whole_entries(value: Any, text: str, time_ns: int | None = None) -> Iterator[Entry]:
    """The entries of a JSON document that is a response or a list of chunks, after its ResponseStart."""
    chunks = value if isinstance(value, list) else [value]
    for place, chunk in enumerate(chunks):
        error = error_in(chunk)
        if error is not None:
            yield ResponseEnd("error", f"an error: {message_of(error)}", time_ns)
            return
        if chunks is value:
            yield Chunk(chunk, json.dumps(chunk)[:1000], place, time_ns)
        else:
            yield WholeResponse(value, text, time_ns)
    yield ResponseEnd("completed", "", time_ns)


def is_chat_completion(value: Any) -> bool:
    """Whether a JSON value is a response of the API, a chunk of one, or an error."""
    return isinstance(value, Mapping) and (isinstance(value.get("choices"), list) or error_in(value) is not None)
