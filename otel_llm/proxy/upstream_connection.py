"""A connection to a server: one exchange at a time, kept for the next one if both sides allow it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, Any, Protocol, cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from otel_llm.proxy.headers import Fields, tokens_of, value_of
from otel_llm.proxy.limits import MOST_FRAMING

if TYPE_CHECKING:
    from otel_llm.proxy.upstreams import Upstream

_log = logging.getLogger("otel_llm.proxy")
# Servers close idle connections, some after five seconds; nothing tells beforehand.
_IDLE_SECONDS = 30.0
_MOST_IDLE = 256  # of one server


class UpstreamError(Exception):
    """A server failed. `status`: what a client is answered if nothing of the response was sent yet."""

    status = 502


class UpstreamUnreachable(UpstreamError):  # noqa: N818 - names of telemetry
    """No connection to the server could be made."""


class UpstreamTimeout(UpstreamError):  # noqa: N818
    """The server took longer than a limit."""

    status = 504


class UpstreamDropped(UpstreamError):  # noqa: N818
    """The server closed the connection before its response was over."""


class UpstreamMisbehaved(UpstreamError):  # noqa: N818
    """The server sent what is no HTTP, or a head that is too long."""


class Receiver(Protocol):
    """Takes a response as it comes. `flush` is called when all that came at a time was handed over."""

    is_head: bool

    def interim(self, status: int, reason: bytes, fields: Fields) -> None: ...
    def response_head(self, status: int, reason: bytes, fields: Fields) -> None: ...
    def response_body(self, data: bytes) -> None: ...
    def response_end(self, trailers: Fields) -> None: ...
    def switched(self, fields: Fields, reason: bytes) -> None: ...
    def tunnelled(self, data: bytes) -> None: ...
    def flush(self) -> None: ...
    def upstream_lost(self, error: UpstreamError) -> None: ...
    def upstream_paused(self) -> None: ...
    def upstream_resumed(self) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """Made by `Pool`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._status = 0
        self._reason = b""
        self._fields: Fields = []
        self._trailers: Fields = []
        self._head_bytes = 0
        # Of the piece that is read, and what frames the body beyond what its size explains.
        self._body_bytes = 0
        self._excess = 0
        self._in_head = True
        self._ends_at_close = False
        self._is_tunnel = False
        self._keeps_alive = False
        self._is_paused = False
        self._has_more = False
        self.idle_since = 0.0
        self.is_open = False
        self.has_answered = False
        """Whether a byte came since the last `begin`."""

    # -- from the exchange --

    def begin(self, receiver: Receiver) -> None:
        """The next response is for `receiver`."""
        self._receiver = receiver
        self._parser = HttpResponseParser(self)
        self._is_tunnel = self.has_answered = self._ends_at_close = self._has_more = False
        self._head_bytes, self._excess, self._in_head = 0, 0, True

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def writelines(self, pieces: list[bytes]) -> None:
        if self._transport is not None:
            self._transport.writelines(pieces)

    def pause(self) -> None:
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def release(self, *, reusable: bool) -> None:
        """The exchange is over."""
        self._receiver = None
        self.resume()
        if reusable and self._keeps_alive and self.is_open and not self._is_tunnel:
            self._pool.keep(self)
        elif self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now: the response is not wanted any more, and the server is to notice."""
        self._receiver = None
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            # Nobody asked.
            self.abort()
            return
        self.has_answered = True
        if self._is_tunnel:
            receiver.tunnelled(data)
            return
        is_in_body, self._body_bytes = not self._in_head, 0
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if rest and self._receiver is not None:
                receiver.tunnelled(rest)
        except HttpParserCallbackError as error:
            _log.error("a response could not be handled", exc_info=error.__context__ or error)
            self._fail(UpstreamMisbehaved("the response could not be handled"))
        except HttpParserError as error:
            self._has_more = True
            if self._receiver is not None:
                self._fail(UpstreamMisbehaved(f"the server sent what is no HTTP: {error}"))
        except BaseException:
            self.abort()
            raise
        else:
            if self._in_head and self._receiver is not None:
                self._head_bytes += len(data)
                if self._head_bytes > self._pool.most_head_bytes:
                    self._fail(UpstreamMisbehaved("the head of the response is too long"))
            elif is_in_body and self._receiver is not None:
                self._excess = max(0, self._excess + len(data) - self._body_bytes * (1 + MOST_FRAMING))
                if self._excess > self._pool.most_head_bytes:
                    self._fail(UpstreamMisbehaved("the framing of the response is too long"))
        if self._receiver is None and self._has_more:
            # Bytes behind the response would be taken for the next one.
            self.abort()
        receiver.flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._pool.lost(self)
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if error is None and self._ends_at_close:
            self._keeps_alive = False
            receiver.response_end([])
            receiver.flush()
        else:
            receiver.upstream_lost(UpstreamDropped("the server closed the connection before its response was over"))

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.upstream_paused()

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.upstream_resumed()

    # -- httptools --

    def on_message_begin(self) -> None:
        self._has_more = self._receiver is None
        self._reason, self._fields, self._trailers = b"", [], []
        self._in_head = True

    def on_status(self, status: bytes) -> None:
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        (self._fields if self._in_head else self._trailers).append((name, value))

    def on_headers_complete(self) -> None:
        receiver = self._receiver
        self._in_head, self._head_bytes = False, 0
        if receiver is None:
            return
        version = self._parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            self._fail(UpstreamMisbehaved(f"the server speaks HTTP/{version}"))
            return
        status = self._status = self._parser.get_status_code()
        if status == 101:
            self._is_tunnel = True
            receiver.switched(self._fields, self._reason)
            return
        if status < 200:
            receiver.interim(status, self._reason, self._fields)
            return
        codings = list(tokens_of(self._fields, b"transfer-encoding"))
        if codings not in ([], [b"chunked"]):
            self._fail(UpstreamMisbehaved("the server sent a transfer coding that was not asked for"))
            return
        self._keeps_alive = self._parser.should_keep_alive()
        has_no_body = receiver.is_head or status in {204, 304}
        self._ends_at_close = (
            not has_no_body
            and value_of(self._fields, b"content-length") is None
            and value_of(self._fields, b"transfer-encoding") is None
        )
        if has_no_body and (codings or value_of(self._fields, b"content-length") not in {None, b"0"}):
            # A server that sends the body all the same would send it to the next request.
            self._keeps_alive = False
        receiver.response_head(status, self._reason, self._fields)
        if receiver.is_head and self._receiver is receiver:
            # The parser does not know that no body follows, so it is not asked again.
            receiver.response_end([])

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._receiver is not None:
            self._receiver.response_body(data)

    def on_message_complete(self) -> None:
        if self._receiver is not None and self._status >= 200 and not self._ends_at_close:
            self._receiver.response_end(self._trailers)

    def _fail(self, error: UpstreamError) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.upstream_lost(error)


class Pool:
    """The connections to one server."""

    def __init__(self, upstream: Upstream, most_head_bytes: int) -> None:
        self.upstream = upstream
        self.most_head_bytes = most_head_bytes
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._context: ssl.SSLContext | None = None
        self._is_retired = False

    @property
    def open_count(self) -> int:
        return len(self._open)

    def take(self) -> UpstreamConnection | None:
        """A connection that is idle, the one that was used last; None if there is none."""
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def connect(self, seconds: float) -> UpstreamConnection:
        """A new connection. Raises UpstreamUnreachable and UpstreamTimeout."""
        loop = asyncio.get_running_loop()
        host, port = self.upstream.host, self.upstream.port
        if self.upstream.is_tls and self._context is None:
            self._context = ssl.create_default_context()
        try:
            _, connection = await asyncio.wait_for(
                loop.create_connection(lambda: UpstreamConnection(self), host, port, ssl=self._context), seconds
            )
        except asyncio.TimeoutError:
            raise UpstreamTimeout(f"the server took longer than {seconds:g} s to accept a connection") from None
        except (OSError, UnicodeError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise UpstreamUnreachable(f"the server cannot be reached: {said}") from error
        return connection

    def opened(self, connection: UpstreamConnection) -> None:
        self._open.add(connection)

    def keep(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is over."""
        if self._is_retired or len(self._idle) >= _MOST_IDLE:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self) -> None:
        """Close what was idle for too long."""
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).abort()

    def retire(self) -> None:
        """Keep no connection any more; those with an exchange finish it."""
        self._is_retired = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def close(self) -> None:
        """Close all connections, also those with an exchange."""
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()
