"""Judges the targets by the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.figures import ALL, LENGTH, Costs, TagCosts
from benchmarks.readers import OPENAI, Readings
from benchmarks.tags import CALLS, CHUNK, KINDS_OF_CALLS, PROSE
from benchmarks.workload import MODES, Kind

_TIMES_CHEAPER: dict[Kind, int] = {"text": 20, "tool": 10}
_FLAT_WITHIN = 1.5
_KB = 1000
_MARGIN = 100


@dataclass(frozen=True)
class Target:
    """`met` is None if there are no figures to judge by."""

    subject: str
    wanted: str
    figure: str
    met: bool | None


def against_official(ours: Costs, official: Costs | None) -> Iterator[Target]:
    for kind, mode in ALL:
        wanted = _TIMES_CHEAPER[kind]
        subject = f"a chunk at {LENGTH:,} chunks, {kind} {mode}"
        ratio = None if official is None else official.chunk(kind, mode) / ours.chunk(kind, mode)
        yield _compared(subject, f"at least {wanted} times cheaper", ratio, met=(ratio or 0) >= wanted)
    for mode in MODES:
        share = None if official is None else ours.request("text", mode) / official.request("text", mode)
        yield _compared(f"fixed cost of a request, {mode}", "at most the official one's", share, met=(share or 0) <= 1)


def _compared(subject: str, wanted: str, ratio: float | None, *, met: bool) -> Target:
    if ratio is None:
        return Target(subject, wanted, "the official instrumentation is not installed", None)
    return Target(subject, wanted, f"{ratio:.2f} times", met)


def flatness(ours: Costs, lengths: list[int]) -> Iterator[Target]:
    for kind, mode in ALL:
        growth = ours.growth(kind, mode, lengths)
        yield Target(
            f"a chunk from {lengths[0]:,} to {lengths[-1]:,} chunks, {kind} {mode}",
            f"at most {_FLAT_WITHIN} times",
            f"{growth:.2f} times",
            growth <= _FLAT_WITHIN,
        )


def readers(read: Readings) -> Iterator[Target]:
    base = read["times"][OPENAI]
    for sdk, times in read["times"].items():
        for kind, taken in times.items():
            if sdk != OPENAI:
                ratio = taken / base[kind]
                subject = f"a delta of {kind}, {sdk}"
                yield Target(subject, "at most 2 times the openai SDK's", f"{ratio:.2f} times", ratio <= 2)


def memory(
    rss: Mapping[str, float],
    traced: Mapping[str, float],
    shorter: Mapping[str, float],
    longer: Mapping[str, float],
) -> Iterator[Target]:
    streams = int(rss["streams"])
    # RSS changes by whole arenas of the allocator.
    for name, figures, limit in (("tracemalloc", traced, 100 * _KB), ("RSS", rss, 2000 * _KB)):
        yield _size(f"growth after {streams:,} streams, {name}", figures["all_streams"], limit)
    for kind in ("text", "tool"):
        deltas = int(longer["deltas"])
        yield _size(f"peak within one stream of {deltas:,} {kind} deltas", longer[kind], 8000 * _KB)
        growth = longer[kind] / shorter[kind]
        yield Target(
            f"the same over that of {int(shorter['deltas']):,} deltas, {kind}",
            "at most 1.2 times",
            f"{growth:.2f} times",
            growth <= 1.2,
        )


def seed_limits(seed: Mapping[str, float], rss: Mapping[str, float], traced: Mapping[str, float]) -> Iterator[Target]:
    """A hundredth of what the original proposal allows."""
    for subject, key, limit_ms in (
        ("the slowest chunk (5 ms)", "slowest_chunk", 5),
        (f"added to a stream of {int(seed['chunks'])} chunks (100 ms)", "stream", 100),
        ("drift over 50 streams (50 ms)", "drift", 50),
    ):
        wanted, figure = limit_ms * 1000 / _MARGIN, seed[key] / 1000
        yield Target(f"seed: {subject}", f"at most {wanted:g} us", f"{figure:.1f} us", figure <= wanted)
    limit = 5 * 1024 * 1024 / _MARGIN
    yield _size("seed: 100 streams (5 MB), tracemalloc", traced["hundred_streams"], limit)
    per_hundred = rss["all_streams"] / (rss["streams"] / 100)
    yield _size("seed: 100 streams (5 MB), RSS, on average", per_hundred, limit)


def tags(ours: TagCosts, behaviour: Mapping[str, int]) -> Iterator[Target]:
    for chunks in PROSE:
        cost = ours.prose(chunks)
        subject = f"tags: a plain chunk of {CHUNK} characters, {chunks:,} chunks"
        yield Target(subject, "at most 1 us", f"{cost:.2f} us", cost <= 1)
    for kind in KINDS_OF_CALLS:
        growth = ours.growth(kind, CALLS)
        yield Target(
            f"tags: a chunk in a call of {CALLS[0] // _KB:,} kB to {CALLS[-1] // _KB:,} kB, {kind}",
            f"at most {_FLAT_WITHIN} times",
            f"{growth:.2f} times",
            growth <= _FLAT_WITHIN,
        )
    openings, at_once = behaviour["openings"], behaviour["openings_at_once"]
    yield Target(
        "tags: the first chunk of plain text", "leaves at once", f"{at_once} of {openings}", at_once == openings
    )
    outputs = behaviour["outputs"]
    yield Target(f"tags: a text in {behaviour['cuts']} cuts", "one output", f"{outputs}", outputs == 1)


def startup(milliseconds: float) -> Target:
    subject = "import of otel_llm and its OpenAIInstrumentor beyond the SDKs' own"
    return Target(subject, "at most 50 ms", f"{milliseconds:.1f} ms", milliseconds <= 50)


def _size(subject: str, size: float, limit: float) -> Target:
    return Target(subject, f"at most {limit / _KB:,.0f} kB", f"{size / _KB:,.1f} kB", size <= limit)
