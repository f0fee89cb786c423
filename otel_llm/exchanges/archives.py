"""HTTP archives (HAR), as browsers, mitmproxy and Polly.js write them.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from otel_llm.exchanges.encoded_bodies import from_base64, from_hex, pieces_of
from otel_llm.exchanges.entries import Entry
from otel_llm.exchanges.http_exchanges import HTTPExchange, headers_of, mapping, status_of, text_bytes

_OK = 200


def archive_entries(entries: Sequence[Any]) -> Iterator[Entry]:
    """The entries of an archive's exchanges. Raises UnreadableError."""
    for number, entry in enumerate(entries, 1):
        request, response = mapping(mapping(entry).get("request")), mapping(mapping(entry).get("response"))
        content = mapping(response.get("content"))
        status = status_of(response.get("status"))
        if content.get("text") is None and status == _OK:
            # The archive was saved without bodies.
            continue
        headers = headers_of(response.get("headers"))
        if "content-type" not in headers and content.get("mimeType"):
            headers["content-type"] = str(content["mimeType"])
        yield from HTTPExchange(
            number,
            str(request.get("method", "POST")),
            str(request.get("url", "")),
            mapping(request.get("postData")).get("text"),
            _body(content, number),
            headers,
            status,
        ).entries()


def _body(content: Mapping[str, Any], number: int) -> bytes:
    text, encoding = content.get("text"), content.get("encoding")
    # Polly.js keeps a compressed body as it came, read by read; it once had a mark of its own for hexadecimal digits.
    if encoding == "hex" or content.get("_isBinary") is True:
        pieces = pieces_of(text)
        return b"".join(from_hex(piece, number) for piece in ([str(text)] if pieces is None else pieces))
    if encoding == "base64":
        pieces = pieces_of(text)
        return from_base64(text, number) if pieces is None else b"".join(from_base64(one, number) for one in pieces)
    return text_bytes(text)
