"""Cassettes: what vcrpy, betamax, Ruby's VCR and go-vcr write.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from otel_llm.exchanges.encoded_bodies import from_base64
from otel_llm.exchanges.entries import Entry
from otel_llm.exchanges.http_exchanges import (
    HTTPExchange,
    bounded_json,
    headers_of,
    mapping,
    status_of,
    text_bytes,
)

# The first is that of vcrpy and go-vcr, the second that of betamax and Ruby's VCR.
CASSETTE_KEYS = ("interactions", "http_interactions")


def cassette_entries(interactions: Sequence[Any]) -> Iterator[Entry]:
    """The entries of a cassette's exchanges. Raises UnreadableError."""
    for number, entry in enumerate(interactions, 1):
        request, response = mapping(mapping(entry).get("request")), mapping(mapping(entry).get("response"))
        # vcrpy used to write `content` and `status_code` for httpx.
        body = response.get("body", response.get("content"))
        data = text_bytes(mapping(body).get("string") if isinstance(body, dict) else body)
        if isinstance(body, dict) and "base64_string" in body:
            data = from_base64(body["base64_string"], number)
        # Some recorders keep JSON decoded.
        if not data and response.get("parsed_body") is not None:
            data = bounded_json(response["parsed_body"])
        status = response.get("status", response.get("status_code"))
        status = status.get("code") if isinstance(status, dict) else response.get("code", status)
        yield from HTTPExchange(
            number,
            str(request.get("method", "POST")),
            str(request.get("uri", request.get("url", ""))),
            _request_body(request, number),
            data,
            headers_of(response.get("headers")),
            status_of(status),
        ).entries()


def _request_body(request: Any, number: int) -> Any:
    body = request.get("body")
    if isinstance(body, dict) and "base64_string" in body:
        return from_base64(body["base64_string"], number)
    body = body.get("string") if isinstance(body, dict) and "string" in body else body
    return request.get("parsed_body") if body is None else body
