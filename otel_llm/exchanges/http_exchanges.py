"""One HTTP exchange as a file of them holds it: which are read, and as what.  Pure."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from otel_llm.exchanges.bodies import BodyReader
from otel_llm.exchanges.entries import Entry, Unread
from otel_llm.protocol.apis import EMPTY, Kind, kind_of, kind_of_path
from otel_llm.protocol.content_encoding import expanded
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.event_stream import MessageReader, begins_message
from otel_llm.protocol.json_values import parse_json

_MOST_VALUES = 200_000
_GZIP_MAGIC = b"\x1f\x8b"
_FIRST_DATA = re.compile(rb"^data:[ ]?(\{.*)$", re.MULTILINE)


class HTTPExchange(NamedTuple):
    """A request and its response. `number`: its place in the file; `data`: the body of the response, as it was kept."""

    number: int
    method: str
    url: str
    request: Any
    data: bytes
    headers: Mapping[str, str] = {}
    status: int = 200

    @property
    def path(self) -> str:
        address = self.url.partition("?")[0]
        rest = address.partition("://")[2]
        return rest[rest.find("/") :] if "/" in rest else address

    @property
    def title(self) -> str:
        return f"exchange {self.number} {self.path}"

    def entries(self) -> Iterator[Entry]:
        """The entries, none if it is not the response of a model."""
        if self.method.upper() != "POST":
            # A CORS preflight, or a stored completion.
            return
        kind = kind_of_path(self.path)
        request = json_object(self.request)
        if kind is None and not _asks_a_model(request):
            return
        if not 200 <= self.status < 300:
            # The body of an error tells no API.
            if kind is not None and kind.api is None:
                yield Unread(self.title, f"{kind.name} with status {self.status}")
            elif kind is not None:
                yield from self._body(request)
            return
        data = self._decoded()
        if not data.strip():
            if kind is not None:
                yield Unread(self.title, EMPTY.name)
            return
        if kind is None or kind.api is None:
            found = _kind_of_data(data)
            if found is None or found.api is None:
                # Any server may have a field `messages`.
                if kind is not None:
                    yield Unread(self.title, (found or kind).name)
                return
        yield from self._replaced(data)._body(request)

    def _decoded(self) -> bytes:
        """The body without its compression. Some recorders undo it and keep the header, others drop the header."""
        encoding = self.headers.get("content-encoding", "")
        if self.data[:2] == _GZIP_MAGIC or (encoding and not _is_text(self.data)):
            return b"".join(expanded([self.data], encoding or "gzip"))
        return self.data

    def _replaced(self, data: bytes) -> HTTPExchange:
        return self._replace(data=data)

    def _body(self, request: Mapping[str, Any] | None) -> Iterator[Entry]:
        body = BodyReader(self.title, request, self.status, self.headers.get("content-type", ""), url=self.url)
        yield from body.feed(self.data)
        yield from body.finish()


def _asks_a_model(request: Mapping[str, Any] | None) -> bool:
    if request is None:
        return False
    return isinstance(request.get("messages"), list) or (
        "model" in request and ("input" in request or isinstance(request.get("prompt"), str))
    )


def _kind_of_data(data: bytes) -> Kind | None:
    """What the first value of a body is."""
    if begins_message(data):
        event = _first_event(data)
        return None if event is None else _kind_of_text(event)
    start = data.removeprefix(codecs.BOM_UTF8).lstrip()
    if not start.startswith((b"{", b"[")):
        first = _FIRST_DATA.search(start)
        if first is None:
            return None
        start = first.group(1)
    return _kind_of_text(start)


def _first_event(data: bytes) -> bytes | None:
    try:
        return next((event.data for event in MessageReader().feed(data)), None)
    except UnreadableError:
        return None


def _kind_of_text(text: bytes) -> Kind | None:
    try:
        value = parse_json(text.decode("utf-8", "replace"))
    except UnreadableError:
        return None
    return kind_of(value[0] if isinstance(value, list) and value else value)


def _is_text(data: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data[:1024])
    except UnicodeDecodeError:
        return False
    return "\0" not in text


# What files keep ------------------------------------------------------------------------------------------


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def status_of(value: Any) -> int:
    """The HTTP status, 200 if the file has none. Archives have 0 for a request that was not answered."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 200


def text_bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else b""


def headers_of(headers: Any) -> dict[str, str]:
    """Headers with names in lower case, whichever way they are kept: by name, in pairs, or one after the other."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(headers, Mapping):
        pairs = list(headers.items())
    elif isinstance(headers, list) and all(isinstance(one, str) for one in headers):
        pairs = list(zip(headers[::2], headers[1::2], strict=False))
    elif isinstance(headers, list):
        pairs = [(mapping(one).get("name"), mapping(one).get("value")) for one in headers]
    return {str(name).lower(): str(value[0] if isinstance(value, list) and value else value) for name, value in pairs}


def json_object(body: Any) -> Mapping[str, Any] | None:
    """The JSON object that a request's body is, None if it is none."""
    data = bounded_json(body) if isinstance(body, Mapping) else text_bytes(body)
    if not data:
        return None
    try:
        value = parse_json(data.decode("utf-8", "surrogateescape"))
    except UnreadableError:
        return None
    return value if isinstance(value, Mapping) else None


def bounded_json(value: Any) -> bytes:
    """A value as JSON. A few lines of YAML can stand for any number of values. Raises UnreadableError."""
    pending, count = [value], 0
    while pending:
        one = pending.pop()
        count += 1
        if count > _MOST_VALUES:
            raise UnreadableError(f"a body has more than {_MOST_VALUES} values")
        if isinstance(one, Mapping):
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
    try:
        return json.dumps(value, default=str).encode("ascii")
    except (TypeError, ValueError):
        # A key that is no text, or an alias to what contains it.
        return b""
