"""Judges one response body while it comes.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from otel_llm.exchanges.bodies import BodyReader
from otel_llm.exchanges.entries import Entry
from otel_llm.exchanges.recorded import outcome_of
from otel_llm.exchanges.verdicts import Judging


class JudgedBody:
    """Takes the bytes as they come. Nothing here raises: what cannot be read is not judged."""

    def __init__(self, request: Mapping[str, Any] | None, status: int, content_type: str) -> None:
        self._reader = BodyReader("response", request, status, content_type)
        self._judging = Judging()
        self._is_readable = True
        self.anomalies: list[str] = []
        """The types of the anomalies so far, without repetition."""
        self.failure = ""
        """Why the response failed, if it did."""

    def feed(self, data: bytes, seconds: float) -> None:
        self._take(lambda: self._reader.feed(data, int(seconds * 1e9)))

    def finish(self, end: str, seconds: float) -> None:
        """The body has ended, as the last line of a recording tells it."""
        outcome, note = outcome_of(end)
        self._take(lambda: self._reader.finish(outcome, note, int(seconds * 1e9)))

    def _take(self, read: Any) -> None:
        if not self._is_readable:
            return
        try:
            entries: Iterable[Entry] = read()
            for entry in entries:
                verdict = self._judging.take(entry)
                if verdict is not None:
                    found = [*self.anomalies, *(anomaly.type for anomaly, _ in verdict.anomalies)]
                    self.anomalies = list(dict.fromkeys(found))
                    if verdict.outcome == "error":
                        self.failure = verdict.note
        except Exception:  # noqa: BLE001  the response goes to the client in any case
            self._is_readable = False
