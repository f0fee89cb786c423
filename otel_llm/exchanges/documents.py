"""Documents that hold whole exchanges: cassettes, archives, recordings of nock, OTLP JSON, responses.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from otel_llm.exchanges.archives import archive_entries
from otel_llm.exchanges.bodies import is_finished_text, is_response, is_whole, whole_entries
from otel_llm.exchanges.cassettes import CASSETTE_KEYS, cassette_entries
from otel_llm.exchanges.entries import Entry, ResponseStart
from otel_llm.exchanges.nock import is_nock, nock_entries
from otel_llm.exchanges.traces import trace_entries
from otel_llm.protocol.errors import UnreadableError

UNKNOWN_KIND = (
    "it is not a stream, chunks, a recording, a VCR cassette, an HTTP archive, a recording of nock or httprr,"
    " or OTLP JSON"
)


def document_entries(document: Any) -> Iterator[Entry]:
    """The entries of the exchanges in a document. Raises UnreadableError if the kind of document is unknown."""
    if isinstance(document, Mapping):
        for key in CASSETTE_KEYS:
            if isinstance(document.get(key), list):
                yield from cassette_entries(document[key])
                return
        log = document.get("log")
        if isinstance(log, Mapping) and isinstance(log.get("entries"), list):
            yield from archive_entries(log["entries"])
            return
        if isinstance(document.get("resourceSpans"), list):
            yield from trace_entries(document)
            return
        if not is_nock(document) and is_response(document):
            yield ResponseStart("response")
            yield from whole_entries(document, json.dumps(document)[:1000])
            return
    if is_nock(document):
        yield from nock_entries(document)
        return
    if isinstance(document, list) and document and all(map(is_response, document)):
        yield from _list(document)
        return
    raise UnreadableError(UNKNOWN_KIND)


def _list(values: list[Any]) -> Iterator[Entry]:
    """The chunks of one response, or several whole ones."""
    if not any(map(is_whole, values)) and not all(map(is_finished_text, values)):
        yield ResponseStart("list of chunks")
        yield from whole_entries(values, "")
        return
    for number, value in enumerate(values, 1):
        yield ResponseStart(f"response {number}")
        yield from whole_entries(value, json.dumps(value)[:1000])
