"""Hostile responses: the client gets one answer that reads in one way, or one that is cut, and the next one its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import cast

import pytest

from otel_llm.serving.sockets import listen
from tests.helpers.one_loop import OneLoop
from tests.helpers.proxying import proxying

ASK = b"GET /v1/hostile HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
NORMAL = ASK.replace(b"hostile", b"normal")
OK = b"HTTP/1.1 200 OK\r\n"
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def ok(*fields: bytes, body: bytes = b"") -> bytes:
    return OK + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


# What is no response, or one that can be read in two ways.
REFUSED = {
    "both lengths": ok(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "two lengths": ok(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"),
    "no length": ok(b"Content-Length: five", body=b"hello"),
    "minus": ok(b"Content-Length: -5", body=b"hello"),
    "unknown coding": ok(b"Transfer-Encoding: gzip", body=b"hello"),
    "chunked first": ok(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "folded line": ok(b"X: a\r\n b", b"Content-Length: 0"),
    "space before the colon": ok(b"Content-Length : 5", body=b"hello"),
    "null": ok(b"X: a\0b", b"Content-Length: 0"),
    "bare carriage return": ok(b"X: a\rSet-Cookie: b", b"Content-Length: 0"),
    "no status": b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"hello\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "unwanted protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello",
    "long head": ok(b"X: " + b"a" * 300_000),
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/2 to switch to": b"HTTP/2.0 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
}

# What begins well.
CUT = {
    "too short": ok(b"Content-Length: 50", body=b"hello"),
    "no size": CHUNKS + b"5\r\nhello\r\nxyz\r\n",
    "no end": CHUNKS + b"5\r\nhello\r\n",
    "size that is no number": CHUNKS + b"5\r\nhello\r\n-1\r\n\r\n",
    "overflow": CHUNKS + b"5\r\nhello\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    "too long chunk": CHUNKS + b"5\r\nhello!\r\n0\r\n\r\n",
    "long trailer": CHUNKS + b"5\r\nhello\r\n0\r\nX: " + b"a" * 1_000_000,
    "long extension": CHUNKS + b"5\r\nhello\r\n5;" + b"a" * 1_000_000 + b"\r\nhello\r\n0\r\n\r\n",
    "bare line feed": CHUNKS + b"5\r\nhello\n0\n\n",
}


class Server(asyncio.Protocol):
    """Answers the hostile request with what the test says, whole or in single bytes, and closes if it says so."""

    hostile = b""
    closes = False
    in_bytes = False
    count = sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        Server.count += 1

    def data_received(self, data: bytes) -> None:
        # The proxy sends a head at a time.
        if b"/v1/hostile" in data:
            size = 1 if Server.in_bytes and len(Server.hostile) < 1000 else 1_000_000
            self._send([Server.hostile[at : at + size] for at in range(0, len(Server.hostile), size)])
        else:
            self._transport.write(ok(b"Content-Length: 6", body=b"normal"))

    def _send(self, pieces: list[bytes]) -> None:
        self._transport.write(pieces.pop(0))
        Server.sent += 1
        if pieces:
            asyncio.get_running_loop().call_soon(self._send, pieces)
        elif Server.closes:
            self._transport.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[OneLoop]:
    with listen("127.0.0.1", 0) as listener, proxying(f"http://127.0.0.1:{listener.getsockname()[1]}/v1") as proxy:
        server = proxy.call(lambda: proxy.loop.create_server(Server, sock=listener))
        yield OneLoop(proxy, lambda: Server.count + Server.sent)
        proxy.call(server.close)


@pytest.fixture(params=["whole", "in bytes"])
def in_bytes(request: pytest.FixtureRequest) -> Iterator[None]:
    Server.in_bytes = request.param == "in bytes"
    yield
    Server.in_bytes = False


def asked(loop: OneLoop, hostile: bytes, *, closes: bool = False, request: bytes = ASK) -> bytes:
    """What a client gets; the next one gets what is for it, two times."""
    Server.hostile, Server.closes = hostile, closes
    got = loop.exchange(request)
    for _ in range(2):
        assert loop.exchange(NORMAL).endswith(b"\r\n\r\nnormal")
    assert b"poison" not in got
    assert loop.proxy.gateway.is_idle
    return got


@pytest.mark.usefixtures("in_bytes")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, loop: OneLoop) -> None:
    got = asked(loop, REFUSED[name])
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"\r\nX:" not in got


@pytest.mark.usefixtures("in_bytes")
@pytest.mark.parametrize("name", CUT)
def test_a_cut_response_looks_cut(name: str, loop: OneLoop) -> None:
    got = asked(loop, CUT[name], closes=True)
    head, _, body = got.partition(b"\r\n\r\n")
    # What came of it before is sent.
    assert head.startswith(OK.rstrip())
    assert re.sub(rb"\w+\r\n(\w+)\r\n", rb"\1", body).startswith(b"hello")
    if b"Content-Length" not in head:
        assert not body.endswith(b"0\r\n\r\n")
    else:
        assert len(body) < int(re.findall(rb"Content-Length: (\d+)", head)[0])


BEHIND = {
    "a response": ok(b"Content-Length: 2", body=b"ok") + POISON,
    "half a response": ok(b"Content-Length: 2", body=b"ok") + POISON[:20],
    "a response behind chunks": CHUNKS + b"2\r\nok\r\n0\r\n\r\n" + POISON,
    "garbage": ok(b"Content-Length: 2", body=b"ok") + b"garbage",
    "another protocol": ok(b"Content-Length: 2", body=b"ok")
    + b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\npoison",
    "a length of 204": b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison",
    "a body of 304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison",
    "a body of 204": b"HTTP/1.1 204 No Content\r\n\r\n" + POISON,
}


@pytest.mark.parametrize("name", BEHIND)
def test_what_stands_behind_a_response_is_for_nobody(name: str, loop: OneLoop) -> None:
    before = Server.count
    asked(loop, BEHIND[name])
    # The connection is given up: more of it could come when the next request is sent there.
    assert Server.count == before + 1


@pytest.mark.usefixtures("in_bytes")
@pytest.mark.parametrize("hostile", [ok(b"Content-Length: 6", body=b"poison"), ok(b"Content-Length: 0") + POISON])
def test_a_body_of_head(hostile: bytes, loop: OneLoop) -> None:
    before = Server.count
    got = asked(loop, hostile, request=ASK.replace(b"GET", b"HEAD"))
    assert got.endswith(b"\r\n\r\n")
    assert Server.count == before + 1


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"304 Not Modified"])
def test_a_body_that_may_still_come(method: bytes, status: bytes, loop: OneLoop) -> None:
    """Where no body may come and a length is named, a server's mistake would be for the next request."""
    before = Server.count
    hostile = b"HTTP/1.1 %b\r\nContent-Length: 6\r\n\r\n" % status
    has_body = (method, status) == (b"GET", b"200 OK")
    asked(loop, hostile + b"normal" * has_body, request=ASK.replace(b"GET", method))
    assert Server.count == before + (not has_body)


def test_interim_responses(loop: OneLoop) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    got = asked(loop, early * 3 + ok(b"Content-Length: 2", body=b"ok"))
    assert got.count(b"103 Early Hints") == 3
    assert got.endswith(b"ok")
    assert asked(loop, early, closes=True).count(b"HTTP/1.1 ") == 2
