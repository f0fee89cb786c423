"""Measures the limits of the original proposal as it describes them: with a tracker around an asynchronous stream.

It measures the time added to a chunk and to a stream, and the drift between the two halves of many streams.
(`benchmarks.memory` measures the fourth limit, the memory over a hundred streams.) Writes nanoseconds as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Any

from benchmarks.workload import AsyncStubStream, Responses, StubClients
from otel_llm import StreamingToolCallTracker

_DELTAS = 100
_STREAMS = 50

Opening = Callable[[], Any]


async def _read(stream: Any) -> int:
    began = perf_counter_ns()
    async for _ in stream:
        pass
    return perf_counter_ns() - began


async def _waits(stream: Any) -> list[int]:
    """How long the reader waited for each chunk."""
    waits = []
    asked = perf_counter_ns()
    async for _ in stream:
        came = perf_counter_ns()
        waits.append(came - asked)
        asked = perf_counter_ns()
    return waits


async def _least(measure: Callable[[], Awaitable[int]], repeats: int) -> int:
    return min([await measure() for _ in range(repeats)])


async def _drift(tracked: Opening) -> int:
    durations = []
    for _ in range(_STREAMS):
        durations.append(await _read(tracked()))  # noqa: PERF401
    half = _STREAMS // 2
    return abs(sum(durations[:half]) - sum(durations[half:])) // half


async def measure(repeats: int) -> dict[str, float]:
    """Each figure is the lowest of several: a slow tracker is slow every time, a busy machine is not."""
    clients, chunks = StubClients(), Responses().response("tool", _DELTAS)
    gc.collect()
    gc.freeze()

    def bare() -> AsyncStubStream:
        return AsyncStubStream(clients.asynchronous, chunks)

    def tracked() -> StreamingToolCallTracker:
        return StreamingToolCallTracker(bare())

    await _drift(tracked)
    added = await _least(lambda: _read(tracked()), repeats) - await _least(lambda: _read(bare()), repeats)
    # The slowest position, where only the fastest chunk at each position counts.
    slowest = max(map(min, zip(*[await _waits(tracked()) for _ in range(repeats)], strict=True)))
    drift = await _least(lambda: _drift(tracked), max(3, repeats // 10))
    return {"chunks": len(chunks), "stream": added, "slowest_chunk": slowest, "drift": drift}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    print(json.dumps(asyncio.run(measure(parser.parse_args().repeats))))


if __name__ == "__main__":
    main()
