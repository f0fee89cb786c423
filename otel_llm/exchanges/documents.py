"""Files that are one document with many exchanges in it: VCR cassettes, HTTP archives (HAR), OTLP JSON.  Pure."""

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

# vcrpy's; those of betamax and of Ruby's VCR.
CASSETTE_KEYS = ("interactions", "http_interactions")
_MOST_VALUES = 200_000


def document_entries(document: Any) -> Iterator[Entry]:
    """The entries of what the document holds. Raises UnreadableError where it is none of the known ones."""
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
    raise UnreadableError(
        "it is neither a stream, nor chunks, a recording, a VCR cassette, an HTTP archive nor OTLP JSON"
    )


def _cassette(interactions: Sequence[Any]) -> Iterator[Entry]:
    for number, entry in enumerate(interactions, 1):
        request, response = _map(_map(entry).get("request")), _map(_map(entry).get("response"))
        # vcrpy had `content` and `status_code` for what httpx sent.
        body = response.get("body", response.get("content"))
        data = _bytes(_map(body).get("string") if isinstance(body, Mapping) else body)
        if isinstance(body, Mapping) and "base64_string" in body:
            data = _base64(body["base64_string"], number)
        encoding = _header(response.get("headers"), "content-encoding")
        asked = request.get("body")
        asked = asked.get("string") if isinstance(asked, Mapping) else asked
        # Some recorders keep JSON as what it is.
        asked = request.get("parsed_body") if asked is None else asked
        if not data and response.get("parsed_body") is not None:
            data = _bounded_json(response["parsed_body"])
        told = response.get("status", response.get("status_code"))
        status = _status(told.get("code") if isinstance(told, Mapping) else told)
        yield from _exchange(number, str(request.get("uri", "")), request, _request(asked), data, encoding, status)


def _archive(entries: Sequence[Any]) -> Iterator[Entry]:
    for number, entry in enumerate(entries, 1):
        request, response = _map(_map(entry).get("request")), _map(_map(entry).get("response"))
        content = _map(response.get("content"))
        data = _bytes(content.get("text"))
        if content.get("encoding") == "base64":
            data = _base64(data, number)
        status = _status(response.get("status"))
        if content.get("text") is None and status == 200:
            # What saved the archive left the body out.
            continue
        asked = _request(_map(request.get("postData")).get("text"))
        # An archive holds bodies as they are behind their compression.
        yield from _exchange(number, str(request.get("url", "")), request, asked, data, "", status)


def _exchange(
    number: int,
    url: str,
    sent: Mapping[str, Any],
    request: Mapping[str, Any] | None,
    data: bytes,
    encoding: str,
    status: int,
) -> Iterator[Entry]:
    """The entries of one exchange; none where it is no chat completion."""
    if str(sent.get("method", "POST")).upper() != "POST":
        # Another site's question whether it may ask, or a stored completion.
        return
    path = url.partition("?")[0].partition("://")[2]
    if "/completions" not in path and not isinstance(_map(request).get("messages"), list):
        return
    # Some recorders decompress and keep the header, others lose it.
    if data[:2] == b"\x1f\x8b" or (encoding and not _is_text(data)):
        data = b"".join(expanded([data], encoding or "gzip"))
    if "/completions" not in path and b'"choices"' not in data:
        # Messages are sent to other APIs too.
        return
    body = BodyReader(f"exchange {number} {path[path.find('/') :]}", request, status)
    yield from body.feed(data)
    yield from body.finish()


def _status(value: Any) -> int:
    """The status of HTTP, 200 where nothing tells. An archive has 0 where no answer came."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 200


def _base64(data: Any, number: int) -> bytes:
    try:
        return base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError, TypeError):
        raise UnreadableError(f"the body of exchange {number} is no base64") from None


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
    """A value as JSON. In YAML a few lines can stand for any number of values. Raises UnreadableError."""
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
