"""What the proxy refuses: to be sent elsewhere, requests that two parsers would read differently, and strangers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from otel_llm.proxy.limits import Limits
from tests.helpers.proxying import RunningProxy, proxying
from tests.helpers.raw_server import RawServer, connected, raw_server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
POST = b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with raw_server() as server:
        server.answer(OK)
        yield server


@pytest.fixture(scope="module")
def proxy(server: RawServer) -> Iterator[RunningProxy]:
    limits = Limits(header_bytes=4096, body_bytes=1000)
    with proxying(f"{server.url}/v1", f"other={server.url}/v2", limits=limits) as proxy:
        yield proxy


def status_of(proxy: RunningProxy, sent: bytes) -> int:
    """The status of the answer, 0 if the connection is closed without one."""
    with connected(proxy.port) as client:
        client.send(sent)
        try:
            return int(client.read_until(b"\r\n").split(b" ")[1])
        except ConnectionError:
            return 0


@pytest.mark.parametrize(
    "target",
    [
        b"http://example.org/v1/x",
        b"https://example.org/",
        b"//example.org/../x",
        b"/v1/../admin",
        b"/v1/./x",
        b"/v1/%2e%2e/admin",
        b"/v1/.%2E/admin",
        b"/v1/..%2fadmin",
        b"/v1/..;/admin",
        b"/v1/..\\admin",
        b"/v1/%5c..%5cadmin",
        b"/other/..",
        b"/v1/x#fragment",
        b"*",
        b"@example.org",
        b"example.org:443",
        b"?x",
    ],
)
def test_other_servers_and_places(target: bytes, proxy: RunningProxy, server: RawServer) -> None:
    server.got.clear()
    assert status_of(proxy, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target) == 400
    assert server.got == []


def test_connect(proxy: RunningProxy) -> None:
    assert status_of(proxy, b"CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n") == 405


def test_the_path_never_chooses_a_host(proxy: RunningProxy, server: RawServer) -> None:
    for target in (b"//example.org/x", b"/@example.org/x", b"/v1@example.org/x", b"/other//example.org"):
        server.got.clear()
        assert status_of(proxy, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target) == 200
        head = server.got[0][0]
        assert head.startswith((b"GET /v1/", b"GET /v2/"))
        assert b"Host: " + server.url.removeprefix("http://").encode() in head


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"Content-Length: 5, 5\r\n\r\nhello",
        b"Content-Length: +5\r\n\r\nhello",
        b"Content-Length: -5\r\n\r\nhello",
        b"Content-Length: 0x5\r\n\r\nhello",
        b"Content-Length : 5\r\n\r\nhello",
        b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
        b"X: a\rb\r\n\r\n",
        b"X: a\nY: b\r\n\r\n",
        b"X: a\0b\r\n\r\n",
        b"X\x01: a\r\n\r\n",
        b": a\r\n\r\n",
        b"no colon\r\n\r\n",
        b"Transfer-Encoding: identity\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Host: other\r\n\r\n",
    ],
)
def test_smuggling(rest: bytes, proxy: RunningProxy, server: RawServer) -> None:
    server.got.clear()
    assert status_of(proxy, POST + rest) in {400, 501}
    assert server.got == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /v1/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET /v1/x HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/x HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET /v1/x\r\n\r\n", 505),
        (b"G(T /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (POST + b"X: " + b"a" * 5000, 431),
        (POST + b"".join(b"X: 1\r\n" for _ in range(300)) + b"\r\n", 431),
        (POST + b"Content-Length: 1001\r\n\r\n" + b"a" * 1001, 413),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_other_requests(sent: bytes, status: int, proxy: RunningProxy) -> None:
    assert status_of(proxy, sent) == status


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5;a\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX\r\n0\r\n\r\n",
        b"g",
    ],
)
def test_broken_chunks(chunks: bytes, proxy: RunningProxy) -> None:
    """The server has got a part, so its connection is closed."""
    assert status_of(proxy, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks) in {0, 400}


def test_a_refused_request_is_no_part_of_the_next(proxy: RunningProxy, server: RawServer) -> None:
    """What comes behind a refused head is not read as a request."""
    server.got.clear()
    smuggled = b"GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    bad = POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with connected(proxy.port) as client:
        client.send(POST + b"Content-Length: 0\r\n\r\n" + bad + smuggled)
        assert b"200 OK" in client.read_until(b"\r\n\r\nok")
        assert b"400 Bad Request" in client.read_until(b"\r\n\r\n")
    assert len(server.got) == 1


def test_bytes_before_the_protocol_was_switched(proxy: RunningProxy, server: RawServer) -> None:
    server.got.clear()
    wish = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    with connected(proxy.port) as client:
        client.send(wish + b"GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in client.read_until(b"\r\n\r\nok")
        assert b"400 Bad Request" in client.read_until(b"\r\n\r\n")
    assert len(server.got) == 1


def test_a_server_that_answers_more_than_was_asked(proxy: RunningProxy, server: RawServer) -> None:
    """Bytes behind a response are not the response to the next request."""
    server.answer(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    try:
        with connected(proxy.port) as client:
            for _ in range(3):
                client.send(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
                assert client.read(2) == b"ok"
    finally:
        server.answer(OK)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
    ],
)
def test_responses_that_are_refused(response: bytes, proxy: RunningProxy, server: RawServer) -> None:
    server.answer(response)
    try:
        assert status_of(proxy, b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n") == 502
    finally:
        server.answer(OK)


def test_named_servers(proxy: RunningProxy, server: RawServer) -> None:
    for path, there in {
        "/other/chat": "/v2/chat",
        "/other/v2/chat?a=b": "/v2/chat?a=b",
        "/other": "/v2/",
        "/others/x": "/v1/others/x",
    }.items():
        server.got.clear()
        assert httpx.get(proxy.url + path).status_code == 200
        assert server.got[0][0].startswith(f"GET {there} HTTP/1.1\r\n".encode())


def test_only_named_servers() -> None:
    with proxying("a=http://127.0.0.1:1", "b=http://127.0.0.1:2") as proxy:
        answer = httpx.get(f"{proxy.url}/v1/models")
        assert answer.status_code == 404
        assert "/a/, /b/" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:4321"}, 403),
        ({"Host": "["}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "app.localhost:99"}, 200),
        ({"Host": "[::1]:99"}, 200),
    ],
)
def test_pages_of_other_sites(headers: dict[str, str], status: int, proxy: RunningProxy) -> None:
    assert httpx.post(f"{proxy.url}/v1/x", headers=headers).status_code == status


def test_a_token_is_needed(server: RawServer) -> None:
    server.got.clear()
    with proxying(server.url, token_env="T", environ={"T": "s3cret"}) as proxy:
        url = f"{proxy.url}/v1/messages"
        for headers in ({}, {"X-Otel-LLM-Token": "wrong"}, {"Authorization": "Bearer s3cret"}):
            answer = httpx.post(url, headers=headers, json={"model": "m"})
            assert answer.status_code == 401
            assert answer.json()["error"]["type"] == "authentication_error"
        assert server.got == []
        answer = httpx.post(url, headers={"X-Otel-LLM-Token": "s3cret", "Host": "any.example"}, json={"model": "m"})
        assert answer.status_code == 200
        assert b"s3cret" not in server.got[0][0]
        assert httpx.get(f"{proxy.url}/healthz").status_code == 200


def test_keys_come_from_the_environment(server: RawServer) -> None:
    server.got.clear()
    environ = {"T": "s3cret", "K": "sk-ours", "A": "sk-other"}
    with proxying(server.url, f"b={server.url}", token_env="T", key_envs=["K", "b=A"], environ=environ) as proxy:
        for path, sent in (("v1/x", b"sk-ours"), ("b/v1/x", b"sk-other")):
            answer = httpx.post(f"{proxy.url}/{path}", headers={"Authorization": "Bearer s3cret", "x-api-key": "mine"})
            assert answer.status_code == 200
            head = server.got.pop()[0]
            assert b"authorization: Bearer " + sent + b"\r\n" in head
            assert b"s3cret" not in head
            assert b"mine" not in head
        assert "sk-ours" not in repr(proxy.gateway.configuration)
        assert "s3cret" not in repr(proxy.gateway.configuration)


def test_health_and_readiness(proxy: RunningProxy) -> None:
    with httpx.Client() as client:
        assert client.get(f"{proxy.url}/healthz").text == "ok\n"
        answer = client.get(f"{proxy.url}/readyz")
        assert answer.status_code == 200
        assert "connection" not in answer.headers


def test_too_many_connections(server: RawServer) -> None:
    with proxying(server.url, limits=Limits(connections=2)) as proxy, connected(proxy.port), connected(proxy.port):
        # The two are known to the proxy once it has answered on one of them.
        with connected(proxy.port) as third:
            answer = third.read_until(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503")


def test_what_takes_too_long(server: RawServer) -> None:
    limits = Limits(head_seconds=0.2, idle_seconds=0.6, keep_alive_seconds=0.2)
    with proxying(server.url, limits=limits) as proxy:
        assert status_of(proxy, b"GET /v1/x HTTP/1.1\r\nHo") == 408
        assert status_of(proxy, POST + b"Content-Length: 5\r\n\r\nhel") == 408
        with connected(proxy.port) as idle:
            assert idle.is_closed()
        server.script = lambda connection: (connection.request(), connection.is_closed())
        try:
            with connected(proxy.port) as client:
                client.send(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
                assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 504")
                body = client.read_until(b"}}")
                assert json.loads(body.partition(b"\r\n\r\n")[2])["error"]["type"] == "api_error"
        finally:
            server.answer(OK)
