"""Documents that hold whole exchanges: VCR cassettes, HTTP archives (HAR), OTLP JSON, responses.  Pure."""

from __future__ import annotations

import base64
import binascii
import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from otel_llm.exchanges.bodies import BodyReader, is_chat_completion, whole_entries
from otel_llm.exchanges.entries import Entry, ResponseStart
from otel_llm.exchanges.traces import trace_entries
from otel_llm.protocol.content_encoding import expanded
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.json_values import parse_json

# The first is vcrpy's, the second that of betamax and of Ruby's VCR.
CASSETTE_KEYS = ("interactions", "http_interactions")
UNKNOWN_KIND = "it is not a stream, chunks, a recording, a VCR cassette, an HTTP archive or OTLP JSON"
_MOST_VALUES = 200_000


def document_entries(document: Any) -> Iterator[Entry]:
    """The entries of the exchanges in a document. Raises UnreadableError if the kind of document is unknown."""
    if isinstance(document, Mapping):
        for key in CASSETTE_KEYS:
            if isinstance(document.get(key), list):
                yield from _cassette(document[key])
                return
        if isinstance(_map(document.get("log")).get("entries"), list):
            yield from _archive(document["log"]["entries"])
            return
        if isinstance(document.get("resourceSpans"), list):
            yield from trace_entries(document)
            return
        if is_chat_completion(document):
            yield ResponseStart("response")
            yield from whole_entries(document, json.dumps(document)[:1000])
            return
    if isinstance(document, list) and document and all(is_chat_completion(one) for one in document):
        yield ResponseStart("list of chunks")
        yield from whole_entries(document, "")
        return
    raise UnreadableError(UNKNOWN_KIND)


def _cassette(interactions: Sequence[Any]) -> Iterator[Entry]:
    for number, entry in enumerate(interactions, 1):
        request, response = _map(_map(entry).get("request")), _map(_map(entry).get("response"))
        # vcrpy used to write `content` and `status_code` for httpx.
        body = response.get("body", response.get("content"))
        data = _bytes(_map(body).get("string") if isinstance(body, Mapping) else body)
        if isinstance(body, Mapping) and "base64_string" in body:
            data = _base64(body["base64_string"], number)
        encoding = _header(response.get("headers"), "content-encoding")
        sent = request.get("body")
        sent = sent.get("string") if isinstance(sent, Mapping) else sent
        # Some recorders keep JSON decoded.
        sent = request.get("parsed_body") if sent is None else sent
        if not data and response.get("parsed_body") is not None:
            data = _bounded_json(response["parsed_body"])
        status = response.get("status", response.get("status_code"))
        status = _status(status.get("code") if isinstance(status, Mapping) else status)
        yield from _exchange(number, str(request.get("uri", "")), request, _request(sent), data, encoding, status)


def _archive(entries: Sequence[Any]) -> Iterator[Entry]:
    for number, entry in enumerate(entries, 1):
        request, response = _map(_map(entry).get("request")), _map(_map(entry).get("response"))
        content = _map(response.get("content"))
        data = _bytes(content.get("text"))
        if content.get("encoding") == "base64":
            data = _base64(data, number)
        status = _status(response.get("status"))
        if content.get("text") is None and status == 200:
            # The archive was saved without bodies.
            continue
        sent = _request(_map(request.get("postData")).get("text"))
        # Archives hold bodies without their compression.
        yield from _exchange(number, str(request.get("url", "")), request, sent, data, "", status)


def _exchange(
    number: int,
    url: str,
    http_request: Mapping[str, Any],
    request: Mapping[str, Any] | None,
    data: bytes,
    encoding: str,
    status: int,
) -> Iterator[Entry]:
    """The entries of one exchange, none if it is not a chat completion."""
    if str(http_request.get("method", "POST")).upper() != "POST":
        # A CORS preflight, or a stored completion.
        return
    path = url.partition("?")[0].partition("://")[2]
    if "/completions" not in path and not isinstance(_map(request).get("messages"), list):
        return
    # Some recorders decompress the body and keep the header, others drop the header.
    if data[:2] == b"\x1f\x8b" or (encoding and not _is_text(data)):
        data = b"".join(expanded([data], encoding or "gzip"))
    if "/completions" not in path and b'"choices"' not in data:
        # Other APIs take messages, too.
        return
    body = BodyReader(f"exchange {number} {path[path.find('/') :]}", request, status, url=url)
    yield from body.feed(data)
    yield from body.finish()


def _status(value: Any) -> int:
    """The HTTP status, 200 if the file has none. Archives have 0 for a request that was not answered."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 200


def _base64(data: Any, number: int) -> bytes:
    try:
        return base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError, TypeError):
        raise UnreadableError(f"the body of exchange {number} is not base64") from None


def _is_text(data: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data[:1024])
    except UnicodeDecodeError:
        return False
    return "\0" not in text


def _request(body: Any) -> Mapping[str, Any] | None:
    data = _bounded_json(body) if isinstance(body, Mapping) else _bytes(body)
    if not data:
        return None
    try:
        value = parse_json(data.decode("utf-8", "surrogateescape"))
    except UnreadableError:
        return None
    return value if isinstance(value, Mapping) else None


def _bounded_json(value: Any) -> bytes:
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
    return json.dumps(value, default=str).encode("ascii")


def _bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else b""


def _header(headers: Any, name: str) -> str:
    for key, value in _map(headers).items():
        if str(key).lower() == name:
            return str(value[0] if isinstance(value, list) and value else value)
    return ""


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
