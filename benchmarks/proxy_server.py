"""The model server of `benchmarks.proxy`: as cheap as can be, so that what is measured is what stands before it.

usage: python -m benchmarks.proxy_server PORT

A request whose text holds `chunks=N,pause=S` is answered by a stream, any other by a short completion. Each chunk has
the time at which it was sent, by the clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import cast

SHORT = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"A short answer."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}'
)
_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(SHORT), SHORT)
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    b'"delta":{"content":"t%d "},"finish_reason":null}]}\n\n'
)
_LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},'
    b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
_WANTED = re.compile(rb"chunks=(\d+),pause=([\d.]+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""
        self._stream: asyncio.Task[None] | None = None

    def connection_lost(self, _error: Exception | None) -> None:
        if self._stream is not None:
            self._stream.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _LENGTH.search(head)
            if length is None and b"chunked" in head.lower():
                over = self._buffer.find(b"\r\n0\r\n\r\n", end) + 7
                if over < 7:
                    return
            else:
                over = end + 4 + (0 if length is None else int(length.group(1)))
                if len(self._buffer) < over:
                    return
            body, self._buffer = self._buffer[end:over], self._buffer[over:]
            wanted = _WANTED.search(body)
            if wanted is None:
                self._transport.write(_WHOLE)
            else:
                self._stream = asyncio.ensure_future(self._send(int(wanted.group(1)), float(wanted.group(2))))

    async def _send(self, chunks: int, pause: float) -> None:
        self._transport.write(_STREAM)
        for _ in range(chunks):
            self._write(_CHUNK % time.monotonic_ns())
            await asyncio.sleep(pause)
        self._write(_LAST)
        self._transport.write(b"0\r\n\r\n")

    def _write(self, event: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1])))
