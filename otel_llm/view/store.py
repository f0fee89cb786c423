"""Spans in a SQLite file, bounded by size and age.

What the list needs stands in columns with indexes; a request's span is kept as the message it came in, compressed, in
a table of its own, so that no list ever reads it. A batch is one transaction, and what was committed survives a kill
of the process (write-ahead log, synchronous=NORMAL); a crash of the machine may take the last moments, and leaves
the file whole.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from otel_llm.telemetry import semconv
from otel_llm.view import requests, spans

Read = TypeVar("Read", bound=Callable[..., Any])

MEGABYTE = 2**20
DAY = 24 * 3600
VERSION = 1
_APPLICATION_ID = 0x6F6C6C6D
_SECONDS_TO_WAIT = 10  # for another process that writes
_CHEAP_COMPRESSION = 1
_MOST_LISTED = 1000
_SHOWN_FACETS = 200
_SHOWN_OF_A_TRACE = 2000

_SCHEMA = f"""
CREATE TABLE spans (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  trace_id TEXT NOT NULL,
  span_id TEXT NOT NULL,
  parent_span_id TEXT,
  name TEXT NOT NULL,
  service TEXT NOT NULL,
  started_ns INTEGER NOT NULL,
  ended_ns INTEGER NOT NULL,
  stored_ns INTEGER NOT NULL,
  is_request INTEGER NOT NULL,
  UNIQUE (trace_id, span_id)
);
CREATE INDEX spans_stored ON spans (stored_ns);
CREATE TABLE requests (
  number INTEGER PRIMARY KEY REFERENCES spans ON DELETE CASCADE,
  started_ns INTEGER NOT NULL,
  trace_id TEXT NOT NULL,
  service TEXT NOT NULL,
  model TEXT NOT NULL,
  outcome TEXT,
  summary TEXT NOT NULL,
  searched TEXT NOT NULL
);
CREATE INDEX requests_started ON requests (started_ns, number);
CREATE INDEX requests_trace ON requests (trace_id, started_ns);
CREATE INDEX requests_service ON requests (service, started_ns);
CREATE INDEX requests_model ON requests (model, started_ns);
CREATE INDEX requests_outcome ON requests (outcome, started_ns);
CREATE TABLE tags (
  kind TEXT NOT NULL,
  value TEXT NOT NULL,
  number INTEGER NOT NULL REFERENCES requests ON DELETE CASCADE,
  PRIMARY KEY (kind, value, number)
) WITHOUT ROWID;
CREATE INDEX tags_number ON tags (number);
CREATE TABLE links (
  target TEXT NOT NULL,
  number INTEGER NOT NULL REFERENCES requests ON DELETE CASCADE,
  PRIMARY KEY (target, number)
) WITHOUT ROWID;
CREATE INDEX links_number ON links (number);
CREATE TABLE messages (
  number INTEGER PRIMARY KEY REFERENCES requests ON DELETE CASCADE,
  message BLOB NOT NULL
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""

_FILTERS = {
    "service": "service = ?",
    "model": "model = ?",
    "outcome": "outcome = ?",
    "trace": "trace_id = ?",
    "tool": "number IN (SELECT number FROM tags WHERE kind = 'tool' AND value = ?)",
    "anomaly": "number IN (SELECT number FROM tags WHERE kind = 'anomaly' AND value = ?)",
    "q": "instr(searched, ?)",
}


class StoreError(Exception):
    """The file cannot be used; the text says why."""


def _reading(read: Read) -> Read:
    """Makes a method raise StoreError where the file is broken."""

    @wraps(read)
    def checked(store: Store, *args: Any, **kwargs: Any) -> Any:
        try:
            return read(store, *args, **kwargs)
        except (sqlite3.Error, zlib.error, DecodeError) as error:
            raise StoreError(f"{store.path}: {error}") from None

    return cast("Read", checked)


class Prepared(NamedTuple):
    """A span made ready to be stored. `summary` and what follows it are None where it is of no request."""

    span: spans.Span
    summary: Mapping[str, Any] | None
    searched: str | None
    message: bytes | None


class Page(NamedTuple):
    """A part of the list. `next`: where the next one begins, None behind the last."""

    requests: list[dict[str, Any]]
    next: str | None
    total: int


def default_path() -> Path:
    """Where the file is unless another is named: in the user's state directory."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "otel-llm" / "view.sqlite3"


def prepare(message: ResourceSpans) -> Prepared:
    """What is stored of a message that `spans.single_spans` made."""
    # Most of a span is its deltas, of which no list says anything.
    span = spans.read(message, deltas=False)
    if not requests.is_request(span):
        return Prepared(span, None, None, None)
    summary = requests.summarize(span)
    packed = zlib.compress(message.SerializeToString(), _CHEAP_COMPRESSION)
    return Prepared(span, summary, requests.searched_text(span, summary), packed)


class Store:
    """One connection to the file, for one thread at a time.

    `most_bytes` and `most_seconds`: what is beyond them goes, what was stored first before all. Raises StoreError where
    the file is none of ours, is of a newer version or cannot be opened.
    """

    def __init__(self, path: Path, *, most_bytes: int = 1024 * MEGABYTE, most_seconds: float = 30 * DAY) -> None:
        self.path = path
        self._most_bytes = most_bytes
        self._most_seconds = most_seconds
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                # Prompts are nobody else's business.
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(
                path, timeout=_SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {error}") from None
        try:
            self._open()
        except sqlite3.Error as error:
            self.close()
            raise StoreError(f"{path}: {error}") from None
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        execute = self._connection.execute
        version = execute("PRAGMA user_version").fetchone()[0]
        application = execute("PRAGMA application_id").fetchone()[0]
        is_empty = execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not is_empty and application != _APPLICATION_ID:
            raise StoreError(f"{self.path} is a database of something else")
        if version > VERSION:
            raise StoreError(f"{self.path} was written by a newer otel-llm")
        if is_empty:
            execute("PRAGMA auto_vacuum = INCREMENTAL")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        execute("PRAGMA foreign_keys = ON")
        execute("PRAGMA cache_size = -4096")
        execute(f"PRAGMA journal_size_limit = {16 * MEGABYTE}")
        if is_empty:
            with self._transaction():
                # Another process may have been first.
                if execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in _SCHEMA.split(";"):
                        if statement.strip():
                            execute(statement)

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # Some errors, of a full disk above all, have ended it already; others leave it open for good.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    # -- in --

    def add(self, prepared: Iterable[Prepared]) -> list[Mapping[str, Any]]:
        """Store spans, all or none; the value is the summaries of the requests among them.

        A span that is there already is replaced: exporters send again what they have no answer to. Raises
        sqlite3.Error where the file cannot be written.
        """
        now = time.time_ns()
        added = []
        with self._transaction():
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
                requests.short(span.name),
                requests.short(span.resource.get(semconv.SERVICE_NAME, "")),
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
        """Let go of what is too old, and of what is too much."""
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
        """What the file holds, without its free pages."""
        page, count, free = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        )
        return int(page * (count - free))

    def clear(self) -> None:
        """Forget everything."""
        with self._transaction():
            for table in ("messages", "links", "tags", "requests", "spans"):
                self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
        self._connection.executescript("PRAGMA incremental_vacuum")

    # -- out --

    @_reading
    def page(self, filters: Mapping[str, str], limit: int = 100, after: str | None = None) -> Page:
        """Requests, the newest first. Raises ValueError for an `after` that was never given."""
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
        """A request's span as the message it came in, None where there is no such request."""
        trace_id, _, span_id = request_id.partition("-")
        row = self._connection.execute(
            "SELECT message FROM messages JOIN spans USING (number) WHERE trace_id = ? AND span_id = ?",
            (trace_id, span_id),
        ).fetchone()
        return None if row is None else ResourceSpans.FromString(zlib.decompress(row[0]))

    @_reading
    def detail(self, request_id: str) -> dict[str, Any] | None:
        """A request's detail document, None where there is no such request."""
        message = self.message(request_id)
        if message is None:
            return None
        document = requests.detail(spans.read(message))
        leads_to = self._connection.execute(
            "SELECT summary FROM requests JOIN links USING (number) WHERE target = ? ORDER BY started_ns LIMIT 100",
            (request_id,),
        )
        document["leads_to"] = [json.loads(row[0])["id"] for row in leads_to]
        document["trace"] = [one for one in self._of_trace(document["trace_id"]) if one["id"] != request_id]
        return document

    @_reading
    def trace(self, trace_id: str) -> dict[str, Any]:
        """All spans of a trace that came here, and its requests, in the order in which they began."""
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
                    "request_id": requests.request_id(trace_id, span_id) if is_request else None,
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
        """How many requests there are of each model, service, outcome, tool and anomaly, the most first."""
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
