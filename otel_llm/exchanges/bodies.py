"""The body of one response, bytes in and parts out: a stream of events, or one JSON document.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from otel_llm.choice import Outcome
from otel_llm.exchanges.parts import MEGABYTE, Begins, Chunk, Ends, Part, UnreadableFileError, Whole
from otel_llm.exchanges.sse import EventReader, ServerSentEvent

LONGEST_DOCUMENT = 32 * MEGABYTE
_SHOWN_OF_AN_ERROR = 300
_READ_OF_AN_ERROR = 65_536


class BodyReader:
    """Reads one body. `title` and `request` are of the exchange; a stream behind the end of one is an exchange anew.
    `status`: of HTTP; where it is of an error there is nothing to judge, whatever the body says.

    Raises UnreadableFileError where it is too long to be read.
    """

    def __init__(self, title: str, request: Mapping[str, Any] | None = None, status: int = 200) -> None:
        self._title = title
        self._request = request
        self._error_status = None if 200 <= status < 300 else status
        self._error_body = b""
        self._count = 0
        self._events: EventReader | None = None
        self._document: bytearray | None = None
        self._open = False
        self._failed = False
        self._undecided = b""

    def feed(self, data: bytes, time_ns: int | None = None) -> Iterator[Part]:
        if self._error_status is not None:
            self._error_body += data[: max(0, _READ_OF_AN_ERROR - len(self._error_body))]
            return
        if self._events is None and self._document is None:
            self._undecided += data
            head = self._undecided.removeprefix(b"\xef\xbb\xbf").lstrip()
            if not head:
                return
            data, self._undecided = self._undecided, b""
            if head[:1] in {b"{", b"["}:
                self._document = bytearray()
            else:
                self._events = EventReader()
        if self._document is not None:
            self._document += data
            if len(self._document) > LONGEST_DOCUMENT:
                raise UnreadableFileError(
                    f"a response that is no stream is longer than {LONGEST_DOCUMENT // MEGABYTE} MB"
                )
        elif self._events is not None:
            for event in self._events.feed(data):
                yield from self._event(event, time_ns)

    def finish(self, outcome: Outcome = "completed", note: str = "", time_ns: int | None = None) -> Iterator[Part]:
        """The body is over, in the way that the file tells."""
        if self._error_status is not None:
            # An archive has status 0 where no answer came.
            status = f"status {self._error_status}" if self._error_status else "no answer came"
            yield self._begins()
            yield Ends("error", f"{status}: {message_in(self._error_body)}".rstrip(": "), time_ns)
            return
        if self._document is not None:
            yield from self._whole(bytes(self._document), time_ns)
            return
        if self._events is not None:
            for event in self._events.finish():
                yield from self._event(event, time_ns, at_end=True)
        if self._open:
            yield Ends(outcome, note, time_ns)
        elif not self._count and not self._failed:
            # Nothing came at all.
            yield self._begins()
            yield Ends(outcome, note, time_ns)

    def _begins(self) -> Begins:
        self._count += 1
        title = self._title if self._count == 1 else f"{self._title} ({self._count})"
        return Begins(title, self._request)

    def _event(self, event: ServerSentEvent, time_ns: int | None, *, at_end: bool = False) -> Iterator[Part]:
        data = event.data.strip()
        if data.startswith(b"[DONE]"):
            if self._open:
                self._open = False
                yield Ends("completed", "", time_ns)
            self._failed = False
            return
        if self._failed:
            # Behind an error no client reads on.
            return
        if not self._open:
            self._open = True
            yield self._begins()
        text = event.data.decode("utf-8", "surrogateescape")
        try:
            value = parse(text)
        except UnreadableFileError as error:
            where = "the stream breaks off within an event" if at_end else "an event cannot be read"
            self._open, self._failed = False, True
            yield Ends("error", f"{where}, at byte {event.offset}: {error}", time_ns)
            return
        message = error_in(value)
        if message:
            self._open, self._failed = False, True
            yield Ends("error", f"an error event: {message}", time_ns)
            return
        yield Chunk(value, text, event.offset, time_ns)

    def _whole(self, document: bytes, time_ns: int | None) -> Iterator[Part]:
        text = document.decode("utf-8", "surrogateescape").strip().removeprefix("\ufeff")
        yield self._begins()
        try:
            value = parse(text)
        except UnreadableFileError as error:
            yield Ends("error", f"the response cannot be read: {error}", time_ns)
            return
        yield from whole_parts(value, text, time_ns)


def whole_parts(value: Any, text: str, time_ns: int | None = None) -> Iterator[Part]:
    """The parts of a JSON document that is a response, or a list of chunks, behind its beginning."""
    chunks = value if isinstance(value, list) else [value]
    for place, chunk in enumerate(chunks):
        error = error_in(chunk)
        if error:
            yield Ends("error", f"an error: {error}", time_ns)
            return
        if chunks is value:
            yield Chunk(chunk, json.dumps(chunk)[:1000], place, time_ns)
        else:
            yield Whole(value, text, time_ns)
    yield Ends("completed", "", time_ns)


def parse(text: str) -> Any:
    """The JSON value of a text. Raises UnreadableFileError, with a sentence that says why."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UnreadableFileError("it is nested too deep") from None
    except ValueError as error:
        raise UnreadableFileError(f"it is no JSON ({error})") from None


def error_in(value: Any) -> str:
    """What a chunk or a response says of an error, empty where it says none. An SDK raises there, choices or not."""
    error = value.get("error") if isinstance(value, Mapping) else None
    if not error:
        return ""
    message = error.get("message") if isinstance(error, Mapping) else None
    return str(message or error)[:_SHOWN_OF_AN_ERROR]


def message_in(body: bytes) -> str:
    """What the body of an HTTP error says: its message, or its beginning."""
    text = body.decode("utf-8", "replace").strip()
    try:
        return error_in(parse(text)) or text[:_SHOWN_OF_AN_ERROR]
    except UnreadableFileError:
        return text[:_SHOWN_OF_AN_ERROR]


def is_chat_completion(value: Any) -> bool:
    """Whether a JSON value is a response of the API, or a chunk of one."""
    return isinstance(value, Mapping) and (isinstance(value.get("choices"), list) or "error" in value)
