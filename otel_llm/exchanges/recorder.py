"""Writes the recording of one exchange: the request, and the bytes of the response as they come, with their times.

`otel_llm/proxy/` hands the exchanges on.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import IO, Any
from urllib.parse import urlsplit

from otel_llm.exchanges.judged_body import JudgedBody
from otel_llm.exchanges.recorded import data_line, end_line, head_line
from otel_llm.exchanges.redaction import (
    Redactor,
    harmless_headers,
    secrets_in_request,
    secrets_in_response,
)
from otel_llm.protocol.content_encoding import Expander
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.json_values import parse_json

_LONGEST_REQUEST = 64 * 1_048_576


class RecordedExchange:
    """A recording that is being written. Header names are in lower case; `upstream` is the URL of the request."""

    def __init__(self, path: str, headers: list[tuple[str, str]], query: str, body: bytes, upstream: str) -> None:
        self._started = datetime.now(timezone.utc)
        self._clock = perf_counter()
        self._asked = _json(_expanded(headers, body).decode("utf-8", "replace"))
        self._secrets = secrets_in_request(headers, query, self._asked, upstream)
        self._redactor = Redactor(self._secrets)
        self._judged: JudgedBody | None = None
        self._request = {
            "method": "POST",
            "server": _server_of(upstream),
            "path": self._redactor.hide(path),
            "headers": self._headers(headers),
            "body": self._redactor.hidden(self._asked),
        }
        # When each read came, and how long it was.
        self._reads: deque[tuple[float, int]] = deque()
        self._covered = b""
        self._file: IO[str] | None = None
        self.is_readable = True
        self.path: Path | None = None

    def begin(self, folder: Path, numbers: itertools.count[int], status: int, headers: list[tuple[str, str]]) -> None:
        """The head of the response came."""
        self._file, self.path = _new_file(folder, numbers)
        known = dict(headers)
        encoding = known.get("content-encoding", "identity")
        # It cannot be searched for secrets.
        self.is_readable = encoding.lower() in {"identity", ""}
        self._redactor = Redactor([*self._secrets, *secrets_in_response(headers)])
        request = self._asked if isinstance(self._asked, dict) else None
        self._judged = JudgedBody(request, status, known.get("content-type", ""))
        head = {"status": status, "headers": self._headers(headers)}
        self._write(head_line(self._started.isoformat(), self._request, head))

    @property
    def anomalies(self) -> list[str]:
        """The types of what is wrong with the response."""
        return [] if self._judged is None or not self.is_readable else self._judged.anomalies

    @property
    def failure(self) -> str:
        """Why the response failed, empty if it did not. A server may repeat the key that it refuses."""
        return "" if self._judged is None or not self.is_readable else self._redactor.hide(self._judged.failure)

    def data(self, data: bytes, seconds: float) -> None:
        """Bytes of the body came, so long after the start."""
        if not self.is_readable or not data:
            return
        if self._judged is not None:
            self._judged.feed(data, seconds)
        self._reads.append((seconds, len(data)))
        self._write_reads(self._redactor.feed(data))

    def end(self, end: str) -> bool:
        """Write the last line; whether it had not been written yet."""
        if self._file is None:
            return False
        if self._judged is not None:
            self._judged.finish(end, self.seconds())
        self._write_reads(self._redactor.finish())
        self._write(end_line(self.seconds(), end if self.is_readable else "error: the server sent it compressed"))
        self._file.close()
        self._file = None
        return True

    def _write_reads(self, covered: bytes) -> None:
        """Write the reads of which nothing is held back any more, with their own times."""
        self._covered += covered
        while self._reads and len(self._covered) >= self._reads[0][1]:
            seconds, length = self._reads.popleft()
            self._write(data_line(seconds, self._covered[:length]))
            self._covered = self._covered[length:]

    def _headers(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        return {name: self._redactor.hide(value) for name, value in harmless_headers(headers).items()}

    def seconds(self) -> float:
        """Since the start."""
        return perf_counter() - self._clock

    def _write(self, line: str) -> None:
        if self._file is not None:
            self._file.write(line)
            # Nothing that was written is lost, however this process ends.
            self._file.flush()


def _server_of(url: str) -> str:
    """The server of a URL, without the password that it may have."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _expanded(headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """A request's body without compression, nothing if that fails: its secrets would not be found."""
    encodings = [value for name, value in headers if name.lower() == "content-encoding"]
    try:
        for encoding in reversed([one for value in encodings for one in value.split(",")]):
            expander = Expander(encoding, _LONGEST_REQUEST)
            body = b"".join(expander.feed(body))
            expander.finish()
    except UnreadableError:
        return b""
    return body


def _json(text: str) -> Any:
    """The value of a JSON text; any other text as it is."""
    try:
        return parse_json(text)
    except UnreadableError:
        return text


def _new_file(folder: Path, numbers: itertools.count[int]) -> tuple[IO[str], Path]:
    """A new file with the next free number, which only its owner can read: prompts are private."""
    for number in numbers:
        path = folder / f"{number:04}.jsonl"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        return os.fdopen(handle, "w", encoding="utf-8"), path
    raise AssertionError("numbers do not end")
