"""Recordings of Go's httprr: the bytes of requests and responses, each pair after a line with their lengths.

The first line is `httprr trace v1`. Bodies are whole, whatever `Transfer-Encoding` says, or in the chunks of HTTP/1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from otel_llm.exchanges.entries import Entry
from otel_llm.exchanges.http_exchanges import HTTPExchange
from otel_llm.protocol.errors import UnreadableError

MARK = b"httprr trace v1"
_LENGTHS = re.compile(rb"(\d{1,12}) (\d{1,12})\r?\n")
_LONGEST = 64 * 1_048_576
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]*\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/[\d.]+ (\d{3})")


def httprr_entries(file: IO[bytes]) -> Iterator[Entry]:
    """The entries of the exchanges. Raises UnreadableError, also after entries that could be read."""
    file.readline(len(MARK) + 2)
    number = 0
    while line := file.readline(64):
        if not line.strip():
            continue
        number += 1
        lengths = _LENGTHS.fullmatch(line)
        if lengths is None:
            raise UnreadableError(f"the lengths of exchange {number} cannot be read")
        sent, received = (_read(file, int(length), number) for length in lengths.groups())
        yield from _exchange(number, sent, received).entries()


def _read(file: IO[bytes], length: int, number: int) -> bytes:
    if length > _LONGEST:
        raise UnreadableError(f"exchange {number} is longer than {_LONGEST >> 20} MB")
    data = file.read(length)
    if len(data) < length:
        raise UnreadableError(f"exchange {number} is cut off")
    return data


def _exchange(number: int, sent: bytes, received: bytes) -> HTTPExchange:
    request_line, _, request = _message(sent)
    status_line, headers, body = _message(received)
    method, url, *_ = [*request_line.decode("latin-1").split(" "), "", ""]
    status = _STATUS_LINE.match(status_line)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunked(body)
    return HTTPExchange(number, method, url, request, body, headers, int(status.group(1)) if status else 200)


def _message(data: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """The first line of an HTTP message, its headers and its body."""
    end = _HEAD_END.search(data)
    head, body = (data, b"") if end is None else (data[: end.start()], data[end.end() :])
    first, *lines = head.splitlines() or [b""]
    pairs = (line.decode("latin-1").partition(":") for line in lines)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}, body


def _unchunked(body: bytes) -> bytes:
    """The body without the framing of its chunks; as it is, if it has none."""
    parts: list[bytes] = []
    at = 0
    while chunk := _CHUNK.match(body, at):
        length = int(chunk.group(1), 16)
        if not length:
            return b"".join(parts)
        parts.append(body[chunk.end() : chunk.end() + length])
        at = chunk.end() + length
        at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
    return b"".join(parts) if parts and at >= len(body) else body
