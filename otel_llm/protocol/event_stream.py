"""AWS's event stream encoding (`application/vnd.amazon.eventstream`), bytes in and events out, while they come.  Pure.

A message is the length of all and of the headers, a check sum of both, the headers, the payload, and a check sum of
all. An event comes out as the SDK gives it, `{"contentBlockStart": {...}}`; the event of a model's own stream, which
holds its bytes in base64, as those bytes; an exception as an error, `{"error": {"type": ..., "message": ...}}`.
Source: the Smithy specification, "Amazon Event Stream", and the Amazon Bedrock API reference, "ConverseStream".
"""

from __future__ import annotations

import base64
import json
from binascii import crc32
from collections.abc import Iterator, Mapping
from struct import error, unpack_from
from typing import Any, Final

from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.sse import ServerSentEvent, Stray

MEDIA_TYPE: Final = "application/vnd.amazon.eventstream"
_PRELUDE = 12
_CHECK_SUM = 4
_LONGEST_MESSAGE = 24 * 1_048_576
_LONGEST_HEADERS = 131_072
# The lengths of the values of headers, by their type; those of 6 (bytes) and 7 (text) come before them.
_LENGTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_WITH_LENGTH, _TEXT = (6, 7), 7


def begins_message(data: bytes) -> bool:
    """Whether bytes begin as a message does, whose length is less than 2**24 in four bytes."""
    return data.startswith(b"\0") and (len(data) < _PRELUDE or _is_prelude(data))


def _is_prelude(data: bytes) -> bool:
    check_sum: int = unpack_from("!I", data, 8)[0]
    return crc32(data[:8]) == check_sum


class MessageReader:
    """Reads one body in pieces of any size, as `EventReader` reads one of server-sent events."""

    strays: tuple[Stray, ...] = ()

    def __init__(self) -> None:
        self._data = bytearray()
        self._offset = 0
        self._length = 0

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """The events that this piece completes. Raises UnreadableError for a message that is damaged or too long."""
        self._data += data
        place = 0
        try:
            while len(self._data) - place >= max(_PRELUDE, self._length):
                if not self._length:
                    self._length = self._length_at(place)
                    continue
                whole = bytes(memoryview(self._data)[place : place + self._length])
                event = ServerSentEvent(self._payload(whole, place), self._offset + place)
                place += self._length
                self._length = 0
                yield event
        finally:
            del self._data[:place]
            self._offset += place

    def finish(self) -> Iterator[ServerSentEvent]:
        """The body is over. The SDK passes over the beginning of a message; it is no event that could be read."""
        if self._data:
            yield ServerSentEvent(bytes(self._data), self._offset)
            self._data.clear()

    def take_strays(self) -> tuple[list[Stray], int]:
        """There are none."""
        return [], 0

    def _length_at(self, place: int) -> int:
        prelude = bytes(self._data[place : place + _PRELUDE])
        length, headers = unpack_from("!II", prelude)
        if not _is_prelude(prelude) or length < _PRELUDE + headers + _CHECK_SUM:
            raise UnreadableError(f"a message of the event stream is damaged, at byte {self._offset + place}")
        if length > _LONGEST_MESSAGE or headers > _LONGEST_HEADERS:
            raise UnreadableError(f"a message of the event stream is longer than {_LONGEST_MESSAGE >> 20} MB")
        return int(length)

    def _payload(self, message: bytes, place: int) -> bytes:
        end = len(message) - _CHECK_SUM
        try:
            if crc32(message[:end]) != unpack_from("!I", message, end)[0]:
                raise UnreadableError(f"a message of the event stream is damaged, at byte {self._offset + place}")
            behind_headers = _PRELUDE + unpack_from("!I", message, 4)[0]
            headers = _headers(message, behind_headers)
        except (error, UnicodeDecodeError, KeyError):
            raise UnreadableError(f"a message of the event stream is damaged, at byte {self._offset + place}") from None
        return _event(headers, message[behind_headers:end])


def _headers(message: bytes, end: int) -> dict[str, str]:
    """The headers that are texts. Raises struct.error, UnicodeDecodeError, and KeyError for a type that is unknown."""
    found: dict[str, str] = {}
    place = _PRELUDE
    while place < end:
        length = message[place]
        name = message[place + 1 : place + 1 + length].decode()
        place += 1 + length
        (kind,) = unpack_from("!B", message, place)
        place += 1
        if kind in _WITH_LENGTH:
            (length,) = unpack_from("!H", message, place)
            place += 2
        else:
            length = _LENGTHS[kind]
        if kind == _TEXT:
            found[name] = message[place : place + length].decode()
        place += length
    return found


def _event(headers: Mapping[str, str], payload: bytes) -> bytes:
    kind = headers.get(":event-type")
    if headers.get(":message-type", "event") != "event" or kind is None:
        kind = headers.get(":exception-type") or headers.get(":error-code") or "error"
        told = _json(payload)
        message = told.get("message") if isinstance(told, Mapping) else None
        shown = {"type": kind, "message": message or headers.get(":error-message") or kind}
        return json.dumps({"error": shown}).encode("ascii")
    if kind == "chunk":
        told = _json(payload)
        if isinstance(told, Mapping) and isinstance(inner := told.get("bytes"), str):
            try:
                return base64.b64decode(inner, validate=True)
            except ValueError:
                return payload
    return b'{"%b":%b}' % (kind.encode(), payload or b"{}")


def _json(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None
