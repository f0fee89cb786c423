"""A client's connection: requests in, one after the other, and their responses out.

The parser (llhttp, strict) refuses what requests are smuggled with: both lengths or two of them, folded lines, bare
carriage returns and line feeds, white space before a colon, unknown transfer codings. What it lets through and this
proxy does not is refused here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from otel_llm.proxy.answers import Answer, error_answer
from otel_llm.proxy.exchange import Exchange, Request
from otel_llm.proxy.headers import Fields, head, size_of, tokens_of, value_of, values_of
from otel_llm.proxy.limits import MOST_FRAMING
from otel_llm.proxy.targets import RefusedTarget, checked_target

if TYPE_CHECKING:
    from otel_llm.proxy.gateway import Gateway

_log = logging.getLogger("otel_llm.proxy")
_SECONDS_TO_READ = 1.0  # after an answer to a client that may still be sending
_MOST_FIELDS = 256
_MOST_WAITING = 2  # requests that a client sent before it had the response


class ClientConnection(asyncio.Protocol):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._exchanges: deque[Exchange] = deque()
        self._incoming: Exchange | None = None
        self._parser: Any = None
        self._url = b""
        self._fields: Fields = []
        self._in_head = True
        self._head_bytes = 0
        # The pieces in which the head comes.
        self._head_pieces: list[bytes] = []
        # Of the piece that is read: whether a message ends in it, and how much of it is of a body.
        self._message_ended = False
        self._body_bytes = 0
        # What frames the body that comes, beyond what its size explains.
        self._excess = 0
        # The head of a request that asks for another protocol, without that wish.
        self._without_upgrade: bytes | None = None
        self._is_deaf = False
        self._is_paused = False
        # When the first byte of a head came that is not whole yet, and until when an unwanted body is read.
        self._head_at: float | None = None
        self._read_by = 0.0
        # The answer to a request behind those that are being answered.
        self._refusal: Answer | None = None
        self.active_at = perf_counter()

    # -- asyncio --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = HttpRequestParser(self)
        if not self._gateway.opened(self):
            self._refuse(error_answer(503, "too many connections", "too_many_connections"))

    def data_received(self, data: bytes) -> None:
        self.active_at = perf_counter()
        if self._is_deaf:
            return
        if self._exchanges and self._exchanges[0].is_tunnel:
            self._exchanges[0].tunnel_data(data)
            return
        is_in_body = self._incoming is not None
        self._head_pieces.append(data)
        self._message_ended, self._body_bytes = False, 0
        self._parse(data)
        if is_in_body and not self._message_ended and not self._is_deaf:
            # Sizes of chunks with their extensions, and trailers.
            self._excess = max(0, self._excess + len(data) - self._body_bytes * (1 + MOST_FRAMING))
            if self._excess > self._gateway.limits.header_bytes:
                self._break_off(431, "the framing of the request's body is too long", "header_too_long")
        # Where a message ended, it is not known how much is of the next head: that is measured when it is whole.
        if not self._in_head:
            self._head_pieces = []
        elif self._message_ended:
            self._head_pieces = [data]
        if self._in_head and not self._message_ended and not self._is_deaf:
            self._head_bytes += len(data)
            if self._head_bytes > self._gateway.limits.header_bytes:
                self._refuse(error_answer(431, "the head of the request is too long", "header_too_long"))

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except HttpParserCallbackError as error:
            _log.error("a request could not be handled", exc_info=error.__context__ or error)
            self.reset()
        except HttpParserError as error:
            if not self._is_deaf:
                self._break_off(400, f"the request is no HTTP/1.1: {error}", "invalid_request")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._is_deaf = True
        self._transport = None
        self._gateway.closed(self)
        while self._exchanges:
            self._exchanges.popleft().client_lost()

    def pause_writing(self) -> None:
        if self._exchanges:
            self._exchanges[0].client_paused()

    def resume_writing(self) -> None:
        if self._exchanges:
            self._exchanges[0].client_resumed()

    # -- httptools --

    def on_message_begin(self) -> None:
        self._url, self._fields = b"", []
        self._in_head, self._head_bytes = True, 0
        self._head_at = self.active_at

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))
        if len(self._fields) > _MOST_FIELDS and not self._is_deaf:
            self._break_off(431, "the request has too many header fields", "header_too_long")

    def on_headers_complete(self) -> None:
        if self._is_deaf:
            return
        self._in_head, self._head_at = False, None
        fields, self._fields = self._fields, []
        if len(self._url) + size_of(fields) > self._gateway.limits.header_bytes:
            self._refuse(error_answer(431, "the head of the request is too long", "header_too_long"))
            return
        request = self._request(fields)
        if isinstance(request, Answer):
            self._refuse(request)
            return
        if request is None:
            return
        self._excess = 0
        self._incoming = exchange = Exchange(self._gateway, self, request)
        self._exchanges.append(exchange)
        if len(self._exchanges) == 1:
            exchange.start()
        elif len(self._exchanges) > _MOST_WAITING:
            self.pause()

    def _request(self, fields: Fields) -> Request | Answer | None:
        """The request, or why it is refused. None if its head has to be read once more."""
        parser = self._parser
        method: bytes = parser.get_method()
        version = parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            return error_answer(505, "only HTTP/1.0 and HTTP/1.1 are spoken here", "unsupported_version")
        # The parser reads the protocols of streams and of cameras, too, and does not tell.
        if b"%b %b HTTP/%b" % (method, self._url, version.encode()) not in b"".join(self._head_pieces):
            return error_answer(400, "the request is of another protocol than HTTP", "invalid_request")
        if method == b"CONNECT":
            return error_answer(405, "this is no proxy for other servers", "unsupported_method")
        codings = list(tokens_of(fields, b"transfer-encoding"))
        if codings and (codings != [b"chunked"] or version == "1.0"):
            return error_answer(501, "the only transfer coding is chunked, of HTTP/1.1", "unsupported_coding")
        hosts = values_of(fields, b"host")
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            return error_answer(400, "the request must have one Host field", "invalid_request")
        try:
            path, query = checked_target(self._url)
        except RefusedTarget as refused:
            return error_answer(400, str(refused), "invalid_target")
        length = value_of(fields, b"content-length")
        is_websocket = False
        if parser.should_upgrade():
            wanted = set(tokens_of(fields, b"upgrade"))
            has_body = bool(codings) or length not in {None, b"0"}
            is_websocket = method == b"GET" and not has_body and wanted == {b"websocket"}
            if not is_websocket:
                # Clients that would rather speak HTTP/2 ask so, with any request. It is not taken up, and the parser,
                # which would not read a body, gets the head again without the wish.
                kept = [one for one in fields if one[0].lower() not in {b"upgrade", b"http2-settings"}]
                self._without_upgrade = head(b"%b %b HTTP/%b" % (method, self._url, version.encode()), kept)
                return None
        return Request(
            method,
            path,
            query,
            version == "1.1",
            fields,
            bool(codings),
            None if length is None else int(length),
            parser.should_keep_alive(),
            is_websocket,
        )

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._incoming is not None and not self._is_deaf:
            self._incoming.request_body(data)

    def on_message_complete(self) -> None:
        if self._incoming is not None and size_of(self._fields) > self._gateway.limits.header_bytes:
            self._break_off(431, "the trailers of the request are too long", "header_too_long")
        incoming, self._incoming = self._incoming, None
        self._in_head, self._head_bytes, self._message_ended = True, 0, True
        if incoming is not None and not self._is_deaf:
            incoming.request_end(self._fields)

    def _upgrade(self, rest: bytes) -> None:
        if self._is_deaf:
            return
        if self._without_upgrade is not None:
            self._parser = HttpRequestParser(self)
            again, self._without_upgrade = self._without_upgrade, None
            self._parse(again + rest)
        elif not rest:
            # The server may answer as if the wish had not been there, and then another request may come.
            self._parser = HttpRequestParser(self)
        else:
            # The client must wait for the answer before it speaks the other protocol.
            self._break_off(400, "bytes came before the protocol was switched", "invalid_request")

    # -- from the exchange --

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
            self._gateway.metrics.bytes_down += len(data)

    def writelines(self, pieces: list[bytes]) -> None:
        if self._transport is not None:
            self._transport.writelines(pieces)
            self._gateway.metrics.bytes_down += sum(map(len, pieces))

    def pause(self) -> None:
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._is_paused and self._transport is not None and len(self._exchanges) <= _MOST_WAITING:
            self._is_paused = False
            self._transport.resume_reading()

    def exchange_over(self, exchange: Exchange, *, keeps_alive: bool) -> None:
        """The response was sent."""
        if self._exchanges and self._exchanges[0] is exchange:
            self._exchanges.popleft()
        if self._refusal is not None and not self._exchanges:
            self._refuse(self._refusal)
            return
        if not keeps_alive:
            self._end(after_reading=self._incoming is exchange)
            return
        self.active_at = perf_counter()
        self.resume()
        if self._exchanges:
            self._exchanges[0].start()

    def end_after_writing(self) -> None:
        """Close in the middle of a response, when what came of it is sent."""
        self._drop_exchanges()
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Close at once: the end of the response must not look like one."""
        self._drop_exchanges()
        if self._transport is not None:
            self._transport.abort()

    # -- from the gateway --

    @property
    def current(self) -> Exchange | None:
        return self._exchanges[0] if self._exchanges else None

    def close_if_idle(self) -> None:
        if not self._exchanges and self._transport is not None:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """Close or end what takes too long."""
        limits = self._gateway.limits
        if self._exchanges:
            self._exchanges[0].expire(now)
        elif self._is_deaf:
            if now - self._read_by > 0 and self._transport is not None:
                self._transport.abort()
        elif self._head_at is not None:
            if now - self._head_at > limits.head_seconds:
                self._refuse(error_answer(408, "the head of the request took too long to come", "timeout"))
        elif now - self.active_at > limits.keep_alive_seconds:
            self.close_if_idle()

    # -- the ends --

    def _break_off(self, status: int, message: str, error_type: str) -> None:
        """What comes cannot be read, be it a head or a body."""
        incoming = self._incoming
        if incoming is not None and self._exchanges[0] is incoming:
            incoming.client_broke(status, message, error_type)
        else:
            self._refuse(error_answer(status, message, error_type))

    def _refuse(self, answer: Answer) -> None:
        """Answer, and read no further request. Behind a response that is under way there is no place for an answer."""
        self._is_deaf = True
        if self._incoming is not None:
            # It waits for its turn, which this answer takes.
            self._exchanges.remove(self._incoming)
            self._incoming = None
        if self._exchanges:
            self._refusal = answer
            return
        fields = [
            (b"Content-Type", answer.content_type),
            (b"Content-Length", b"%d" % len(answer.body)),
            (b"Connection", b"close"),
        ]
        self.write(head(b"HTTP/1.1 %d %b" % (answer.status, answer.reason), fields) + answer.body)
        self._end(after_reading=True)

    def _end(self, *, after_reading: bool) -> None:
        """Close. A client that is still sending would lose the answer, so its bytes are read for a moment."""
        self._is_deaf = True
        self._drop_exchanges()
        transport = self._transport
        if transport is None:
            return
        if after_reading and transport.can_write_eof():
            self.resume()
            transport.write_eof()
            self._read_by = perf_counter() + _SECONDS_TO_READ
        else:
            transport.close()

    def _drop_exchanges(self) -> None:
        self._is_deaf = True
        while self._exchanges:
            self._exchanges.popleft().client_lost()
