"""The SQLite file of the view: where it is, its schema, and how it is opened.

What was committed survives a kill of the process (write-ahead log, synchronous=NORMAL). A crash of the machine may lose
the last transactions, but leaves the file intact.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = 1
MEGABYTE = 2**20
_APPLICATION_ID = 0x6F6C6C6D
_SECONDS_TO_WAIT = 10  # for another process that writes

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


class StoreError(Exception):
    """The file cannot be used; the text says why."""


def default_path() -> Path:
    """The default file, in the user's state directory."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "otel-llm" / "view.sqlite3"


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, and create it if it does not exist. The connection is for one thread at a time.

    Raises StoreError if it is another database, was written by a newer version or cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            # Prompts are private.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(path, timeout=_SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: {error}") from None
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"{path}: {error}") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    execute = connection.execute
    version = execute("PRAGMA user_version").fetchone()[0]
    application = execute("PRAGMA application_id").fetchone()[0]
    is_empty = execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not is_empty and application != _APPLICATION_ID:
        raise StoreError(f"{path} is a database of something else")
    if version > VERSION:
        raise StoreError(f"{path} was written by a newer otel-llm")
    if is_empty:
        execute("PRAGMA auto_vacuum = INCREMENTAL")
    execute("PRAGMA journal_mode = WAL")
    execute("PRAGMA synchronous = NORMAL")
    execute("PRAGMA foreign_keys = ON")
    execute("PRAGMA cache_size = -4096")
    execute(f"PRAGMA journal_size_limit = {16 * MEGABYTE}")
    if is_empty:
        with transaction(connection):
            # Another process may have created the tables meanwhile.
            if execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in _SCHEMA.split(";"):
                    if statement.strip():
                        execute(statement)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end of the block, or roll back if it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors, such as a full disk, have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def used_bytes(connection: sqlite3.Connection) -> int:
    """The size of the file's contents, without free pages."""
    page, count, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return int(page * (count - free))
