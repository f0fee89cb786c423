"""What the raw times of the libraries say: pure arithmetic, times in microseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import key
from benchmarks.workload import KINDS, MODES, Kind, Mode

Times = dict[str, int]
"""The least nanoseconds of each scenario of one library, by `measure.key`."""

LENGTH = 1000
"""Deltas of the response at which a chunk's cost is compared."""


@dataclass(frozen=True)
class Costs:
    """What one library adds to the SDK's own cost."""

    times: Times
    bare: Times

    def request(self, kind: Kind, mode: Mode, deltas: int = 0) -> float:
        """Added to a whole request. Without deltas: its fixed cost, that of the first and last chunks included."""
        scenario = key(kind, mode, deltas)
        return (self.times[scenario] - self.bare[scenario]) / 1000

    def chunk(self, kind: Kind, mode: Mode, deltas: int = LENGTH) -> float:
        """Added to each chunk of a response with so many deltas, what its end costs more for them included."""
        return (self.request(kind, mode, deltas) - self.request(kind, mode)) / deltas

    def cheaper_from(self, other: Costs, kind: Kind, mode: Mode) -> float:
        """How many deltas a response needs for all of it to cost less than with `other`, infinite if it never does."""
        saved = other.chunk(kind, mode) - self.chunk(kind, mode)
        more = self.request(kind, mode) - other.request(kind, mode)
        if more <= 0 <= saved:
            return 0
        return more / saved if saved > 0 else math.inf

    def growth(self, kind: Kind, mode: Mode, lengths: list[int]) -> float:
        """How many times the cost of a chunk in the shortest response the highest in a longer one is."""
        shortest, *longer = (self.chunk(kind, mode, deltas) for deltas in lengths)
        return max(longer) / shortest


@dataclass(frozen=True)
class TagCosts:
    """What rewriting with one library costs. There is nothing to subtract: without it the text is just passed on."""

    times: Times
    chunks: Mapping[str, int]
    left_out: Mapping[str, float]
    """Nanoseconds that the longest texts would take, told from those of shorter ones."""

    def prose(self, chunks: int) -> float:
        """A chunk of plain text, the stream's beginning and end included."""
        scenario = tags_key("prose", chunks)
        return self.times[scenario] / self.chunks[scenario] / 1000

    def call(self, kind: str, length: int) -> float | None:
        """A chunk within a call, that is without what a call with hardly any arguments costs. None if left out."""
        longer, shortest = tags_key(kind, length), tags_key(kind, 0)
        if longer not in self.times:
            return None
        chunks = self.chunks[longer] - self.chunks[shortest]
        return (self.times[longer] - self.times[shortest]) / chunks / 1000

    def growth(self, kind: str, lengths: Sequence[int]) -> float:
        """How many times the cost of a chunk in the shortest call the highest in a longer one is."""
        shortest, *longer = (self.call(kind, length) or math.inf for length in lengths)
        return max(longer) / shortest


def least_tag_costs(rounds: Sequence[Mapping[str, Any]]) -> TagCosts:
    """Of a text that only some rounds left out, what the others measured counts."""
    times: Times = {}
    chunks: dict[str, int] = {}
    left_out: dict[str, float] = {}
    for each in rounds:
        chunks.update(each["chunks"])
        left_out.update(each["left_out"])
        for scenario, taken in each["times"].items():
            times[scenario] = min(taken, times.get(scenario, taken))
    return TagCosts(times, chunks, {scenario: left_out[scenario] for scenario in left_out if scenario not in times})


def tags_key(kind: str, size: int) -> str:
    return f"{kind} {size}"


def extrapolated(known: Sequence[tuple[int, float]], count: int) -> float:
    """How long `count` chunks will take, judged by the two longest texts that are known.

    The time of a text is taken for the sum of one part that grows with it, and of one that grows with its square.
    """
    if not known:
        return 0
    chunks, taken = known[-1]
    if len(known) == 1:
        return taken * (count / chunks) ** 2
    fewer, faster = known[-2]
    square = max(0, (taken / chunks - faster / fewer) / (chunks - fewer))
    return (taken / chunks + square * (count - chunks)) * count


def least(rounds: list[Times]) -> Times:
    return {scenario: min(times[scenario] for times in rounds) for scenario in rounds[0]}


ALL = [(kind, mode) for kind in KINDS for mode in MODES]
