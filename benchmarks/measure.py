"""Times one library in this process and writes the shortest time of each scenario as JSON."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
from time import perf_counter

from benchmarks.libraries import LIBRARIES
from benchmarks.workload import KINDS, MODES, Kind, Mode, Responses, StubClients

Scenario = tuple[Kind, Mode, int]


def key(kind: Kind, mode: Mode, deltas: int) -> str:
    """The name of a scenario's time in the JSON."""
    return f"{kind} {mode} {deltas}"


def time_scenarios(name: str, sizes: list[int], seconds: float) -> dict[str, int]:
    """The shortest time of each scenario in nanoseconds: other load on the machine can only add time."""
    library = LIBRARIES[name]
    exporter = library.switch_on()
    responses, clients = Responses(), StubClients()
    scenarios: dict[Scenario, list[object]] = {
        (kind, mode, deltas): list(responses.response(kind, deltas))
        for deltas in sizes
        for kind in KINDS
        for mode in MODES
    }
    loop = asyncio.new_event_loop()
    requests = len(scenarios)
    for (_, mode, _), chunks in scenarios.items():
        clients.time_request(mode, chunks, loop)
    # Exclude the prebuilt chunks from garbage collection, so that it costs only what the library leaves behind.
    gc.collect()
    gc.freeze()
    best: dict[str, int] = {}
    until = perf_counter() + seconds
    rounds = 0
    # Take turns, so that a quiet moment of the machine benefits all scenarios.
    while rounds < 3 or perf_counter() < until:
        rounds += 1
        for (kind, mode, deltas), chunks in scenarios.items():
            # Short requests run several times a turn.
            for _ in range(max(1, 1000 // (deltas + 20))):
                requests += 1
                taken = clients.time_request(mode, chunks, loop)
                name = key(kind, mode, deltas)
                best[name] = min(taken, best.get(name, taken))
    loop.close()
    expected = 0 if library.is_baseline else requests
    if exporter.spans != expected:
        raise RuntimeError(f"{library.name} made {exporter.spans} spans of {requests} requests")
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1000])
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    print(json.dumps(time_scenarios(options.library, options.sizes, options.seconds)))


if __name__ == "__main__":
    main()
