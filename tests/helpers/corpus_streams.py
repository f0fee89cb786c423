"""The labelled streams of `tests/corpus`, loaded and judged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_llm.cli import main
from otel_llm.diagnosis.case import Case
from otel_llm.diagnosis.judges import diagnose, diagnose_request
from otel_llm.exchanges.entries import Chunk, ResponseEnd, ResponseStart
from otel_llm.exchanges.reading import read_exchanges
from otel_llm.exchanges.recorded import open_recording
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import read_request
from otel_llm.telemetry.provider import provider_at
from tests.helpers.streams import sdk_chunk

if TYPE_CHECKING:
    import pytest

CORPUS = Path(__file__).parents[1] / "corpus"


class Labelled(NamedTuple):
    """One stream: the request, its chunks and when each came (ns), how it ended, and the expected anomalies."""

    name: str
    request: dict[str, Any]
    chunks: list[dict[str, Any]]
    times: list[int]
    ends: ResponseEnd
    expected: list[str]
    provider: str | None = None

    @property
    def is_healthy(self) -> bool:
        return not self.expected


def paths() -> list[Path]:
    return sorted(CORPUS.glob("*.jsonl"))


def reads_of(path: Path) -> list[tuple[int, bytes]]:
    """(time in ns, bytes) of each read of its body."""
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    return list(open_recording(first, iter(lines)).reads())


class LabelledRequest(NamedTuple):
    """The request of a recording, and the expected anomalies."""

    request: dict[str, Any]
    expected: list[str]


def load_request(path: Path) -> LabelledRequest:
    with path.open(encoding="utf-8") as file:
        head = json.loads(file.readline())
    return LabelledRequest(head["request"]["body"], head["expected"])


@cache
def load(path: Path) -> Labelled:
    with path.open(encoding="utf-8") as file:
        head = json.loads(file.readline())
    parts = list(read_exchanges(path))
    (begins,) = [part for part in parts if isinstance(part, ResponseStart)]
    (ends,) = [part for part in parts if isinstance(part, ResponseEnd)]
    chunks = [part for part in parts if isinstance(part, Chunk)]
    return Labelled(
        path.stem,
        dict(begins.request or {}),
        [part.value for part in chunks],
        [part.time_ns or 0 for part in chunks],
        ends,
        head["expected"],
        provider_at(begins.url),
    )


def judged(
    chunks: Iterable[Any],
    times: Iterable[int],
    request: Mapping[str, Any],
    ends: ResponseEnd,
    *,
    as_sdk: bool = True,
    provider: str | None = None,
) -> list[str]:
    """The sorted types of the anomalies of such a stream."""
    asked = read_request(request)
    recording = Recording(declared=asked.tool_names)
    now = 0
    for chunk, came in zip(chunks, times, strict=True):
        recording.feed(sdk_chunk(chunk) if as_sdk else chunk, now, came)
        now = came
    recording.end(ends.outcome, max(now, ends.time_ns or 0))
    return sorted(anomaly.type for anomaly in [*diagnose_request(asked, provider), *diagnose(Case(recording, asked))])


def inspected_as_labelled(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`otel-llm inspect` finds what a file is labelled with, and the name says whether that is anything."""
    expected = load_request(path).expected
    assert path.stem.startswith("broken-" if expected else "healthy-")
    assert main(["inspect", "--json", str(path)]) == bool(expected)
    printed = json.loads(capsys.readouterr().out)
    assert sorted(anomaly["type"] for anomaly in printed["anomalies"]) == expected
