"""The load of `benchmarks.proxy`: requests over raw connections, so that the client costs little."""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import time
from dataclasses import dataclass, field
from typing import cast

_STAMP = re.compile(rb"t(\d{10,}) ")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_LONGEST_STAMP = 40


@dataclass
class Times:
    """Milliseconds, one for each request or chunk; and how many requests failed."""

    first: list[float] = field(default_factory=list)
    chunks: list[float] = field(default_factory=list)
    seconds: float = 0.0
    failed: int = 0

    @property
    def per_second(self) -> float:
        return len(self.chunks or self.first) / self.seconds


def middle(times: list[float]) -> float:
    return statistics.median(times) if times else float("nan")


def late(times: list[float]) -> float:
    """The 99th percentile."""
    return sorted(times)[int(len(times) * 0.99)] if times else float("nan")


def _request(text: str, *, stream: bool) -> bytes:
    body = json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-1234\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class _Client(asyncio.Protocol):
    """One connection. `done` is set at the end of a response, True if it was a good one."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.done: asyncio.Future[bool]
        self.times: list[float] = []
        self.first_ns = 0
        self._buffer = b""
        self._streams = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, *, stream: bool) -> asyncio.Future[bool]:
        self._buffer, self._streams, self.first_ns = b"", stream, 0
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.done

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.first_ns = self.first_ns or now
        if self._streams:
            known = self._buffer[-_LONGEST_STAMP:]
            found = (known + data) if not known.endswith(b" ") else data
            self.times += [(now - int(stamp)) / 1e6 for stamp in _STAMP.findall(found)]
            self._buffer = found[-_LONGEST_STAMP:]
            # A stamp that was found must not be found again.
            if (last := self._buffer.rfind(b" ")) >= 0:
                self._buffer = self._buffer[last:]
            if b"[DONE]" in found:
                self._end(good=True)
            return
        self._buffer += data
        head, mark, body = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if mark and (body.endswith(b"0\r\n\r\n") if length is None else len(body) >= int(length.group(1))):
            self._end(good=head.startswith(b"HTTP/1.1 200"))

    def connection_lost(self, _error: Exception | None) -> None:
        self._end(good=False)

    def _end(self, *, good: bool) -> None:
        if hasattr(self, "done") and not self.done.done():
            self.done.set_result(good)


async def connect(port: int) -> _Client:
    _, client = await asyncio.get_running_loop().create_connection(_Client, "127.0.0.1", port)
    return client


async def short_answers(port: int, connections: int, seconds: float) -> Times:
    """Requests, one after the other on each connection."""
    times, request = Times(), _request("hi", stream=False)
    begun = time.monotonic()

    async def ask() -> None:
        client = await connect(port)
        while time.monotonic() - begun < seconds:
            sent = time.monotonic_ns()
            if not await client.ask(request, stream=False):
                times.failed += 1
                client = await connect(port)
                continue
            times.first.append((time.monotonic_ns() - sent) / 1e6)
        client.transport.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    times.seconds = time.monotonic() - begun
    return times


async def streams(port: int, connections: int, chunks: int, pause: float) -> Times:
    """One stream on each connection. Those with pauses do not begin together."""
    times, request = Times(), _request(f"chunks={chunks},pause={pause}", stream=True)

    async def ask() -> None:
        if pause:
            await asyncio.sleep(random.random() * 20 * pause)
        client = await connect(port)
        sent = time.monotonic_ns()
        good = await client.ask(request, stream=True)
        times.failed += not good or len(client.times) != chunks
        times.first.append((client.first_ns - sent) / 1e6)
        times.chunks += client.times
        client.transport.close()

    begun = time.monotonic()
    await asyncio.gather(*(ask() for _ in range(connections)))
    times.seconds = time.monotonic() - begun
    return times
