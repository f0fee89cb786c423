"""One request and its response, handed on in both directions as they come.

Everything happens in the callbacks of the two connections: no task and no queue stands between a piece that came and
its sending. A side that does not read stops the other one from being read.
"""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, cast

from otel_llm.proxy.answers import Answer, error_answer
from otel_llm.proxy.headers import Fields, end_to_end, head, set_field, tokens_of, trailers, value_of
from otel_llm.proxy.upstream_connection import UpstreamConnection, UpstreamError, UpstreamTimeout

if TYPE_CHECKING:
    from otel_llm.proxy.client_connection import ClientConnection
    from otel_llm.proxy.following import Following
    from otel_llm.proxy.gateway import Gateway
    from otel_llm.proxy.upstream_connection import Pool
    from otel_llm.proxy.upstreams import Upstream

_log = logging.getLogger("otel_llm.proxy")
# Bodies that are longer are read in another thread.
INLINE_BYTES = 262_144
# What is held while a connection is made, before the client is not read any more.
_MOST_HELD = 65_536
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# They describe the bytes of a body, which rewriting changes.
_OF_THE_BYTES = frozenset({b"content-digest", b"content-md5", b"digest", b"etag", b"repr-digest"})
_MADE_ANEW = frozenset({b"host", b"content-length", b"expect"})


class Request(NamedTuple):
    """The head of a request. `path` and `query` are undecoded; `is_chunked` and `length` say how its body is framed."""

    method: bytes
    path: bytes
    query: bytes
    is_http_1_1: bool
    fields: Fields
    is_chunked: bool
    length: int | None
    keeps_alive: bool
    is_websocket: bool = False


class Exchange:
    """From the head of a request to the end of its response."""

    def __init__(self, gateway: Gateway, client: ClientConnection, request: Request) -> None:
        self._gateway = gateway
        self._client = client
        self.request = request
        self.is_head = request.method == b"HEAD"
        self._following: Following | None = None
        self._upstream: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._pool: Pool | None = None
        # What came from the client and cannot be sent yet.
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._body_bytes = 0
        self._trailers: Fields = []
        self._is_started = False
        # Until the whole body is there, which says which model is asked.
        self._collects = False
        # Another thread has the request.
        self._is_preparing = False
        self._request_ended = False
        self._response_began = False
        self._response_ended = False
        self._is_over = False
        self._is_retried = False
        self._chunks_response = False
        self._ends_by_close = False
        # A head that waits for the length of the body that is rewritten.
        self._late_head: tuple[int, bytes, Fields] | None = None
        self._out: list[bytes] = []
        self._sent_head = b""
        self._is_tunnel = False
        self.started_at = self.active_at = perf_counter()
        self._ready_at = self.started_at
        self._sent_at = 0.0

    # -- from the client's connection --

    def start(self) -> None:
        """The client gets this response next."""
        self._is_started = True
        gateway = self._gateway
        following = gateway.follow(self.request)
        if isinstance(following, Answer):
            self._answer(following)
            return
        self._following = following
        if following.wants_body:
            self._collects = True
            self._client.resume()
            self._take_expectation()
            if self._request_ended:
                self._collected()
        else:
            self._forward(self._prepared(following, None))

    def request_body(self, data: bytes) -> None:
        self.active_at = perf_counter()
        self._body_bytes += len(data)
        limits = self._gateway.limits
        if self._body_bytes > limits.body_bytes:
            self._refuse(413, f"the request is longer than {limits.body_bytes} bytes", "request_too_long")
            return
        if self._is_over:
            return
        if self._upstream is not None and not self._collects:
            self._send(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._collects:
            if self._held_bytes > limits.observed_bytes:
                self._collects = False
                self._forward(self._prepared(cast("Following", self._following), None))
        elif self._held_bytes > _MOST_HELD:
            self._client.pause()

    def request_end(self, behind: Fields) -> None:
        self._trailers = behind
        self._request_ended = True
        self._ready_at = perf_counter()
        if self._collects:
            self._collected()
        elif self._upstream is not None:
            self._send_end()

    def client_lost(self) -> None:
        """The client has gone: the server is told at once, by closing."""
        self._give_up_upstream()
        self._over()
        if not self._is_preparing:
            self._finish_following("closed")

    def client_broke(self, status: int, message: str, error_type: str) -> None:
        """The client's body cannot be read to its end."""
        self._refuse(status, message, error_type)

    def client_paused(self) -> None:
        if self._upstream is not None:
            self._upstream.pause()

    def client_resumed(self) -> None:
        if self._upstream is not None:
            self._upstream.resume()

    def tunnel_data(self, data: bytes) -> None:
        """Bytes of the client after the protocol was switched."""
        self.active_at = perf_counter()
        if self._upstream is not None:
            self._upstream.write(data)

    @property
    def is_tunnel(self) -> bool:
        return self._is_tunnel

    def expire(self, now: float) -> None:
        """End what takes too long."""
        limits = self._gateway.limits
        if not self._request_ended and not self._response_began and now - self.active_at > limits.head_seconds:
            self._refuse(408, "the request took too long to come", "timeout")
        elif now - self.active_at > limits.idle_seconds:
            self.upstream_lost(UpstreamTimeout(f"nothing came for {limits.idle_seconds:g} s"))
        elif not self._is_tunnel and now - self.started_at > limits.total_seconds:
            self.upstream_lost(UpstreamTimeout(f"the request took longer than {limits.total_seconds:g} s"))

    # -- towards the server --

    def _take_expectation(self) -> None:
        """Answer `Expect` here: the body has to be seen before a server is asked."""
        if b"100-continue" in tokens_of(self.request.fields, b"expect") and self.request.is_http_1_1:
            self._client.write(_CONTINUE)

    def _collected(self) -> None:
        self._collects = False
        following = cast("Following", self._following)
        body = b"".join(self._held)
        if len(body) > INLINE_BYTES:
            self._is_preparing = True
            self._gateway.worker.run(lambda: self._prepared(following, body), self._prepared_elsewhere)
        else:
            self._forward(self._prepared(following, body))

    def _prepared_elsewhere(self, prepared: Answer | tuple[Upstream, bytes]) -> None:
        self._is_preparing = False
        if self._is_over:
            self._finish_following("closed")
        else:
            self._forward(prepared)

    def _prepared(self, following: Following, body: bytes | None) -> Answer | tuple[Upstream, bytes]:
        """The server, and the head of the request for it, now that all is known that decides."""
        model = None if body is None else following.read_request(body)
        chosen = self._gateway.choose(self.request, model)
        if isinstance(chosen, Answer):
            return chosen
        upstream, path = chosen
        return upstream, self._head_for(upstream, path, following)

    def _forward(self, prepared: Answer | tuple[Upstream, bytes]) -> None:
        if isinstance(prepared, Answer):
            self._answer(prepared)
            return
        upstream, self._sent_head = prepared
        self._pool = self._gateway.pool(upstream)
        connection = self._pool.take()
        if connection is not None:
            self._connected(connection)
        else:
            self._connecting = asyncio.ensure_future(self._connect(self._pool))

    def _head_for(self, upstream: Upstream, path: bytes, following: Following) -> bytes:
        request = self.request
        without = {*_MADE_ANEW, *self._gateway.stripped_fields(upstream)}
        fields = [(b"Host", upstream.authority), *end_to_end(request.fields, without)]
        if upstream.credentials is not None:
            set_field(fields, *upstream.credentials)
        if b"trailers" in tokens_of(request.fields, b"te"):
            fields += [(b"TE", b"trailers"), (b"Connection", b"TE")]
        if request.is_websocket:
            fields += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        if not following.wants_body and b"100-continue" in tokens_of(request.fields, b"expect"):
            fields.append((b"Expect", b"100-continue"))
        if request.is_chunked:
            fields.append((b"Transfer-Encoding", b"chunked"))
        elif request.length is not None:
            fields.append((b"Content-Length", b"%d" % request.length))
        following.begin(upstream, path, fields)
        return head(b"%b %b%b HTTP/1.1" % (request.method, path, request.query), fields)

    async def _connect(self, pool: Pool) -> None:
        try:
            connection = await pool.connect(self._gateway.limits.connect_seconds)
        except UpstreamError as error:
            self._connecting = None
            self.upstream_lost(error)
            return
        self._connecting = None
        if self._is_over:
            connection.abort()
        else:
            self._connected(connection)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._upstream = connection
        connection.begin(self)
        held = self._held
        if not self._may_retry():
            self._held = []
        connection.writelines([self._sent_head, *(piece for data in held for piece in self._framed(data))])
        self._gateway.metrics.bytes_up += len(self._sent_head) + self._held_bytes
        self._held_bytes = 0
        if self._request_ended:
            self._send_end()
        self._sent_at = perf_counter()
        self._gateway.metrics.added(self._sent_at - self._ready_at)
        if self._following is not None:
            self._following.sent()
        self._client.resume()

    def _may_retry(self) -> bool:
        return self.request.method in _IDEMPOTENT and self._request_ended and not self._is_retried

    def _framed(self, data: bytes) -> tuple[bytes, ...]:
        return (b"%x\r\n" % len(data), data, b"\r\n") if self.request.is_chunked else (data,)

    def _send(self, data: bytes) -> None:
        if self._upstream is not None:
            self._upstream.writelines(list(self._framed(data)))
        self._gateway.metrics.bytes_up += len(data)

    def _send_end(self) -> None:
        if self._upstream is not None and self.request.is_chunked:
            without = () if self._pool is None else self._gateway.stripped_fields(self._pool.upstream)
            self._upstream.write(head(b"0", trailers(self._trailers, without)))

    # -- from the server's connection --

    def interim(self, status: int, reason: bytes, fields: Fields) -> None:
        self.active_at = perf_counter()
        if self.request.is_http_1_1 and not self._response_began:
            self._out.append(head(b"HTTP/1.1 %d %b" % (status, reason), end_to_end(fields)))

    def response_head(self, status: int, reason: bytes, fields: Fields) -> None:
        self.active_at = perf_counter()
        self._response_began = True
        following = self._following
        rewrites = following is not None and following.response_head(status, reason, fields)
        length = value_of(fields, b"content-length")
        kept = end_to_end(fields, {b"content-length"})
        if self.is_head or status in {204, 304}:
            if length is not None:
                kept.append((b"Content-Length", length))
        elif rewrites:
            kept = [one for one in kept if one[0].lower() not in _OF_THE_BYTES]
            if length is not None and following is not None and following.is_document:
                self._late_head = status, reason, kept
                return
            self._frame_by_chunks(kept)
        elif length is not None:
            kept = end_to_end(fields)
        else:
            self._frame_by_chunks(kept)
        self._write_head(status, reason, kept)

    def _frame_by_chunks(self, fields: Fields) -> None:
        if self.request.is_http_1_1:
            self._chunks_response = True
            fields.append((b"Transfer-Encoding", b"chunked"))
        else:
            self._ends_by_close = True

    def _write_head(self, status: int, reason: bytes, fields: Fields) -> None:
        if not self.keeps_alive:
            fields.append((b"Connection", b"close"))
        elif not self.request.is_http_1_1:
            fields.append((b"Connection", b"keep-alive"))
        self._out.append(head(b"HTTP/1.1 %d %b" % (status, reason), fields))

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow on the client's connection."""
        return (
            self.request.keeps_alive
            and (self._request_ended or not (self.request.is_chunked or self.request.length))
            and not self._ends_by_close
            and not self._is_tunnel
            and not self._gateway.is_draining
        )

    def response_body(self, data: bytes) -> None:
        self.active_at = perf_counter()
        following = self._following
        if following is not None:
            data = following.response_body(data)
        if data:
            self._hand_on(data)

    def _hand_on(self, data: bytes) -> None:
        if self._chunks_response:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def response_end(self, behind: Fields) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.release(reusable=self._request_ended)
        following = self._following
        if following is None:
            self._finish_response(b"", behind)
        elif following.held_bytes > INLINE_BYTES:
            self._gateway.worker.run(following.response_end, lambda rest: self._finish_elsewhere(rest, behind))
        else:
            self._finish_response(following.response_end(), behind)

    def _finish_elsewhere(self, rest: bytes, behind: Fields) -> None:
        if not self._is_over:
            self._finish_response(rest, behind)
            self.flush()

    def _finish_response(self, rest: bytes, behind: Fields) -> None:
        if rest:
            self._hand_on(rest)
        if self._late_head is not None:
            (status, reason, fields), self._late_head = self._late_head, None
            body, self._out = b"".join(self._out), []
            fields.append((b"Content-Length", b"%d" % len(body)))
            self._write_head(status, reason, fields)
            self._out.append(body)
        if self._chunks_response:
            self._out.append(head(b"0", trailers(behind)))
        self._response_ended = True

    def switched(self, fields: Fields, reason: bytes) -> None:
        """The server speaks another protocol from now on."""
        self.active_at = perf_counter()
        if not self.request.is_websocket:
            self.upstream_lost(UpstreamError("the server switched the protocol without being asked"))
            return
        self._is_tunnel = self._response_began = True
        kept = [*end_to_end(fields), (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        self._out.append(head(b"HTTP/1.1 101 " + reason, kept))

    def tunnelled(self, data: bytes) -> None:
        """Bytes of the server after the protocol was switched."""
        self.active_at = perf_counter()
        self._out.append(data)
        self.flush()

    def flush(self) -> None:
        """Send what came at a time, then look at it: the client does not wait for that."""
        if self._is_over:
            return
        if self._out and self._late_head is None:
            out, self._out = self._out, []
            self._client.writelines(out)
        following = self._following
        if following is not None:
            following.observe()
        if self._response_ended:
            self._end()

    def upstream_lost(self, error: UpstreamError) -> None:
        """The server failed, or took too long."""
        if self._is_over:
            return
        dropped, self._upstream = self._upstream, None
        if dropped is not None:
            retries = (
                not dropped.has_answered
                and not self._response_began
                and not isinstance(error, UpstreamTimeout)
                and self._pool is not None
                and self._may_retry()
            )
            dropped.abort()
            if retries:
                self._is_retried = True
                self._connecting = asyncio.ensure_future(self._connect(cast("Pool", self._pool)))
                return
        self._give_up_upstream()
        is_cut = self._response_began and self._late_head is None
        if is_cut and self._out:
            out, self._out = self._out, []
            self._client.writelines(out)
        self._gateway.metrics.failed(type(error).__name__)
        if self._following is not None:
            self._following.fail(error)
            api = self._following.api
            self._following = None
        else:
            api = None
        if is_cut:
            if self._is_tunnel or not self._ends_by_close:
                # What came is sent, and the framing tells that more was to come.
                self._client.end_after_writing()
            else:
                self._client.reset()
            self._over()
            return
        self._late_head, self._out = None, []
        self._answer(error_answer(error.status, str(error), type(error).__name__, api))

    def upstream_paused(self) -> None:
        self._client.pause()

    def upstream_resumed(self) -> None:
        self._client.resume()

    # -- the ends --

    def _answer(self, answer: Answer) -> None:
        """Answer here, instead of a server."""
        self._response_began = True
        keeps_alive = self.keeps_alive
        fields: Fields = [
            (b"Content-Type", answer.content_type),
            (b"Content-Length", b"%d" % len(answer.body)),
        ]
        if answer.status == 401:
            fields.append((b"WWW-Authenticate", b"Bearer"))
        if not keeps_alive:
            fields.append((b"Connection", b"close"))
        first = b"HTTP/1.1 %d %b" % (answer.status, answer.reason)
        self._client.write(head(first, fields) + (b"" if self.is_head else answer.body))
        self._finish_following("completed")
        self._over()
        self._client.exchange_over(self, keeps_alive=keeps_alive)

    def _refuse(self, status: int, message: str, error_type: str) -> None:
        """The request cannot go on: answer if that is possible, and close."""
        if self._is_over:
            return
        self._give_up_upstream()
        api = None if self._following is None else self._following.api
        self._finish_following("cancelled")
        if self._response_began:
            self._over()
            self._client.reset()
            return
        self._request_ended = False
        self._answer(error_answer(status, message, error_type, api))

    def _end(self) -> None:
        keeps_alive = self.keeps_alive
        self._finish_following("completed")
        self._over()
        self._client.exchange_over(self, keeps_alive=keeps_alive)

    def _give_up_upstream(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def _finish_following(self, end: str) -> None:
        following, self._following = self._following, None
        if following is not None:
            following.finish(end)

    def _over(self) -> None:
        self._is_over = True
        self._held, self._out = [], []
