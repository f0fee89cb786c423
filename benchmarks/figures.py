"""Computes costs from the raw times of the libraries. Costs are in microseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import key
from benchmarks.workload import KINDS, MODES, Kind, Mode

Times = dict[str, int]
"""The shortest time of each scenario of one library in nanoseconds, by `measure.key`."""

LENGTH = 1000
"""How many deltas the response has at which the cost of a chunk is compared."""


@dataclass(frozen=True)
class Costs:
    """What one library adds to the SDK's own cost."""

    times: Times
    bare: Times

    def request(self, kind: Kind, mode: Mode, deltas: int = 0) -> float:
        """Added to a whole request. Without deltas, this is the fixed cost, including the first and last chunks."""
        scenario = key(kind, mode, deltas)
        return (self.times[scenario] - self.bare[scenario]) / 1000

    def chunk(self, kind: Kind, mode: Mode, deltas: int = LENGTH) -> float:
        """Added to each chunk of a response with `deltas` deltas, including what they add to the cost of its end."""
        return (self.request(kind, mode, deltas) - self.request(kind, mode)) / deltas

    def cheaper_from(self, other: Costs, kind: Kind, mode: Mode) -> float:
        """From how many deltas on a whole response costs less than with `other`; infinite if it never does."""
        saved = other.chunk(kind, mode) - self.chunk(kind, mode)
        more = self.request(kind, mode) - other.request(kind, mode)
        if more <= 0 <= saved:
            return 0
        return more / saved if saved > 0 else math.inf

    def growth(self, kind: Kind, mode: Mode, lengths: list[int]) -> float:
        """The highest cost of a chunk in a longer response, divided by its cost in the shortest one."""
        shortest, *longer = (self.chunk(kind, mode, deltas) for deltas in lengths)
        return max(longer) / shortest


@dataclass(frozen=True)
class TagCosts:
    """What rewriting with one library costs. Nothing is subtracted: text without a rewriter costs nothing."""

    times: Times
    chunks: Mapping[str, int]
    left_out: Mapping[str, float]
    """The time that the longest texts would take in nanoseconds, extrapolated from shorter ones."""

    def prose(self, chunks: int) -> float:
        """A chunk of plain text, including the start and end of the stream."""
        scenario = tags_key("prose", chunks)
        return self.times[scenario] / self.chunks[scenario] / 1000

    def call(self, kind: str, length: int) -> float | None:
        """A chunk within a call, less the cost of a call with almost no arguments. None if it was left out."""
        longer, shortest = tags_key(kind, length), tags_key(kind, 0)
        if longer not in self.times:
            return None
        chunks = self.chunks[longer] - self.chunks[shortest]
        return (self.times[longer] - self.times[shortest]) / chunks / 1000

    def growth(self, kind: str, lengths: Sequence[int]) -> float:
        """The highest cost of a chunk in a longer call, divided by its cost in the shortest one."""
        shortest, *longer = (self.call(kind, length) or math.inf for length in lengths)
        return max(longer) / shortest


def least_tag_costs(rounds: Sequence[Mapping[str, Any]]) -> TagCosts:
    """The lowest costs over all rounds. A text counts as left out only if every round left it out."""
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
    """How long `count` chunks will take, extrapolated from the two longest known texts.

    It assumes that the time of a text is the sum of a linear and a quadratic part.
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
