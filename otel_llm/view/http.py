"""HTTP requests and responses over ASGI: limits for bodies, refusals, and the headers of every response."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from otel_llm.protocol.content_encoding import Expander, TooLongError
from otel_llm.protocol.errors import UnreadableError
from otel_llm.serving.asgi import Receive, Scope, Send, disconnected
from otel_llm.view.safety import HEADERS, LONGEST_BODY, MOST_AT_ONCE

Headers = Sequence[tuple[bytes, bytes]]

_SECONDS_FOR_A_BODY = 60.0
_READ_TO_BE_POLITE = 4 * LONGEST_BODY
# What gRPC and OTLP exporters send. Others would need more packages.
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})


class RefusedError(Exception):
    """The request is answered with a status of 400 or above."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class ClientGoneError(Exception):
    """The client has disconnected."""


class Room:
    """A bound for the bodies that are held in memory at the same time."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._held = 0

    @contextlib.contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """A function that reserves bytes until the end of the block. It raises RefusedError if too few are left."""
        mine = 0

        def take(size: int) -> None:
            nonlocal mine
            if self._held + size > self._most:
                raise RefusedError(503, "Too much data is being received. Try again later.")
            self._held += size
            mine += size

        try:
            yield take
        finally:
            self._held -= mine


class Request:
    """One HTTP request. Header names are in lower case; the last header of a name counts."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = "GET" if scope["method"] == "HEAD" else scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = {name.lower(): value for name, value in scope["headers"]}
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        self._receive = receive
        self._send = send
        self._is_read = False
        self.has_answered = False

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()

    async def body(self, take: Callable[[int], None]) -> bytes:
        """The body, whose bytes are reserved by `take`. Raises RefusedError and ClientGoneError."""
        try:
            return await asyncio.wait_for(self._body(take), _SECONDS_FOR_A_BODY)
        except asyncio.TimeoutError:
            raise RefusedError(408, "The body did not arrive in time.") from None

    async def discard(self) -> None:
        """Read the rest of the body, so that the client sees the response instead of a broken connection."""

        def take(_: int) -> None:
            raise RefusedError(400, "The body is discarded.")

        if not self._is_read:
            with contextlib.suppress(RefusedError):
                await self.body(take)

    async def _body(self, take: Callable[[int], None]) -> bytes:
        self._is_read = True
        body = bytearray()
        read = 0
        refused = None
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece = message.get("body", b"")
            read += len(piece)
            if refused is None:
                try:
                    if read > LONGEST_BODY:
                        raise RefusedError(413, f"The body is longer than {LONGEST_BODY} bytes.")
                    if piece:
                        take(len(piece))
                    body += piece
                except RefusedError as error:
                    refused = error
                    body.clear()
            if not message.get("more_body"):
                break
            if read > _READ_TO_BE_POLITE:
                break
        if refused is not None:
            raise refused
        return bytes(body)

    async def disconnected(self) -> None:
        """Return when the client has disconnected."""
        await disconnected(self._receive)

    async def start(self, status: int, headers: Headers, *, trailers: bool = False) -> None:
        self.has_answered = True
        date = (b"date", formatdate(usegmt=True).encode())
        message = {"type": "http.response.start", "status": status, "headers": [*headers, date, *HEADERS]}
        await self._send({**message, "trailers": True} if trailers else message)

    async def write(self, body: bytes, *, more: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def end_with(self, trailers: Headers) -> None:
        await self._send({"type": "http.response.trailers", "headers": list(trailers), "more_trailers": False})

    async def answer(self, status: int, body: bytes, content_type: str, headers: Headers = ()) -> None:
        await self.start(
            status,
            [
                (b"content-type", content_type.encode()),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", b"no-store"),
                *headers,
            ],
        )
        await self.write(body)

    async def answer_json(self, document: Any, status: int = 200, headers: Headers = ()) -> None:
        await self.answer(status, json.dumps(document).encode(), "application/json", headers)


def decompress(body: bytes, encoding: str, limit: int = LONGEST_BODY) -> bytes:
    """A body without its content encoding. Raises RefusedError: 415 for another encoding, 413 above the limit, 400."""
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in _ENCODINGS:
        raise RefusedError(415, "Supported encodings are gzip and deflate.")
    expander = Expander(encoding, limit)
    try:
        expanded = b"".join(expander.feed(body))
        expander.finish()
    except TooLongError:
        raise RefusedError(413, f"The decompressed body is longer than {limit} bytes.") from None
    except UnreadableError as error:
        raise RefusedError(400, f"The body is not {encoding}: {error}.") from None
    return expanded
