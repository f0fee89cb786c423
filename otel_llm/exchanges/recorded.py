"""Recordings: what `otel-llm record` writes, the exact bytes of one response with their timing.

A recording is JSON Lines, so one that was cut off is readable up to that point. The first line is an object with
`otel_llm_recording` (1), `started` (RFC 3339), `request` (`method`, `server`, `path`, `headers`, `body`) and `response`
(`status`, `headers`). A line for each read of the body follows: `t`, seconds since the request was sent, and `text`,
or `base64` if the bytes are not UTF-8. The last line has `t` and `end`: `completed`, `closed` or `error: ...`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

from otel_llm.exchanges.bodies import BodyReader
from otel_llm.exchanges.entries import Entry
from otel_llm.protocol.choice import Outcome
from otel_llm.protocol.content_encoding import expanded
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.json_values import parse_json

MARK = "otel_llm_recording"
LONGEST_LINE = 32 * 1_048_576  # bytes
_OUTCOMES: Mapping[str, Outcome] = {"completed": "completed", "closed": "closed", "error": "error"}


def head_line(started: str, request: Mapping[str, Any], response: Mapping[str, Any]) -> str:
    """The first line of a recording."""
    return json.dumps({MARK: 1, "started": started, "request": request, "response": response}) + "\n"


def data_line(seconds: float, data: bytes) -> str:
    """The line of one read."""
    try:
        return json.dumps({"t": round(seconds, 6), "text": data.decode("utf-8")}, ensure_ascii=False) + "\n"
    except UnicodeDecodeError:
        return json.dumps({"t": round(seconds, 6), "base64": base64.b64encode(data).decode("ascii")}) + "\n"


def end_line(seconds: float, end: str) -> str:
    """The last line."""
    return json.dumps({"t": round(seconds, 6), "end": end}) + "\n"


def outcome_of(end: str) -> tuple[Outcome, str]:
    """The outcome that the last line tells, and why, if it did not simply end."""
    return _OUTCOMES.get(end, "error"), "" if end in _OUTCOMES else end


class Recorded:
    """An open recording: its head, and its body read by read."""

    def __init__(self, head: Mapping[str, Any], lines: Iterator[str]) -> None:
        self.head = head
        self._lines = lines
        self.end: str | None = None
        """How the response ended; None until the last line was read, and if the file was cut off."""
        self.ended_ns: int | None = None

    @property
    def request_body(self) -> Mapping[str, Any] | None:
        body = _mapping(self.head.get("request")).get("body")
        return body if isinstance(body, Mapping) else None

    @property
    def url(self) -> str:
        """Where the request was sent; empty in recordings that do not tell."""
        request = _mapping(self.head.get("request"))
        server = request.get("server")
        return f"{server}{request.get('path', '')}" if isinstance(server, str) else ""

    @property
    def status(self) -> int:
        status = _mapping(self.head.get("response")).get("status")
        return status if isinstance(status, int) else 200

    @property
    def response_headers(self) -> Mapping[str, Any]:
        return _mapping(_mapping(self.head.get("response")).get("headers"))

    def reads(self) -> Iterator[tuple[int, bytes]]:
        """The time of each read (ns since the request) and its bytes. Raises UnreadableError."""
        for number, line in enumerate(self._lines, 2):
            if not line.strip():
                continue
            try:
                value = parse_json(line)
                time_ns = int(float(value["t"]) * 1e9)
                if "end" in value:
                    self.end, self.ended_ns = str(value["end"]), time_ns
                    return
                text = value.get("text")
                data = base64.b64decode(value["base64"], validate=True) if text is None else text.encode("utf-8")
            except (
                UnreadableError,
                KeyError,
                TypeError,
                AttributeError,
                ValueError,
                OverflowError,
                binascii.Error,
            ):
                raise UnreadableError(f"line {number} is not a line of a recording") from None
            yield time_ns, data


def open_recording(first_line: str, lines: Iterator[str]) -> Recorded:
    """A recording, from its first line and the lines after it. Raises UnreadableError."""
    head = parse_json(first_line)
    if not isinstance(head, Mapping) or head.get(MARK) != 1:
        raise UnreadableError(f"it is a recording of another version ({str(_mapping(head).get(MARK))[:20]})")
    return Recorded(head, lines)


def recorded_entries(title: str, recorded: Recorded) -> Iterator[Entry]:
    """The entries of a recording. Raises UnreadableError."""
    content_type = str(recorded.response_headers.get("content-type", ""))
    body = BodyReader(title, recorded.request_body, recorded.status, content_type, url=recorded.url)
    encoding = str(recorded.response_headers.get("content-encoding", ""))
    if encoding.strip().lower() in {"", "identity"}:
        yield from body.all_of((data, time_ns) for time_ns, data in recorded.reads())
    else:
        yield from body.all_of((piece, None) for piece in expanded((data for _, data in recorded.reads()), encoding))
    if recorded.end is None:
        yield from body.finish("error", "the recording is cut off")
        raise UnreadableError("the recording is cut off: its last line is missing")
    outcome, note = outcome_of(recorded.end)
    yield from body.finish(outcome, note, recorded.ended_ns)


def lines_of(file: IO[bytes]) -> Iterator[str]:
    """The lines of a file. Raises UnreadableError if one is too long."""
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            raise UnreadableError(f"a line is longer than {LONGEST_LINE >> 20} MB")
        yield line.decode("utf-8", "surrogateescape")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
