"""One response body, bytes in and entries out: a stream of events, or one JSON document.  Pure.

A client stops reading at `[DONE]`. What comes behind it is neither read nor judged here, so that a response is judged
as it was live; it is a fault of the framing only if an answer, or an error, is lost there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from otel_llm.exchanges.entries import Chunk, Entry, ResponseEnd, ResponseStart, Unread, WholeResponse
from otel_llm.protocol.apis import EMPTY, OLLAMA, RESPONSES, kind_of
from otel_llm.protocol.body import ResponseBody
from otel_llm.protocol.choice import Outcome
from otel_llm.protocol.errors import UnreadableError, error_in, message_in_body, message_of
from otel_llm.protocol.fields import field, items_of
from otel_llm.protocol.framing import Framing
from otel_llm.protocol.json_values import parse_json
from otel_llm.protocol.sse import ServerSentEvent, Stray
from otel_llm.protocol.text_completions import is_text_completion

_READ_OF_AN_ERROR = 65_536  # bytes
_SHOWN_OF_A_LINE = 200


class BodyReader:
    """Reads one body. `title` and `request` belong to the exchange.

    `status`: the HTTP status. The body of an HTTP error is not judged. `content_type`: the header, if it is known.
    `url`: where the request was sent, if that is known. `may_lack_body`: an empty body may not be what the server sent,
    so it is not judged. `may_be_several`: it may be the bodies of several responses, one behind another's `[DONE]`.
    Raises UnreadableError if the body is too long.
    """

    def __init__(
        self,
        title: str,
        request: Mapping[str, Any] | None = None,
        status: int = 200,
        content_type: str = "",
        *,
        url: str = "",
        may_lack_body: bool = False,
        may_be_several: bool = False,
    ) -> None:
        self._title = title
        self._url = url
        self._request = request
        self._error_status = None if 200 <= status < 300 else status
        self._error_body = b""
        self._may_lack_body = may_lack_body
        self._may_be_several = may_be_several
        self._count = 0
        self._body = ResponseBody()
        self._open = False
        self._failed = False
        # The end of a response whose `[DONE]` came.
        self._done: ResponseEnd | None = None
        self._response_id: Any = None
        self._framing = Framing(content_type)
        self._first_stray = b""
        # How many bytes had come at what time.
        self._length = 0
        self._arrivals: list[tuple[int, int]] = []

    def feed(self, data: bytes, time_ns: int | None = None) -> Iterator[Entry]:
        if self._error_status is not None:
            self._error_body += data[: max(0, _READ_OF_AN_ERROR - len(self._error_body))]
            return
        if time_ns is not None:
            self._length += len(data)
            self._arrivals.append((self._length, time_ns))
        for event in self._body.feed(data):
            yield from self._strays(time_ns)
            yield from self._event(event, time_ns)
        yield from self._strays(time_ns)

    def all_of(self, pieces: Iterable[tuple[bytes, int | None]]) -> Iterator[Entry]:
        """The entries of pieces, each with its time, but not the end. Where they cannot be read on, the response ends.

        Raises UnreadableError, then.
        """
        try:
            for data, time_ns in pieces:
                yield from self.feed(data, time_ns)
        except UnreadableError:
            yield from self.finish("error", "the file ends here")
            raise

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
            yield from self._whole(document, outcome, note, time_ns)
            return
        for event in self._body.finish():
            yield from self._strays(time_ns)
            yield from self._event(event, time_ns, at_end=True)
        yield from self._strays(time_ns)
        if self._done is not None:
            yield self._done
        elif self._open:
            yield self._end(outcome, note, time_ns)
        elif not self._count and not self._failed:
            yield from self._nothing(outcome, note, time_ns)

    def _start(self) -> ResponseStart:
        self._count += 1
        self._response_id = None
        title = self._title if self._count == 1 else f"{self._title} ({self._count})"
        return ResponseStart(title, self._request, self._url)

    def _end(
        self, outcome: Outcome, note: str, time_ns: int | None, *, is_damaged: bool = False, is_done: bool = False
    ) -> ResponseEnd:
        framing, self._framing = self._framing, Framing(self._framing.content_type)
        framing.is_done = is_done
        self._open = False
        return ResponseEnd(outcome, note, time_ns, framing, is_damaged)

    def _fail(self, note: str, time_ns: int | None, *, is_damaged: bool = False) -> Iterator[Entry]:
        """The response ends here: no client reads on after an error."""
        if not self._open:
            yield self._start()
        self._failed = True
        yield self._end("error", note, time_ns, is_damaged=is_damaged)

    def _nothing(self, outcome: Outcome, note: str, time_ns: int | None) -> Iterator[Entry]:
        """The body had no event and was no document."""
        if self._first_stray:
            line = self._first_stray.decode("utf-8", "replace")[:_SHOWN_OF_A_LINE]
            yield from self._fail(f"the body is neither a stream nor JSON: {line}", time_ns)
        elif self._may_lack_body:
            yield Unread(self._title, EMPTY.name)
        else:
            yield self._start()
            yield self._end(outcome, note, time_ns)

    def _strays(self, time_ns: int | None) -> Iterator[Entry]:
        """Lines that are no part of an event. Some servers tell an error in one."""
        strays, over = self._body.take_strays()
        for stray in strays:
            self._first_stray = self._first_stray or stray.line
            self._framing.stray(stray.offset, f"the field {stray.field}" if stray.field else "", stray.line)
            message = None if self._failed else _error_told_by(stray)
            if message is not None and self._done is not None:
                self._behind_done(stray.offset, stray.line)
            elif message is not None:
                self._framing.is_stream = True
                yield from self._fail(f"an error outside the events: {message}", time_ns)
        self._framing.strays += over

    def _event(self, event: ServerSentEvent, time_ns: int | None, *, at_end: bool = False) -> Iterator[Entry]:
        data = event.data.strip()
        self._framing.is_stream = True
        if data.startswith(b"[DONE]"):
            if self._open or not self._count:
                if not self._open:
                    yield self._start()
                self._done = self._end("completed", "", time_ns, is_done=True)
            if self._failed and self._may_be_several:
                # What came behind an error belongs to no response.
                self._failed, self._framing = False, Framing(self._framing.content_type)
            return
        if self._failed:
            return
        text = event.data.decode("utf-8", "surrogateescape")
        if self._done is not None:
            if not self._begins_another(text):
                if _is_lost(text):
                    self._behind_done(event.offset, data)
                return
            yield self._done
            self._done = None
        try:
            value = parse_json(text)
        except UnreadableError as fault:
            lines = _events_without_blank_lines(data)
            if not data:
                self._framing.stray(event.offset, "no data", b"data:")
                return
            if lines:
                self._framing.stray(event.offset, "several events without a blank line between them", data)
                for line in lines:
                    yield from self._event(ServerSentEvent(line, event.offset), time_ns)
                return
            where = "the stream ends in the middle of an event" if at_end else "an event cannot be read"
            yield from self._fail(f"{where}, at byte {event.offset}: {fault}", time_ns, is_damaged=True)
            return
        error = error_in(value)
        if error is not None:
            yield from self._fail(f"an error event: {message_of(error)}", time_ns)
            return
        if not self._open:
            self._open = True
            yield self._start()
        if self._response_id is None:
            self._response_id = _id_of(value)
        yield Chunk(value, text, event.offset, time_ns)

    def _behind_done(self, offset: int, line: bytes) -> None:
        if self._done is not None and self._done.framing is not None:
            self._done.framing.stray(offset, "behind [DONE], where no client reads", line)

    def _begins_another(self, text: str) -> bool:
        """Whether an event behind `[DONE]` is the first of another response."""
        value = _read(text) if self._may_be_several else None
        if not isinstance(value, Mapping) or error_in(value) is not None:
            return False
        response_id = _id_of(value)
        if response_id is not None and response_id == self._response_id:
            return False
        return bool(value.get("choices")) or ("choices" not in value and kind_of(value) is not None)

    def _whole(self, document: bytes, outcome: Outcome, note: str, time_ns: int | None) -> Iterator[Entry]:
        text = document.decode("utf-8", "surrogateescape").strip()
        try:
            value = parse_json(text)
        except UnreadableError as error:
            if outcome != "completed":
                # It is not the document that is at fault: the rest of it did not come.
                yield self._start()
                yield self._end(outcome, note, time_ns)
                return
            lines = _json_lines(text)
            if not lines:
                yield from self._fail(f"the response cannot be read: {error}", time_ns, is_damaged=True)
                return
            if kind_of(lines[0][0]) is not OLLAMA:
                # The chunks of a stream, without the framing of one.
                self._framing.stray(0, "lines of JSON", document)
            yield self._start()
            times = _times_of_lines(document, self._arrivals)
            yield from _entries([one for one, _ in lines], lines, time_ns, self._framing, times)
            return
        yield self._start()
        yield from whole_entries(value, text, time_ns, self._framing)


def whole_entries(value: Any, text: str, time_ns: int | None = None, framing: Framing | None = None) -> Iterator[Entry]:
    """The entries of a JSON document that is a response or a list of chunks, after its ResponseStart."""
    if isinstance(value, list):
        yield from _entries(value, None, time_ns, framing)
        return
    # A failed response of the Responses API says more than its error.
    error = None if kind_of(value) is RESPONSES else error_in(value)
    if error is not None:
        yield ResponseEnd("error", f"an error: {message_of(error)}", time_ns, framing)
        return
    yield WholeResponse(value, text, time_ns)
    yield ResponseEnd("completed", "", time_ns, framing)


def _entries(
    chunks: list[Any],
    lines: list[tuple[Any, str]] | None,
    time_ns: int | None,
    framing: Framing | None,
    times: Sequence[int] = (),
) -> Iterator[Entry]:
    for place, chunk in enumerate(chunks):
        error = error_in(chunk)
        if error is not None:
            yield ResponseEnd("error", f"an error: {message_of(error)}", time_ns, framing)
            return
        raw = json.dumps(chunk)[:1000] if lines is None else lines[place][1]
        yield Chunk(chunk, raw, place, times[place] if place < len(times) else time_ns)
    yield ResponseEnd("completed", "", time_ns, framing)


def _read(text: str) -> Any:
    try:
        return parse_json(text)
    except UnreadableError:
        return None


def _id_of(value: Any) -> Any:
    """The id of the response that a chunk or an event belongs to, None if it has none."""
    found = field(value, "id") or field(field(value, "response"), "id")
    return found if isinstance(found, str) else None


def _is_lost(text: str) -> bool:
    """Whether an event says anything that a client would miss, other than the usage."""
    value = _read(text)
    if not isinstance(value, Mapping):
        return bool(text.strip())
    return error_in(value) is not None or bool(value.get("choices")) or "type" in value


def _error_told_by(stray: Stray) -> str | None:
    """The message of the error that a line tells, which is no event: `error: {...}`, or a JSON object by itself."""
    text = stray.value.decode("utf-8", "replace")
    try:
        value = parse_json(text) if text.startswith("{") else None
    except UnreadableError:
        value = None
    error = error_in(value)
    if error is not None:
        return message_of(error)
    return message_of(value or text) if stray.field == "error" else None


def _events_without_blank_lines(data: bytes) -> list[bytes]:
    """The data of several events that no blank line separates, empty if they are not that."""
    lines = [line for line in data.split(b"\n") if line.strip()]
    try:
        for line in lines:
            if not line.startswith(b"[DONE]"):
                parse_json(line.decode("utf-8", "surrogateescape"))
    except UnreadableError:
        return []
    return lines if len(lines) > 1 else []


def _json_lines(text: str) -> list[tuple[Any, str]]:
    """The objects of JSON Lines, each with its text, empty if the text is not that."""
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        values = [(parse_json(line), line) for line in lines]
    except UnreadableError:
        return []
    return values if len(values) > 1 and all(isinstance(value, Mapping) for value, _ in values) else []


def _times_of_lines(document: bytes, arrivals: Sequence[tuple[int, int]]) -> list[int]:
    """When the end of each line had come, for lines that are not blank. `arrivals`: how many bytes had come when."""
    times: list[int] = []
    place = at = 0
    for line in document.split(b"\n") if arrivals else ():
        at += len(line)
        while place + 1 < len(arrivals) and arrivals[place][0] < at:
            place += 1
        if line.strip():
            times.append(arrivals[place][1])
        at += 1
    return times


def is_response(value: Any) -> bool:
    """Whether a JSON value is a response of an API, a chunk or an event of one, or an error."""
    if not isinstance(value, Mapping):
        return False
    return kind_of(value) is not None or isinstance(value.get("choices"), list) or error_in(value) is not None


def is_whole(value: Any) -> bool:
    """Whether a JSON value is a whole response, not a chunk or an event."""
    if not isinstance(value, Mapping):
        return False
    choices = value.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return (
        value.get("object") in {"chat.completion", "response"}
        or value.get("type") == "message"
        or "stopReason" in value
        or (isinstance(first, Mapping) and "message" in first)
    )


def is_finished_text(value: Any) -> bool:
    """Whether a JSON value is a text completion with its end. Whole ones and the last chunks of streams look alike."""
    if not is_text_completion(value):
        return False
    choices = items_of(field(value, "choices"))
    return bool(choices) and all(field(choice, "finish_reason") for choice in choices)
