"""Hostile requests: whatever comes, only configured servers are asked, by one request for each that is answered.

Each is followed by a normal one on another connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.serving.sockets import listen
from tests.helpers.one_loop import OneLoop
from tests.helpers.proxying import RunningProxy, proxying
from tests.helpers.strict_server import StrictServer, Taken
from tests.helpers.thoroughness import examples

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
NORMAL = b"GET /normal HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def get(target: bytes, *fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET " + target + b" HTTP/" + version + b"\r\n" + joined(b"Host: localhost", *fields) + b"\r\n"


def post(*fields: bytes, body: bytes = b"", target: bytes = b"/v1/files") -> bytes:
    return b"POST " + target + b" HTTP/1.1\r\n" + joined(b"Host: localhost", *fields) + b"\r\n" + body


def joined(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)


def chunked(body: bytes, *fields: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *fields, body=body)


# What must not be handed on in any form: the answer is an error, or the end of the connection.
REFUSED = {
    # Other servers.
    "absolute form": get(b"http://other.example/"),
    "absolute form of this server": get(b"http://localhost/v1/models"),
    "absolute form with a user": get(b"http://localhost@other.example/"),
    "another scheme": get(b"ftp://other.example/"),
    "authority only": get(b"other.example:80"),
    "at sign first": get(b"@other.example/"),
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "CONNECT": b"CONNECT other.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "CONNECT with a path": b"CONNECT /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "foreign host": b"GET /v1/models HTTP/1.1\r\nHost: other.example\r\n\r\n",
    "foreign host behind a user": b"GET /v1/models HTTP/1.1\r\nHost: localhost@other.example\r\n\r\n",
    "foreign host before a mark": b"GET /v1/models HTTP/1.1\r\nHost: other.example#@localhost\r\n\r\n",
    "two hosts in one field": b"GET /v1/models HTTP/1.1\r\nHost: localhost, other.example\r\n\r\n",
    "foreign origin": get(b"/v1/models", b"Origin: http://other.example"),
    "two hosts": get(b"/v1/models", b"Host: other.example"),
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    # Paths that lead elsewhere.
    "dots": get(b"/v1/../admin"),
    "encoded dots": get(b"/v1/%2e%2e/admin"),
    "half encoded dots": get(b"/v1/.%2E/admin"),
    "encoded slash and dots": get(b"/v1/x%2f..%2f..%2fadmin"),
    "encoded backslash": get(b"/v1/..%5cadmin"),
    "backslash": get(b"/v1/..\\admin"),
    "dots behind a name": get(b"/named/../admin"),
    "dots at the end": get(b"/named/.."),
    "dots behind slashes": get(b"/v1//..//admin"),
    "dots with an encoded parameter": get(b"/named/..%3bx/admin"),
    "dots with a parameter": get(b"/named/..;x=1/admin"),
    "dots before an encoded null": get(b"/v1/%2e%2e%00/admin"),
    "dots before an encoded space": get(b"/v1/..%20/admin"),
    "dots behind an encoded space": get(b"/v1/%20../admin"),
    "dots between an encoded space and a parameter": get(b"/v1/..%20;x/admin"),
    "overlong dots": get(b"/v1/%c0%ae%c0%ae/admin"),
    "overlong slash": get(b"/v1/..%c0%afadmin"),
    "overlong dots in capitals": get(b"/v1/%C0%AE%C0%AE/admin"),
    "encoded null": get(b"/v1/models%00.json"),
    "encoded line": get(b"/v1/models%0d%0aX:%20y"),
    "encoded tab": get(b"/v1/models%09"),
    "encoded delete": get(b"/v1/models%7f"),
    "fragment": get(b"/v1/models#@other.example/"),
    "tab in the target": get(b"/v1/\tmodels"),
    "space in the target": get(b"/v1/ models"),
    "null in the target": get(b"/v1/\0models"),
    "control character": get(b"/v1/\x7fmodels"),
    "not ASCII": get("/v1/modèles".encode()),
    # Lines.
    "bare carriage return": b"GET /v1/models HTTP/1.1\rHost: localhost\r\n\r\n",
    "bare carriage return in a value": get(b"/v1/models", b"X: a\rY: b"),
    "bare line feeds": b"GET /v1/models HTTP/1.1\nHost: localhost\n\n",
    "bare line feed behind a field": b"GET /v1/models HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "folded line": get(b"/v1/models", b"X: a\r\n b"),
    "folded first line": b"GET /v1/models HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n",
    "folded coding": post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "null in a value": get(b"/v1/models", b"X: a\0b"),
    "null in a name": get(b"/v1/models", b"X\0: a"),
    "space before the colon": post(b"Content-Length : 5", body=b"hello"),
    "tab before the colon": post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "no colon": get(b"/v1/models", b"X"),
    "no name": get(b"/v1/models", b": x"),
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "HTTP/2": get(b"/v1/models", version=b"2.0"),
    "HTTP/1.2": get(b"/v1/models", version=b"1.2"),
    "HTTP/11": get(b"/v1/models", version=b"11"),
    "ICE": b"SOURCE /v1/models ICE/1.0\r\nHost: localhost\r\n\r\n",
    "RTSP": b"DESCRIBE /v1/models RTSP/1.0\r\nHost: localhost\r\n\r\n",
    "GET of RTSP": b"GET /v1/models RTSP/1.0\r\nHost: localhost\r\n\r\n",
    "POST of RTSP/1.1": b"POST /v1/models RTSP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    "RTSP that names HTTP": b"OPTIONS /v1/models RTSP/1.0\r\nHost: localhost\r\nX: HTTP/1.0\r\n\r\n",
    "page of another site": get(b"/v1/models", b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: no-cors"),
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "lower case": b"get /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "unknown method": b"SMUGGLE /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    # Lengths.
    "both lengths": post(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "both lengths, other order": post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 0", b"Content-Length: 44", body=SMUGGLED),
    "two equal lengths": post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "list of lengths": post(b"Content-Length: 5, 5", body=b"hello"),
    "plus": post(b"Content-Length: +5", body=b"hello"),
    "minus": post(b"Content-Length: -5", body=b"hello"),
    "hexadecimal length": post(b"Content-Length: 0x5", body=b"hello"),
    "fraction": post(b"Content-Length: 5.0", body=b"hello"),
    "underscore": post(b"Content-Length: 4_4", body=SMUGGLED),
    "two numbers": post(b"Content-Length: 0 44", body=SMUGGLED),
    "no number": post(b"Content-Length: five", body=b"hello"),
    "too large": post(b"Content-Length: 99999999999999999999999999", body=b"hello"),
    "unknown coding": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "identity": post(b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello"),
    "two codings": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "chunked first": post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "two fields of coding": chunked(b"0\r\n\r\n", b"Transfer-Encoding: identity"),
    "quoted coding": post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n" + SMUGGLED),
    "vertical tab before the coding": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "empty coding": post(b"Transfer-Encoding:", b"Content-Length: 5", body=b"hello"),
    "chunked in HTTP/1.0": b"POST /v1/files HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    # Sizes.
    "long head": get(b"/v1/models", b"X: " + b"a" * 100_000),
    "long target": get(b"/v1/" + b"a" * 100_000),
    "long name": get(b"/v1/models", b"X" * 100_000 + b": a"),
    "many fields": get(b"/v1/models", *[b"X: y"] * 1000),
}

# A body that cannot be read ends the connection: the server may have got its beginning, but no request that is whole.
BROKEN_BODIES = {
    "no size": chunked(b"\r\nhello\r\n0\r\n\r\n"),
    "no number": chunked(b"xyz\r\nhello\r\n0\r\n\r\n"),
    "0x": chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "plus": chunked(b"+5\r\nhello\r\n0\r\n\r\n"),
    "minus": chunked(b"-1\r\nhello\r\n0\r\n\r\n"),
    "space before": chunked(b" 5\r\nhello\r\n0\r\n\r\n"),
    "space behind": chunked(b"5 \r\nhello\r\n0\r\n\r\n"),
    "underscore": chunked(b"1_0\r\nhello\r\n0\r\n\r\n"),
    "overflow": chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
    "too short": chunked(b"4\r\nhello\r\n0\r\n\r\n"),
    "too long": chunked(b"6\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
    "bare line feed": chunked(b"5\nhello\n0\n\n"),
    "bare line feed behind the data": chunked(b"5\r\nhello\n0\r\n\r\n"),
    "bare carriage return": chunked(b"5\rhello\r\n0\r\n\r\n"),
    "line feed in an extension": chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
    "carriage return in an extension": chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
    "length in a trailer": chunked(b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"),
    "coding in a trailer": chunked(b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "folded trailer": chunked(b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"),
    "trailer without a colon": chunked(b"5\r\nhello\r\n0\r\nX\r\n\r\n"),
    "null in a trailer": chunked(b"5\r\nhello\r\n0\r\nX: \0\r\n\r\n"),
    "long trailer": chunked(b"0\r\nX: " + b"a" * 200_000 + b"\r\n\r\n"),
    "long trailer that does not end": chunked(b"0\r\nX: " + b"a" * 1_000_000),
    "long trailer behind a long body": chunked(
        b"186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n"
    ),
    "many trailers": chunked(b"0\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
    "long extension": chunked(b"5;" + b"a" * 1_000_000 + b"\r\nhello\r\n0\r\n\r\n"),
    "long extensions": chunked((b"5;" + b"a" * 60_000 + b"\r\nhello\r\n") * 20 + b"0\r\n\r\n"),
    "long extension at the end": chunked(b"5\r\nhello\r\n0;" + b"a" * 1_000_000 + b"\r\n\r\n"),
    "nothing behind the size": chunked(b"5"),
    "no end": chunked(b"5\r\nhello\r\n"),
    "not whole": post(b"Content-Length: 50", body=b"hello"),
}

# What is right, however odd, is one request.
TAKEN = {
    "encoded slash": get(b"/v1/models/org%2Fname"),
    "two slashes": get(b"//other.example/v1"),
    "at sign in a path": get(b"/v1/@other.example/x"),
    "colon in a path": get(b"/v1/http://other.example/"),
    "dots in a query": get(b"/v1/models?next=../../admin"),
    "at sign in a query": get(b"/v1/models?@other.example"),
    "three dots": get(b"/v1/.../models"),
    "encoded space": get(b"/v1/my%20model"),
    "encoded space at the end": get(b"/v1/x.%20"),
    "page of this site": get(b"/v1/models", b"Sec-Fetch-Site: same-site", b"Origin: http://localhost:3000"),
    "no page's": get(b"/v1/models", b"Sec-Fetch-Site: none"),
    "letters beyond ASCII": get(b"/v1/mod%C3%A8les%e4%b8%ad"),
    "percent signs": get(b"/v1/%2/%zz/%"),
    "encoded percent": get(b"/v1/%252e%252e/models"),
    "a URL as another's host": get(b"/v1/models", b"X-Forwarded-Host: other.example", b"Forwarded: host=other.example"),
    "a field of the connection": get(b"/v1/models", b"Connection: host, content-length, x", b"X: y"),
    "other protocol": get(b"/v1/models", b"Connection: Upgrade", b"Upgrade: h2c, other"),
    "upper case coding": post(b"Transfer-Encoding: CHUNKED", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "extension": chunked(b"5;a=b;c\r\nhello\r\n0;d\r\n\r\n"),
    "quoted extension": chunked(b'5;a="b;c"\r\nhello\r\n0\r\n\r\n'),
    "leading zeros": chunked(b"0005\r\nhello\r\n000\r\n\r\n"),
    "trailer": chunked(b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
    "host in a trailer": chunked(b"5\r\nhello\r\n0\r\nHost: other.example\r\n\r\n"),
    "key in a trailer": chunked(b"5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\n\r\n"),
    "token in a trailer": chunked(b"5\r\nhello\r\n0\r\nX-Otel-Llm-Token: x\r\n\r\n"),
    "content coding in a trailer": chunked(b"5\r\nhello\r\n0\r\nContent-Encoding: gzip\r\n\r\n"),
    "chunks of a byte": chunked(b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"),
    "rather long extension": chunked(b"5;" + b"a" * 50_000 + b"\r\nhello\r\n0\r\n\r\n"),
    "another expectation": post(b"Content-Length: 5", b"Expect: other", body=b"hello"),
    "request in a body": post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
    "request in a chunk": chunked(b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"),
    "body of GET": get(b"/v1/models", b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED,
    "empty lines first": b"\r\n\r\n" + get(b"/v1/models"),
    "observed": post(
        b"Content-Length: 13", b"Content-Type: application/json", body=b'{"model":"m"}', target=b"/v1/chat/completions"
    ),
    "observed in chunks": post(
        b"Transfer-Encoding: chunked", body=b'd\r\n{"model":"m"}\r\n0\r\n\r\n', target=b"/v1/chat/completions"
    ),
    "HTTP/1.0": b"GET /v1/models HTTP/1.0\r\n\r\n",
}


class Place(OneLoop):
    """A proxy, and the one server behind it."""

    def __init__(self, proxy: RunningProxy, taken: list[Taken], faults: list[str]) -> None:
        super().__init__(proxy, lambda: len(taken))
        self.taken, self.faults = taken, faults

    def send(self, *pieces: bytes) -> tuple[list[bytes], list[Taken]]:
        """The heads of the answers that a client gets that sends this, and the requests that the server gets.

        Fails if anything is amiss on the way.
        """
        self.taken.clear()
        self.faults.clear()
        answers = heads(self.exchange(*pieces))
        handed_on = [answer for answer in answers if b"\r\nX-Number: " in answer]
        came = self.taken.copy()
        assert self.faults == []
        assert len(self.asked) <= 1
        # Each request that the server got is one that the client gets an answer to, or the end of its connection.
        assert len(handed_on) <= len(came) <= len(answers) + 1, (answers, came)
        assert not any(b"/smuggled" in taken.path for taken in came)
        self.taken.clear()
        (answer,) = heads(self.exchange(NORMAL))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert [taken.path for taken in self.taken] == [b"/v1/normal"]
        assert self.proxy.gateway.is_idle
        return answers, came


def heads(got: bytes) -> list[bytes]:
    """The heads of the answers, without those that only go before another."""
    found = []
    while got:
        head, end, got = got.partition(b"\r\n\r\n")
        assert end, "an answer is cut off"
        assert head.startswith(b"HTTP/1.1 "), head
        if head.startswith(b"HTTP/1.1 1"):
            continue
        found.append(head + end)
        got = got[int(head.lower().split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0]) :]
    return found


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    taken: list[Taken] = []
    faults: list[str] = []
    # It is started in the proxy's loop, so its port is found before.
    with listen("127.0.0.1", 0) as listener:
        authority = b"127.0.0.1:%d" % listener.getsockname()[1]
        url = f"http://{authority.decode()}"
        with proxying(f"{url}/v1", f"named={url}/base") as proxy:
            bases = (b"/v1", b"/base")
            make = partial(StrictServer, authority, bases, taken, faults)
            server = proxy.call(lambda: proxy.loop.create_server(make, sock=listener))
            yield Place(proxy, taken, faults)
            proxy.call(server.close)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, place: Place) -> None:
    answers, taken = place.send(REFUSED[name])
    assert taken == []
    assert all(b" 4" in answer[:12] or b" 5" in answer[:12] for answer in answers)
    # Nothing that stands behind is read as a request.
    assert len(answers) <= 1


@pytest.mark.parametrize("name", BROKEN_BODIES)
@pytest.mark.parametrize("target", [b"/v1/files", b"/v1/chat/completions"])
def test_broken_bodies(name: str, target: bytes, place: Place) -> None:
    answers, taken = place.send(BROKEN_BODIES[name].replace(b"/v1/files", target))
    assert taken == []
    assert all(b" 4" in answer[:12] for answer in answers)
    assert len(answers) <= 1
    if len(BROKEN_BODIES[name]) > 5_000:
        assert answers[0].startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str, place: Place) -> None:
    (answer,), taken = place.send(TAKEN[name])
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(taken) == 1


@pytest.mark.parametrize("name", [name for name in REFUSED if "RTSP" in name])
def test_other_protocols_behind_a_request_and_in_single_bytes(name: str, place: Place) -> None:
    for data in (TAKEN["extension"] + REFUSED[name], REFUSED[name] + SMUGGLED):
        for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
            answers, taken = place.send(*pieces)
            assert [answer[9:12] for answer in answers][-1] == b"400"
            assert len(taken) == len(answers) - 1


def test_a_wish_of_an_older_protocol(place: Place) -> None:
    """HTTP/1.0 stays what it is, also if it asks for another protocol: such a client knows no chunks."""
    wish = b"GET /v1/models HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    (answer,), taken = place.send(wish)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert len(taken) == 1


@pytest.mark.parametrize("name", [name for name, data in (BROKEN_BODIES | TAKEN).items() if len(data) < 1000])
def test_single_bytes_are_read_like_the_whole(name: str, place: Place) -> None:
    data = (BROKEN_BODIES | TAKEN)[name]
    answers, taken = place.send(data)
    slow_answers, slow_taken = place.send(*(data[at : at + 1] for at in range(len(data))))
    assert [answer[9:12] for answer in slow_answers] == [answer[9:12] for answer in answers]
    assert [(one.line, one.body) for one in slow_taken] == [(one.line, one.body) for one in taken]


# Longer ones that are observed are read in another thread, which the turns of the loop do not wait for.
@pytest.mark.parametrize(
    ("length", "target"),
    [
        *((length, b"/v1/files") for length in (100_000, 200_000, 1_000_000)),
        *((length, b"/v1/chat/completions") for length in (100_000, 200_000)),
    ],
)
def test_a_long_body_has_one_answer(length: int, target: bytes, place: Place) -> None:
    """A body does not count as the head of the next request, however large the pieces are in which it comes."""
    body = b"x" * length
    for request in (
        post(b"Content-Length: %d" % length, body=body, target=target),
        post(b"Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (length, body), target=target),
        post(b"Upgrade: h2c", b"Connection: Upgrade", b"Content-Length: %d" % length, body=body, target=target),
    ):
        answers, taken = place.send(request + get(b"/v1/last"))
        assert [answer[9:12] for answer in answers] == [b"200", b"200"]
        assert [one.path for one in taken] == [target, b"/v1/last"]


def test_one_after_the_other(place: Place) -> None:
    """What stands behind a request that is whole is the next one, up to one that is refused."""
    whole = [TAKEN["request in a body"], TAKEN["extension"], get(b"/v1/last")]
    answers, taken = place.send(b"".join(whole) + REFUSED["both lengths"] + SMUGGLED)
    assert [answer[9:12] for answer in answers] == [b"200", b"200", b"200", b"400"]
    assert [one.path for one in taken] == [b"/v1/files", b"/v1/files", b"/v1/last"]


@pytest.mark.parametrize("name", ["many trailers", "long trailer", "no number"])
def test_a_broken_body_behind_another_request(name: str, place: Place) -> None:
    """Its answer comes in its turn, and does not wait until it took too long."""
    answers, taken = place.send(get(b"/v1/first") + BROKEN_BODIES[name] + SMUGGLED)
    assert [answer[9:12] for answer in answers] == [b"200", b"400" if name == "no number" else b"431"]
    assert [one.path for one in taken] == [b"/v1/first"]


LINES = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n ", b"\r\r\n", b"\n\r\n"])
TARGETS = st.lists(
    st.sampled_from(
        [
            *(b"/", b"//", b"/v1", b"/named", b"models", b".", b"..", b"%2e", b"%2f", b"%5c", b"\\", b"%00", b"%"),
            *(b"@", b"http://", b"other.example", b":80", b"?", b"#", b";", b"*", b"/v1/chat/completions"),
            *(b"\t", b" ", b"\0", b"\xc3"),
        ]
    ),
    min_size=1,
    max_size=6,
).map(b"".join)
FIELDS = st.sampled_from(
    [
        *(b"Content-Length:" + value for value in (b" 0", b" 5", b" 44", b"", b" 5,5")),
        *(
            b"Transfer-Encoding:" + value
            for value in (b" chunked", b" chunked ", b"chunked", b" gzip", b" chunked, identity")
        ),
        *(
            b"Connection: " + value
            for value in (b"close", b"keep-alive", b"Upgrade", b"content-length, transfer-encoding")
        ),
        *(b"Transfer-Encoding : chunked", b"Host: other.example", b"Host:", b"Expect: 100-continue", b"TE: trailers"),
        *(b"Upgrade: websocket", b"Upgrade: h2c", b"Trailer: Content-Length", b"Content-Encoding: gzip"),
        *(b"X: y", b"X\xe9: \xe9", b"X: \xe9\x80", b"X: \x01", b"Cookie: " + b"a" * 5000),
    ]
)
BODIES = st.sampled_from(
    [
        *(b"", b"hello", b"\r\n", b'{"model":"m"}', b"\0" * 50, SMUGGLED),
        *(b"0\r\n\r\n", b"-1\r\n", b"fffffffffffffffff\r\n", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        *(b"5;x\r\nhello\r\n0\r\nX: y\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
    ]
)
METHODS = st.sampled_from([b"GET", b"POST", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"TRACE", b"PURGE", b"get", b"X"])
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"", b"ICE/1.0"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    end = draw(LINES)
    fields = draw(st.lists(FIELDS, max_size=5))
    if draw(st.integers(0, 9)):
        fields.insert(0, b"Host: localhost")
    target = draw(st.one_of(st.just(b"/v1/models"), TARGETS))
    lines = [draw(METHODS) + b" " + target + b" " + draw(VERSIONS), *fields]
    return b"".join(line + (end if draw(st.booleans()) else b"\r\n") for line in lines) + b"\r\n" + draw(BODIES)


@st.composite
def connections(draw: st.DrawFn) -> list[bytes]:
    """What a client sends, and in which pieces."""
    data = b"".join(draw(st.lists(requests(), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        nasty = draw(st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b"\x80", b""]))
        data = data[:at] + nasty + data[at + draw(st.integers(0, 2)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@settings(max_examples=examples(400))
@given(connections())
def test_anything(place: Place, pieces: list[bytes]) -> None:
    # What is taken for a request behind another one is up to the lengths; that both sides agree is what is asked here.
    place.send(*[piece.replace(b"/smuggled", b"/v1/behind") for piece in pieces])
