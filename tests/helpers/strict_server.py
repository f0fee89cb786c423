"""A server that takes only what cannot be read in two ways, for tests of what a proxy makes of hostile requests.

It runs in the proxy's own event loop, so that turns of the loop, and not time, tell when all is done.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
from typing import NamedTuple, cast
from urllib.parse import unquote_to_bytes

_LINE = re.compile(rb"[A-Z][A-Z-]* (/[\x21\x22\x24-\x5b\x5d-\x7e]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\x20-\x7e\x80-\xff\t]*)")
_OF_THE_HEAD = frozenset(
    {
        *(b"authorization", b"content-encoding", b"content-length", b"host", b"te", b"trailer", b"transfer-encoding"),
        b"x-otel-llm-token",
    }
)


class Refused(Exception):
    """What came is no request, or one that servers may read differently."""


class Taken(NamedTuple):
    """A request. `path`: with its query."""

    line: bytes
    path: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes


class StrictServer(asyncio.Protocol):
    """A connection. `taken` and `faults` are those of all."""

    def __init__(self, authority: bytes, bases: tuple[bytes, ...], taken: list[Taken], faults: list[str]) -> None:
        self._authority = authority
        self._bases = bases
        self._taken = taken
        self._faults = faults
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            while (taken := self._next()) is not None:
                self._taken.append(taken)
                answer = b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 0\r\n\r\n"
                self._transport.write(answer % len(self._taken))
        except Refused as refused:
            self._faults.append(f"{refused}: {self._data[:300]!r}")
            self._transport.abort()

    def _next(self) -> Taken | None:
        """The next request, None if it is not whole."""
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return None
        line, *lines = head.split(b"\r\n")
        matched = _LINE.fullmatch(line)
        if matched is None:
            raise Refused("no line of a request")
        path = matched[1]
        plain = posixpath.normpath(unquote_to_bytes(path.partition(b"?")[0]).replace(b"\\", b"/"))
        if not any(plain == base or plain.startswith(base + b"/") for base in self._bases):
            raise Refused("a path outside of what is configured")
        fields = _fields(lines)
        names = [name for name, _ in fields]
        if [value for name, value in fields if name == b"host"] != [self._authority]:
            raise Refused("another host")
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value for name, value in fields if name == b"transfer-encoding"]
        if len(lengths) + len(codings) > 1:
            raise Refused("two lengths")
        if names.count(b"connection") > 1:
            raise Refused("two fields for the connection")
        if codings:
            if codings != [b"chunked"]:
                raise Refused("another coding")
            body = _unchunked(rest)
            if body is None:
                return None
            content, self._data = body
        else:
            if lengths and not lengths[0].isdigit():
                raise Refused("no length")
            length = int(lengths[0]) if lengths else 0
            if len(rest) < length:
                return None
            content, self._data = rest[:length], rest[length:]
        return Taken(line, path, fields, content)


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    fields = []
    for one in lines:
        matched = _FIELD.fullmatch(one)
        if matched is None:
            raise Refused(f"no field: {one[:80]!r}")
        fields.append((matched[1].lower(), matched[2].strip(b" \t")))
    return fields


def _unchunked(data: bytes) -> tuple[bytes, bytes] | None:
    """A body, and what follows it."""
    body = b""
    while True:
        size, end, rest = data.partition(b"\r\n")
        if not end:
            return None
        if not re.fullmatch(rb"[0-9a-fA-F]+", size):
            raise Refused(f"no size of a chunk: {size[:40]!r}")
        length = int(size, 16)
        if not length:
            break
        if len(rest) < length + 2:
            return None
        if rest[length : length + 2] != b"\r\n":
            raise Refused("a chunk with another length")
        body += rest[:length]
        data = rest[length + 2 :]
    if rest.startswith(b"\r\n"):
        return body, rest[2:]
    lines, end, rest = rest.partition(b"\r\n\r\n")
    if not end:
        return None
    if of_the_head := _OF_THE_HEAD & {name for name, _ in _fields(lines.split(b"\r\n"))}:
        raise Refused(f"fields of the head behind the body: {of_the_head}")
    return body, rest
