"""Spans in a SQLite file, bounded by size and age.

What the list needs is in columns with indexes. A request's span is stored as a compressed OTLP message, in a table of
its own that no list reads. A batch is one transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from otel_llm.telemetry.semconv import SERVICE_NAME
from otel_llm.view import spans
from otel_llm.view.database import MEGABYTE, StoreError, connect, transaction, used_bytes
from otel_llm.view.detail import detail
from otel_llm.view.summary import is_request, request_id, searched_text, short, summarize

Read = TypeVar("Read", bound=Callable[..., Any])

DAY = 24 * 3600
_CHEAP_COMPRESSION = 1
_MOST_LISTED = 1000
_SHOWN_FACETS = 200
_SHOWN_OF_A_TRACE = 2000

_FILTERS = {
    "service": "service = ?",
    "model": "model = ?",
    "outcome": "outcome = ?",
    "trace": "trace_id = ?",
    "tool": "number IN (SELECT number FROM tags WHERE kind = 'tool' AND value = ?)",
    "anomaly": "number IN (SELECT number FROM tags WHERE kind = 'anomaly' AND value = ?)",
    "q": "instr(searched, ?)",
}


def _reading(read: Read) -> Read:
    """Make a method raise StoreError if the file is damaged."""

    @wraps(read)
    def checked(store: Store, *args: Any, **kwargs: Any) -> Any:
        try:
            return read(store, *args, **kwargs)
        except (sqlite3.Error, zlib.error, DecodeError) as error:
            raise StoreError(f"{store.path}: {error}") from None

    return cast("Read", checked)


class Prepared(NamedTuple):
    """A span ready to be stored. `summary`, `searched` and `message` are None if it is not a request."""

    span: spans.Span
    summary: Mapping[str, Any] | None
    searched: str | None
    message: bytes | None


class Page(NamedTuple):
    """A page of the list. `next`: where the next page begins, None for the last."""

    requests: list[dict[str, Any]]
    next: str | None
    total: int


def prepare(message: ResourceSpans) -> Prepared:
    """What is stored of a message that `spans.single_spans` made."""
    # Most of a span is its deltas, which no list shows.
    span = spans.read(message, deltas=False)
    if not is_request(span):
        return Prepared(span, None, None, None)
    summary = summarize(span)
    packed = zlib.compress(message.SerializeToString(), _CHEAP_COMPRESSION)
    return Prepared(span, summary, searched_text(span, summary), packed)


class Store:
    """One connection to the file, for one thread at a time.

    Spans above `most_bytes` and older than `most_seconds` are deleted, the oldest first. Raises StoreError if the file
    is another database, was written by a newer version or cannot be opened.
    """

    def __init__(self, path: Path, *, most_bytes: int = 1024 * MEGABYTE, most_seconds: float = 30 * DAY) -> None:
        self.path = path
        self._most_bytes = most_bytes
        self._most_seconds = most_seconds
        self._connection = connect(path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # -- writing --

    def add(self, prepared: Iterable[Prepared]) -> list[Mapping[str, Any]]:
        """Store all of these spans or none; the value is the summaries of the requests among them.

        A span that was stored before is replaced: exporters retry requests without a response. Raises sqlite3.Error if
        the file cannot be written.
        """
        now = time.time_ns()
        added = []
        with transaction(self._connection):
            for one in prepared:
                self._add(one, now)
                if one.summary is not None:
                    added.append(one.summary)
        self.keep_bounds()
        return added

    def _add(self, one: Prepared, now: int) -> None:
        execute, span = self._connection.execute, one.span
        execute("DELETE FROM spans WHERE trace_id = ? AND span_id = ?", (span.trace_id, span.span_id))
        is_request = one.summary is not None
        number = execute(
            "INSERT INTO spans (trace_id, span_id, parent_span_id, name, service, started_ns, ended_ns, stored_ns,"
            " is_request) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                span.trace_id,
                span.span_id,
                span.parent_span_id,
                short(span.name),
                short(span.resource.get(SERVICE_NAME, "")),
                _int64(span.started_ns),
                _int64(span.ended_ns),
                now,
                is_request,
            ),
        ).lastrowid
        if one.summary is None:
            return
        summary = one.summary
        execute(
            "INSERT INTO requests (number, started_ns, trace_id, service, model, outcome, summary, searched)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                _int64(span.started_ns),
                span.trace_id,
                summary["service"],
                summary["model"],
                summary["outcome"],
                json.dumps(summary),
                one.searched,
            ),
        )
        tags = [("tool", name) for name in summary["tools"]] + [("anomaly", name) for name in summary["anomalies"]]
        for kind, value in dict.fromkeys(tags):
            execute("INSERT INTO tags (kind, value, number) VALUES (?, ?, ?)", (kind, value, number))
        for target in summary["caused_by"]:
            execute("INSERT OR IGNORE INTO links (target, number) VALUES (?, ?)", (target, number))
        execute("INSERT INTO messages (number, message) VALUES (?, ?)", (number, one.message))

    def keep_bounds(self) -> None:
        """Delete what is too old or too much."""
        execute = self._connection.execute
        oldest = max(0, time.time_ns() - int(self._most_seconds * 1e9))
        if execute("SELECT 1 FROM spans WHERE stored_ns < ? LIMIT 1", (oldest,)).fetchone():
            execute("DELETE FROM spans WHERE stored_ns < ?", (oldest,))
        if self.used_bytes() <= self._most_bytes:
            return
        while self.used_bytes() > self._most_bytes * 9 // 10:
            share = max(1, execute("SELECT count(*) FROM spans").fetchone()[0] // 50)
            gone = execute(
                "DELETE FROM spans WHERE number IN (SELECT number FROM spans ORDER BY number LIMIT ?)", (share,)
            )
            if not gone.rowcount:
                break
        self._connection.executescript("PRAGMA incremental_vacuum")

    def used_bytes(self) -> int:
        """The size of the file's contents, without free pages."""
        return used_bytes(self._connection)

    def clear(self) -> None:
        """Delete everything."""
        with transaction(self._connection):
            for table in ("messages", "links", "tags", "requests", "spans"):
                self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constant names
        self._connection.executescript("PRAGMA incremental_vacuum")

    # -- reading --

    @_reading
    def page(self, filters: Mapping[str, str], limit: int = 100, after: str | None = None) -> Page:
        """Requests, the newest first. Raises ValueError if `after` is not the `next` of a page."""
        limit = max(1, min(limit, _MOST_LISTED))
        conditions = [_FILTERS[name] for name in filters]
        values: list[Any] = [text.casefold() if name == "q" else text for name, text in filters.items()]
        where = " WHERE " + " AND ".join(conditions) if conditions else ""
        execute = self._connection.execute
        total = execute(f"SELECT count(*) FROM requests{where}", values).fetchone()[0]  # noqa: S608 - values are bound
        if after is not None:
            started, _, number = after.partition("-")
            conditions.append("(started_ns, number) < (?, ?)")
            values += [int(started), int(number)]
            where = " WHERE " + " AND ".join(conditions)
        rows = execute(
            f"SELECT summary, started_ns, number FROM requests{where} ORDER BY started_ns DESC, number DESC LIMIT ?",  # noqa: S608
            [*values, limit + 1],
        ).fetchall()
        following = f"{rows[limit - 1][1]}-{rows[limit - 1][2]}" if len(rows) > limit else None
        return Page([json.loads(row[0]) for row in rows[:limit]], following, total)

    @_reading
    def message(self, request_id: str) -> ResourceSpans | None:
        """A request's span as an OTLP message, None if there is no such request."""
        trace_id, _, span_id = request_id.partition("-")
        row = self._connection.execute(
            "SELECT message FROM messages JOIN spans USING (number) WHERE trace_id = ? AND span_id = ?",
            (trace_id, span_id),
        ).fetchone()
        return None if row is None else ResourceSpans.FromString(zlib.decompress(row[0]))

    @_reading
    def detail(self, request_id: str) -> dict[str, Any] | None:
        """A request's document, None if there is no such request."""
        message = self.message(request_id)
        if message is None:
            return None
        document = detail(spans.read(message))
        leads_to = self._connection.execute(
            "SELECT summary FROM requests JOIN links USING (number) WHERE target = ? ORDER BY started_ns LIMIT 100",
            (request_id,),
        )
        document["leads_to"] = [json.loads(row[0])["id"] for row in leads_to]
        document["trace"] = [one for one in self._of_trace(document["trace_id"]) if one["id"] != request_id]
        return document

    @_reading
    def trace(self, trace_id: str) -> dict[str, Any]:
        """All stored spans of a trace, and its requests, in the order in which they began."""
        rows = self._connection.execute(
            "SELECT span_id, parent_span_id, name, service, started_ns, ended_ns, is_request FROM spans"
            " WHERE trace_id = ? ORDER BY started_ns, number LIMIT ?",
            (trace_id, _SHOWN_OF_A_TRACE),
        )
        return {
            "spans": [
                {
                    "span_id": span_id,
                    "parent_span_id": parent,
                    "name": name,
                    "service": service,
                    "started": started / 1e6,
                    "duration_ms": (ended - started) / 1e6,
                    "request_id": request_id(trace_id, span_id) if is_request else None,
                }
                for span_id, parent, name, service, started, ended, is_request in rows
            ],
            "requests": self._of_trace(trace_id),
        }

    def _of_trace(self, trace_id: str) -> list[dict[str, Any]]:
        rows = self._connection.execute(
            "SELECT summary FROM requests WHERE trace_id = ? ORDER BY started_ns, number LIMIT ?",
            (trace_id, _SHOWN_OF_A_TRACE),
        )
        return [json.loads(row[0]) for row in rows]

    @_reading
    def facets(self) -> dict[str, list[Sequence[Any]]]:
        """The number of requests by model, service, outcome, tool and anomaly, the largest first."""
        found = {}
        for name, column in (("models", "model"), ("services", "service"), ("outcomes", "outcome")):
            found[name] = self._connection.execute(
                f"SELECT {column}, count(*) FROM requests WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608
                " LIMIT ?",
                (_SHOWN_FACETS,),
            ).fetchall()
        for name, kind in (("tools", "tool"), ("anomalies", "anomaly")):
            found[name] = self._connection.execute(
                "SELECT value, count(*) FROM tags WHERE kind = ? GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?",
                (kind, _SHOWN_FACETS),
            ).fetchall()
        return found


def _int64(number: int) -> int:
    return min(number, 2**63 - 1)
