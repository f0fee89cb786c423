"""Runs every library in its own processes and prints what each costs. Exits with 1 if a target is missed."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import readers, report, targets
from benchmarks.figures import LENGTH, Costs, TagCosts, Times, least, least_tag_costs
from benchmarks.libraries import ABSTRACTCORE, BARE, FORWARDING, OFFICIAL, OURS, PEERS, REWRITERS, Library

_ROOT = Path(__file__).parent.parent
# A process that works ends long before.
_GIVE_UP_SECONDS = 300


@dataclass(frozen=True)
class Plan:
    """How long to measure. More rounds find quieter moments of the machine."""

    rounds: int = 8
    seconds: float = 1.5
    length_rounds: int = 2
    length_seconds: float = 6.0
    reader_rounds: int = 3
    reader_seconds: float = 3.0
    seed_repeats: int = 200
    streams: int = 10_000
    shorter_stream: int = 30_000
    longer_stream: int = 100_000
    tag_rounds: int = 3
    tag_seconds: float = 6.0
    starts: int = 7
    lengths: tuple[int, ...] = (100, 1000, 10_000, 100_000)


_QUICK = Plan(
    rounds=5,
    seconds=0.8,
    length_rounds=1,
    length_seconds=3.0,
    reader_rounds=2,
    reader_seconds=2.0,
    seed_repeats=50,
    streams=4000,
    tag_rounds=1,
    tag_seconds=4.0,
)


def _run(module: str, *arguments: object) -> Any:
    # Settings from the environment would change what the libraries do.
    left_out = ("OTEL_", "TRACELOOP_", "PYTHONDONTWRITEBYTECODE")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    process = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        cwd=_ROOT,
        env=environ,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_GIVE_UP_SECONDS,
    )
    return json.loads(process.stdout)


def _time(libraries: list[Library], rounds: int, seconds: float, sizes: list[int]) -> dict[Library, Times]:
    """Each round runs one process per library, so that a slow minute of the machine slows all libraries."""
    taken: dict[Library, list[Times]] = {library: [] for library in libraries}
    for _ in range(rounds):
        for library in libraries:
            taken[library].append(_run("measure", library.name, "--seconds", seconds, "--sizes", *sizes))
    return {library: least(times) for library, times in taken.items()}


def _time_tags(libraries: list[Library], rounds: int, seconds: float) -> dict[Library, TagCosts]:
    taken: dict[Library, list[Any]] = {library: [] for library in libraries}
    for _ in range(rounds):
        for library in libraries:
            taken[library].append(_run("tags", library.name, "time", "--seconds", seconds))
    return {library: least_tag_costs(times) for library, times in taken.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="take one minute instead of three, for rougher figures")
    plan = _QUICK if parser.parse_args().quick else Plan()
    out = report.console()

    peers = [peer for peer in PEERS if peer.installed_version() is not None]
    rewriters = [library for library in REWRITERS if library is OURS or library.installed_version()]
    report.print_machine(out, [OURS, *peers, *(library for library in rewriters if library is not OURS)])
    for peer in PEERS:
        if peer not in peers:
            out.print(f"{peer.distribution} is not installed, so it is left out")
    if ABSTRACTCORE not in rewriters:
        how = (
            "pip install --no-deps --constraint constraints.txt abstractcore: its dependencies exclude this OpenAI SDK"
        )
        out.print(f"{ABSTRACTCORE.distribution} is not installed, so it is left out ({how})", soft_wrap=True)

    times = _time([BARE, FORWARDING, OURS, *peers], plan.rounds, plan.seconds, [0, LENGTH])
    costs = {library: Costs(taken, times[BARE]) for library, taken in times.items() if library is not BARE}
    report.print_costs(out, costs)

    lengths = list(plan.lengths)
    times = _time([BARE, OURS], plan.length_rounds, plan.length_seconds, [0, *lengths])
    by_length = Costs(times[OURS], times[BARE])
    report.print_lengths(out, by_length, lengths)

    read = readers.least([_run("readers", "--seconds", plan.reader_seconds) for _ in range(plan.reader_rounds)])
    report.print_readers(out, read)

    # The first start writes the bytecode that the others read.
    start = min([_run("startup") for _ in range(1 + plan.starts)][1:])
    tag_costs = _time_tags(rewriters, plan.tag_rounds, plan.tag_seconds)

    seed = _run("seed_limits", "--repeats", plan.seed_repeats)
    # Sizes do not depend on the load of the machine, so these run in parallel.
    with ThreadPoolExecutor(2) as pool:
        tag_memory = pool.submit(_run, "tags", OURS.name, "memory")
        behaviour = {library: pool.submit(_run, "tags", library.name, "behaviour") for library in rewriters}
        measured = [
            pool.submit(_run, "memory", what, count)
            for what, count in (
                ("traced", plan.streams),
                ("rss", plan.streams),
                ("stream", plan.longer_stream),
                ("stream", plan.shorter_stream),
            )
        ]
        traced, rss, longer, shorter = (each.result() for each in measured)
    tag_behaviour = {library: each.result() for library, each in behaviour.items()}
    report.print_tags(out, tag_costs, tag_behaviour, tag_memory.result())

    judged = [
        *targets.against_official(costs[OURS], costs.get(OFFICIAL)),
        *targets.flatness(by_length, lengths),
        *targets.readers(read),
        *targets.memory(rss, traced, shorter, longer),
        *targets.seed_limits(seed, rss, traced),
        *targets.tags(tag_costs[OURS], tag_behaviour[OURS]),
        targets.startup(start),
    ]
    report.print_targets(out, judged)
    return int(any(target.met is False for target in judged))


if __name__ == "__main__":
    raise SystemExit(main())
