"""A proxy that forwards each request to a server, streams the response back as it arrives, and records it.

It is an ASGI application towards the client, and needs httpx towards the server.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from time import perf_counter
from typing import IO, Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import httpx

from otel_llm.exchanges.judged_body import JudgedBody
from otel_llm.exchanges.recorded import data_line, end_line, head_line
from otel_llm.exchanges.redaction import (
    Redactor,
    harmless_headers,
    secrets_in_request,
    secrets_in_response,
)
from otel_llm.exchanges.server_url import check_url
from otel_llm.protocol.content_encoding import Expander
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.json_values import parse_json
from otel_llm.serving.asgi import ConnectionDropped, Receive, Scope, Send, while_connected

_RECORDED_PATHS = (
    "/completions",
    "/responses",
    "/v1/messages",
    "/converse",
    "/converse-stream",
    ":generateContent",
    ":streamGenerateContent",
)
_LONGEST_REQUEST = 64 * 1_048_576
_SHOWN_OF_A_PATH = 100
_SHOWN_OTHERS = 8
# They concern one connection, not the message (RFC 9110, 7.6.1).
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# They are set anew for the forwarded request.
_MADE_ANEW = frozenset({"accept-encoding", "content-length", "host"})


class Route(NamedTuple):
    """Requests whose path begins with `prefix` go to the server at `base_url`.

    `own_path`: with what their paths go on, if the path of `base_url` takes its place.
    """

    prefix: str
    base_url: str
    own_path: str

    def target(self, path: str) -> str | None:
        """The URL for a request's path, None if it does not take this route."""
        if not path.startswith(f"{self.prefix}/"):
            return None
        rest = path.removeprefix(self.prefix)
        base_url = self.base_url.rstrip("/")
        return base_url + (rest.removeprefix(self.own_path) if urlsplit(base_url).path else rest)


class RecordingProxy:
    """An ASGI application. `folder`: where recordings go, a file each; `tell`: is called with a line about each.

    `routes`: for requests that do not go to `upstream`. Raises ValueError if a URL is not that of a server.
    """

    def __init__(self, upstream: str, folder: Path, tell: Callable[[str], None], routes: Sequence[Route] = ()) -> None:
        for url in (upstream, *(route.base_url for route in routes)):
            check_url(url)
        parts = urlsplit(upstream)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self.path = parts.path.rstrip("/")
        self._routes = routes
        self.unkept = Unkept()
        self._folder = folder
        self._tell = tell
        self._numbers = itertools.count(1)
        # A model may think for as long as it likes: the client has timeouts of its own.
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=30),
            follow_redirects=False,
            # Cookies are kept and sent by the client.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _request_body(receive)
        self.unkept.requests += 1
        if body is None:
            self.unkept.too_long += 1
            await _answer(send, 413, "the request is too long to be forwarded")
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        query = scope["query_string"].decode("latin-1")
        path: str = scope["path"]
        # Undecoded: in `/models/org%2Fname` the escape is part of the name.
        raw_path = (scope.get("raw_path") or quote(path).encode()).decode("latin-1")
        target = next(filter(None, (route.target(raw_path) for route in self._routes)), None)
        if target is None:
            target = self._origin + (raw_path if raw_path.startswith(f"{self.path}/") else self.path + raw_path)
        else:
            path = unquote(urlsplit(target).path)
        request = self._client.build_request(
            scope["method"],
            f"{target}?{query}" if query else target,
            headers=[
                # A compressed body can neither be read in the recording nor be searched for secrets.
                *((name, value) for name, value in headers if name not in _HOP_BY_HOP | _MADE_ANEW),
                ("accept-encoding", "identity"),
            ],
            content=body,
        )
        exchange = None
        if path.endswith(_RECORDED_PATHS) and scope["method"] == "POST":
            exchange = _Exchange(path, headers, query, body, target)
        else:
            hidden = Redactor(secrets_in_request(headers, query, None, target)).hide(path)
            self.unkept.others[f"{scope['method']} {hidden[:_SHOWN_OF_A_PATH]}"] += 1
        try:
            await while_connected(receive, self._forward(request, send, exchange))
        finally:
            self._end(exchange, "closed")

    async def _forward(self, request: httpx.Request, send: Send, exchange: _Exchange | None) -> None:
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            self.unkept.unreached += 1
            self._tell(f"the server cannot be reached: {type(error).__name__} {error}")
            await _answer(send, 502, f"otel-llm record: the server cannot be reached ({type(error).__name__})")
            return
        try:
            if exchange is not None:
                exchange.begin(self._folder, self._numbers, response)
            raw = [(name.lower(), value) for name, value in response.headers.raw]
            headers = [(name, value) for name, value in raw if name.decode("latin-1") not in _HOP_BY_HOP]
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            async for data in response.aiter_raw():
                if exchange is not None:
                    exchange.data(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except httpx.HTTPError as error:
            self._end(exchange, f"error: {type(error).__name__}")
            raise ConnectionDropped from error
        finally:
            await response.aclose()
        self._end(exchange, "completed")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _end(self, exchange: _Exchange | None, end: str) -> None:
        if exchange is None or exchange.path is None or not exchange.end(end):
            return
        self.unkept.compressed += not exchange.is_readable
        self._tell(f"{exchange.path}: {end}")
        if exchange.failure and exchange.failure != end:
            self._tell(f"{exchange.path}: {exchange.failure}")
        if exchange.anomalies:
            self._tell(f"{exchange.path}: {', '.join(exchange.anomalies)}")


class Unkept:
    """What came and was not recorded."""

    def __init__(self) -> None:
        self.requests = 0
        """All that came, recorded or not."""
        self.others: Counter[str] = Counter()
        """Requests that are none for a model, by method and path."""
        self.too_long = self.unreached = self.compressed = 0

    def told(self) -> Iterator[str]:
        """Sentences for the end."""
        if not self.requests:
            yield "no request came"
            return
        if self.others:
            shown = ", ".join(f"{one} ({count})" for one, count in self.others.most_common(_SHOWN_OTHERS))
            more = sum(self.others.values()) - sum(count for _, count in self.others.most_common(_SHOWN_OTHERS))
            yield (f"not recorded, as only requests to models are: {shown}" + (f" and {more} more" if more else ""))
        for count, why in (
            (self.unreached, "the server could not be reached"),
            (self.too_long, f"it was longer than {_LONGEST_REQUEST >> 20} MB"),
        ):
            if count:
                yield f"not recorded: {count} request{'' if count == 1 else 's'}, as {why}"
        if self.compressed:
            yield f"recorded without the body, which the server compressed: {self.compressed}"


def _server_of(url: str) -> str:
    """The server of a URL, without the password that it may have."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class _Exchange:
    """A recording that is being written."""

    def __init__(self, path: str, headers: list[tuple[str, str]], query: str, body: bytes, upstream: str) -> None:
        self._started = datetime.now(timezone.utc)
        self._clock = perf_counter()
        self._asked = _json(_expanded(headers, body).decode("utf-8", "replace"))
        self._secrets = secrets_in_request(headers, query, self._asked, upstream)
        self._redactor = Redactor(self._secrets)
        self._judged: JudgedBody | None = None
        self._request = {
            "method": "POST",
            "server": _server_of(upstream),
            "path": self._redactor.hide(path),
            "headers": self._headers(headers),
            "body": self._redactor.hidden(self._asked),
        }
        # When each read came, and how long it was.
        self._reads: deque[tuple[float, int]] = deque()
        self._covered = b""
        self._file: IO[str] | None = None
        self.is_readable = True
        self.path: Path | None = None

    def begin(self, folder: Path, numbers: itertools.count[int], response: httpx.Response) -> None:
        self._file, self.path = _new_file(folder, numbers)
        encoding = response.headers.get("content-encoding", "identity")
        # It cannot be searched for secrets.
        self.is_readable = encoding.lower() in {"identity", ""}
        self._redactor = Redactor([*self._secrets, *secrets_in_response(response.headers.items())])
        request = self._asked if isinstance(self._asked, dict) else None
        self._judged = JudgedBody(request, response.status_code, response.headers.get("content-type", ""))
        head = {"status": response.status_code, "headers": self._headers(response.headers.items())}
        self._write(head_line(self._started.isoformat(), self._request, head))

    @property
    def anomalies(self) -> list[str]:
        """The types of what is wrong with the response."""
        return [] if self._judged is None or not self.is_readable else self._judged.anomalies

    @property
    def failure(self) -> str:
        """Why the response failed, empty if it did not. A server may repeat the key that it refuses."""
        return "" if self._judged is None or not self.is_readable else self._redactor.hide(self._judged.failure)

    def data(self, data: bytes) -> None:
        if not self.is_readable or not data:
            return
        if self._judged is not None:
            self._judged.feed(data, self._seconds())
        self._reads.append((self._seconds(), len(data)))
        self._write_reads(self._redactor.feed(data))

    def end(self, end: str) -> bool:
        """Write the last line; whether it had not been written yet."""
        if self._file is None:
            return False
        if self._judged is not None:
            self._judged.finish(end, self._seconds())
        self._write_reads(self._redactor.finish())
        self._write(end_line(self._seconds(), end if self.is_readable else "error: the server sent it compressed"))
        self._file.close()
        self._file = None
        return True

    def _write_reads(self, covered: bytes) -> None:
        """Write the reads of which nothing is held back any more, with their own times."""
        self._covered += covered
        while self._reads and len(self._covered) >= self._reads[0][1]:
            seconds, length = self._reads.popleft()
            self._write(data_line(seconds, self._covered[:length]))
            self._covered = self._covered[length:]

    def _headers(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        return {name: self._redactor.hide(value) for name, value in harmless_headers(headers).items()}

    def _seconds(self) -> float:
        return perf_counter() - self._clock

    def _write(self, line: str) -> None:
        if self._file is not None:
            self._file.write(line)
            # Nothing that was written is lost, however this process ends.
            self._file.flush()


def _expanded(headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """A request's body without compression, nothing if that fails: its secrets would not be found."""
    encodings = [value for name, value in headers if name.lower() == "content-encoding"]
    try:
        for encoding in reversed([one for value in encodings for one in value.split(",")]):
            expander = Expander(encoding, _LONGEST_REQUEST)
            body = b"".join(expander.feed(body))
            expander.finish()
    except UnreadableError:
        return b""
    return body


def _json(text: str) -> Any:
    """The value of a JSON text; any other text as it is."""
    try:
        return parse_json(text)
    except UnreadableError:
        return text


def _new_file(folder: Path, numbers: itertools.count[int]) -> tuple[IO[str], Path]:
    """A new file with the next free number, which only its owner can read: prompts are private."""
    for number in numbers:
        path = folder / f"{number:04}.jsonl"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        return os.fdopen(handle, "w", encoding="utf-8"), path
    raise AssertionError("numbers do not end")


async def _request_body(receive: Receive) -> bytes | None:
    """The body, None if it is too long. All of it is read: a client that is still sending does not see an answer."""
    body = bytearray()
    is_too_long = False
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionDropped
        is_too_long = is_too_long or len(body) + len(message.get("body", b"")) > _LONGEST_REQUEST
        if is_too_long:
            body.clear()
        else:
            body += message.get("body", b"")
        if not message.get("more_body"):
            return None if is_too_long else bytes(body)


async def _answer(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error": {"message": message, "type": "proxy_error", "code": None}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
