"""Recordings of nock: a JSON array of exchanges.  Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from otel_llm.exchanges.encoded_bodies import from_hex
from otel_llm.exchanges.entries import Entry
from otel_llm.exchanges.http_exchanges import (
    HTTPExchange,
    bounded_json,
    headers_of,
    json_object,
    mapping,
    status_of,
    text_bytes,
)
from otel_llm.protocol.errors import UnreadableError

_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")


def is_nock(document: Any) -> bool:
    """Whether a JSON document holds recordings of nock: a list, or one by itself."""
    return any(
        isinstance(one, Mapping) and "scope" in one and "path" in one and "response" in one
        for one in (document if isinstance(document, list) else [document])
    )


def nock_entries(document: Any) -> Iterator[Entry]:
    """The entries of the exchanges. Raises UnreadableError."""
    for number, one in enumerate(document if isinstance(document, list) else [document], 1):
        recorded = mapping(one)
        # A path may be a pattern, which says enough of it.
        path = recorded.get("path")
        path = path if isinstance(path, str) else re.sub(r"\\(.)", r"\1", str(mapping(path).get("regex", "")))
        yield from HTTPExchange(
            number,
            str(recorded.get("method", "POST")),
            f"{recorded.get('scope', '')}{path}",
            _request(recorded.get("body")),
            _response(recorded, number),
            headers_of(recorded.get("rawHeaders", recorded.get("headers"))),
            status_of(recorded.get("status")),
        ).entries()


def _request(body: Any) -> Any:
    """A body that nock took for binary is kept as hexadecimal digits."""
    if isinstance(body, str) and body and _HEX.fullmatch(body):
        return bytes.fromhex(body)
    return body if json_object(body) is not None else None


def _response(recorded: Mapping[str, Any], number: int) -> bytes:
    body = recorded.get("response")
    if isinstance(body, list) and body and all(isinstance(one, str) and _HEX.fullmatch(one) for one in body):
        # A compressed body, a piece for each read.
        return from_hex("".join(body), number)
    if recorded.get("responseIsBinary") is True and isinstance(body, str):
        return from_hex(body, number)
    if isinstance(body, (Mapping, list)):
        # nock keeps JSON decoded.
        if isinstance(body, list):
            try:
                return json.dumps(body, default=str).encode("ascii")
            except (TypeError, ValueError, RecursionError):
                raise UnreadableError(f"the body of exchange {number} cannot be read") from None
        return bounded_json(body)
    return text_bytes(body)
