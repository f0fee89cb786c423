"""What the raw times of the libraries say: pure arithmetic, times in microseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def least(rounds: list[Times]) -> Times:
    return {scenario: min(times[scenario] for times in rounds) for scenario in rounds[0]}


ALL = [(kind, mode) for kind in KINDS for mode in MODES]
