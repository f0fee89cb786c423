"""Requests and responses pass the proxy byte for byte, in both directions, and both ends learn of an end."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator

import pytest

from otel_llm.proxy.limits import Limits
from tests.helpers.proxying import RunningProxy, proxying
from tests.helpers.raw_server import KEEP, RawConnection, RawServer, connected, raw_server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOST = b"Host: localhost\r\n"
CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with raw_server() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: RawServer) -> Iterator[RunningProxy]:
    with proxying(f"{server.url}/v1", limits=Limits(body_bytes=50_000_000, observed_bytes=1_000_000)) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: RunningProxy, server: RawServer) -> Iterator[RawConnection]:
    server.got.clear()
    with connected(proxy.port) as client:
        yield client


def body_of(client: RawConnection) -> bytes:
    head = client.read_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    return client.read(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))


def ask(stream: bool = True) -> bytes:
    body = json.dumps({"model": "m", "messages": [], "stream": stream}).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (HOST, len(body), body)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY"])
def test_every_method_and_path(method: str, client: RawConnection, server: RawServer) -> None:
    server.answer(OK)
    target = b"/v1/models/org%2Fname//x;y=1?a=%20b&&c"
    client.send(b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode(), target, HOST))
    assert body_of(client) == b"ok"
    assert server.got[0][0].startswith(b"%b %b HTTP/1.1\r\n" % (method.encode(), target))


def test_the_path_of_the_server_comes_first(client: RawConnection, server: RawServer) -> None:
    server.answer(OK)
    client.send(b"GET /models HTTP/1.1\r\n%b\r\n" % HOST)
    assert body_of(client) == b"ok"
    assert server.got[0][0].startswith(b"GET /v1/models HTTP/1.1\r\n")


def test_header_fields_keep_their_case_and_order(client: RawConnection, server: RawServer) -> None:
    server.answer(
        b"HTTP/1.1 299 Fine, thanks\r\nX-One: 1\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nCONTENT-LENGTH: 0\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-Last: caf\xe9\r\n\r\n"
    )
    client.send(
        b"GET /v1/x HTTP/1.1\r\n%bX-B: 2\r\nx-a: 1\r\nX-B: 3\r\nAuthorization: Bearer k\r\n"
        b"Connection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 1\r\nx-otel-llm-token: t\r\n\r\n" % HOST
    )
    head = client.read_until(b"\r\n\r\n")
    assert head == (
        b"HTTP/1.1 299 Fine, thanks\r\nX-One: 1\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nCONTENT-LENGTH: 0\r\n"
        b"X-Last: caf\xe9\r\n\r\n"
    )
    got = server.got[0][0].split(b"\r\n")
    assert got[1] == b"Host: " + server.url.removeprefix("http://").encode()
    assert got[2:-2] == [b"X-B: 2", b"x-a: 1", b"X-B: 3", b"Authorization: Bearer k"]


def test_chunks_and_trailers(client: RawConnection, server: RawServer) -> None:
    chunked = b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n"
    server.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + chunked)
    client.send(b"POST /v1/x HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n%b" % (HOST, chunked))
    head = client.read_until(b"\r\n\r\n")
    assert b"Trailer: X-Sum\r\n" in head
    assert client.read(len(chunked)) == chunked
    assert server.got[0][1] == chunked


def test_each_piece_comes_when_it_was_sent(client: RawConnection, server: RawServer) -> None:
    seen = threading.Event()

    def script(connection: RawConnection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n")
        for piece in (CHUNK[:7], CHUNK[7:]):
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert seen.wait(10)
            seen.clear()
        connection.send(b"0\r\n\r\n")

    server.script = script
    client.send(ask())
    assert b"200 OK" in client.read_until(b"\r\n\r\n")
    for piece in (CHUNK[:7], CHUNK[7:]):
        assert client.read_until(b"\r\n") == b"%x\r\n" % len(piece)
        assert client.read(len(piece) + 2) == piece + b"\r\n"
        seen.set()
    assert client.read(5) == b"0\r\n\r\n"


def test_a_compressed_body_passes_as_it_is(client: RawConnection, server: RawServer, proxy: RunningProxy) -> None:
    assert proxy.seen is not None
    before = len(proxy.seen.spans)
    body = gzip.compress(json.dumps({"id": "r", "model": "m", "choices": []}).encode())
    server.answer(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    client.send(ask(stream=False))
    assert body_of(client) == body
    proxy.settle()
    span = proxy.seen.spans[before]
    assert span.attributes is not None
    assert span.attributes["gen_ai.response.id"] == "r"


def test_expect_is_handed_on(client: RawConnection, server: RawServer) -> None:
    def script(connection: RawConnection) -> None:
        head = connection.read_until(b"\r\n\r\n")
        server.got.append((head, b""))
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert connection.read(3) == b"abc"
        connection.send(OK)

    server.script = script
    client.send(b"POST /v1/x HTTP/1.1\r\n%bExpect: 100-continue\r\nContent-Length: 3\r\n\r\n" % HOST)
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"Expect: 100-continue" in server.got[0][0]
    client.send(b"abc")
    assert body_of(client) == b"ok"


def test_expect_of_a_body_that_is_observed(client: RawConnection, server: RawServer) -> None:
    server.answer(OK)
    head, body = ask().split(b"\r\n\r\n")
    client.send(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(body)
    assert body_of(client) == b"ok"
    assert server.got[0][1] == body


def test_requests_are_answered_in_order_on_one_connection(client: RawConnection, server: RawServer) -> None:
    def script(connection: RawConnection) -> object:
        head, _ = connection.request()
        path = head.split(b" ")[1]
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))
        return KEEP

    server.script = script
    client.send(b"".join(b"GET /v1/%d HTTP/1.1\r\n%b\r\n" % (number, HOST) for number in range(6)))
    assert [body_of(client) for _ in range(6)] == [b"/v1/%d" % number for number in range(6)]


def test_connections_to_the_server_are_kept(client: RawConnection, server: RawServer) -> None:
    server.answer(OK)
    client.send(b"GET /v1/x HTTP/1.1\r\n%b\r\n" % HOST)
    body_of(client)
    before = server.connections
    for _ in range(3):
        client.send(b"GET /v1/x HTTP/1.1\r\n%b\r\n" % HOST)
        assert body_of(client) == b"ok"
    assert server.connections == before


def test_head_has_no_body(client: RawConnection, server: RawServer) -> None:
    server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
    for _ in range(2):
        client.send(b"HEAD /v1/x HTTP/1.1\r\n%b\r\n" % HOST)
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_statuses_without_a_body(status: bytes, client: RawConnection, server: RawServer) -> None:
    server.answer(b"HTTP/1.1 %b\r\nETag: x\r\n\r\n" % status)
    for _ in range(2):
        client.send(b"GET /v1/x HTTP/1.1\r\n%b\r\n" % HOST)
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 %b\r\nETag: x\r\n\r\n" % status


def test_http_1_0_client(client: RawConnection, server: RawServer) -> None:
    server.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    client.send(b"GET /v1/x HTTP/1.0\r\n\r\n")
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    assert client.read(2) == b"ok"
    assert client.is_closed()


def test_a_body_that_ends_with_the_connection(client: RawConnection, server: RawServer) -> None:
    def script(connection: RawConnection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nok")

    server.script = script
    client.send(b"GET /v1/x HTTP/1.1\r\n%b\r\n" % HOST)
    assert b"Transfer-Encoding: chunked" in client.read_until(b"\r\n\r\n")
    assert client.read(12) == b"2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/files"])
def test_the_server_learns_that_the_client_has_gone(path: bytes, proxy: RunningProxy, server: RawServer) -> None:
    closed = threading.Event()

    def script(connection: RawConnection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
        if connection.is_closed():
            closed.set()

    server.script = script
    with connected(proxy.port) as client:
        client.send(ask().replace(b"/v1/chat/completions", path))
        client.read_until(CHUNK)
    assert closed.wait(5)


def test_the_server_learns_of_it_before_it_answers(proxy: RunningProxy, server: RawServer) -> None:
    asked, closed = threading.Event(), threading.Event()

    def script(connection: RawConnection) -> None:
        connection.request()
        asked.set()
        if connection.is_closed():
            closed.set()

    server.script = script
    with connected(proxy.port) as client:
        client.send(ask())
        assert asked.wait(5)
    assert closed.wait(5)


def test_a_dropped_response_ends_the_clients_too(client: RawConnection, server: RawServer) -> None:
    def script(connection: RawConnection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(CHUNK), CHUNK))

    server.script = script
    client.send(ask())
    client.read_until(CHUNK + b"\r\n")
    assert client.is_closed()


def test_a_slow_reader_stops_the_server(client: RawConnection, server: RawServer) -> None:
    """What the client does not read is not read from the server, either."""
    sent = [0]
    stopped = threading.Event()

    def script(connection: RawConnection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        connection.socket.settimeout(1)
        try:
            for _ in range(1000):
                connection.send(b"x" * 100_000)
                sent[0] += 100_000
        except TimeoutError:
            stopped.set()

    server.script = script
    client.send(b"GET /v1/x HTTP/1.1\r\n%b\r\n" % HOST)
    assert stopped.wait(15)
    assert sent[0] < 50_000_000


def test_a_long_request_passes_as_it_comes(client: RawConnection, server: RawServer) -> None:
    length = 30_000_000
    got = [0]

    def script(connection: RawConnection) -> None:
        connection.read_until(b"\r\n\r\n")
        while got[0] < length:
            got[0] += len(connection.read(100_000))
        connection.send(OK)

    server.script = script
    client.send(b"POST /v1/files HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (HOST, length))
    for _ in range(length // 100_000):
        client.send(b"x" * 100_000)
    assert body_of(client) == b"ok"
    assert got[0] == length


def test_a_long_request_to_a_model_passes_too(client: RawConnection, server: RawServer) -> None:
    """It is longer than what is held back to be observed."""
    server.answer(OK)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 2_000_000}]}).encode()
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (HOST, len(body)))
    client.send(body)
    assert body_of(client) == b"ok"
    assert server.got[0][1] == body


def test_another_protocol_that_is_refused(client: RawConnection, server: RawServer) -> None:
    server.answer(OK)
    for _ in range(2):
        client.send(b"GET /v1/x HTTP/1.1\r\n%bUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" % HOST)
        assert body_of(client) == b"ok"


def test_another_protocol_passes(client: RawConnection, server: RawServer) -> None:
    def script(connection: RawConnection) -> None:
        server.got.append((connection.read_until(b"\r\n\r\n"), b""))
        connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: x\r\n\r\nhello"
        )
        for _ in range(3):
            connection.send(connection.read(4)[::-1])
        connection.send(b"bye")

    server.script = script
    client.send(
        b"GET /v1/realtime?model=m HTTP/1.1\r\n%bUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        b"Sec-WebSocket-Key: k\r\n\r\n" % HOST
    )
    head = client.read_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Upgrade: websocket\r\n" in head
    assert client.read(5) == b"hello"
    for number in range(3):
        client.send(b"abc%d" % number)
        assert client.read(4) == b"%dcba" % number
    assert client.read(3) == b"bye"
    assert client.is_closed()
    asked = server.got[0][0]
    assert b"Upgrade: websocket\r\n" in asked
    assert b"Sec-WebSocket-Key: k\r\n" in asked


def test_the_wish_for_http_2_is_not_taken_up(client: RawConnection, server: RawServer) -> None:
    """Java's client makes it with each request, and sends the body at once."""
    server.answer(OK)
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP\r\n"
    client.send(ask().replace(HOST, HOST + wish))
    assert body_of(client) == b"ok"
    head, body = server.got[0]
    assert b"pgrade" not in head
    assert b"HTTP2" not in head
    assert json.loads(body)["model"] == "m"
