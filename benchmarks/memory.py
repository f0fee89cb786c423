"""What otel-llm keeps: over many streams, and within one long one. Writes figures as JSON, sizes in bytes."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tracemalloc
from collections.abc import Iterator

import psutil
from openai.types.chat import ChatCompletionChunk

from benchmarks.libraries import OURS
from benchmarks.workload import (
    KINDS,
    Kind,
    Responses,
    StubClients,
    beginning,
    delta_chunk,
    ending,
)

# Before these, caches fill and metrics get their attribute sets.
_WARM_UP = 1000
_DELTAS_OF_A_STREAM = 20
# Long enough that a long stream goes over what is kept of its arguments.
_DELTA_LENGTH = 40


class _Streams:
    """Streams of every kind, ended in every way that needs no fault."""

    def __init__(self) -> None:
        self._clients = StubClients()
        responses = Responses()
        self._responses = [responses.response(kind, _DELTAS_OF_A_STREAM) for kind in KINDS]

    async def run(self, number: int) -> None:
        chunks = self._responses[number % 2]
        ending_of_it = number // 4 % 4
        # Half are read to their end; of the others one is closed and one is forgotten.
        read = len(chunks) + 1 if ending_of_it < 2 else _DELTAS_OF_A_STREAM // 2
        if number // 2 % 2:
            stream = await self._clients.open_async(chunks)
            async for _ in stream:
                read -= 1
                if not read:
                    break
            if ending_of_it == 2:
                await stream.close()
            elif ending_of_it == 3:
                del stream
            await asyncio.sleep(0)
        else:
            stream = self._clients.open(chunks)
            for _ in stream:
                read -= 1
                if not read:
                    break
            if ending_of_it == 2:
                stream.close()


def over_many_streams(streams: int, *, traced: bool) -> dict[str, float]:
    """How much more is held after `streams` streams than after the warm-up.

    `traced`: what Python allocated, to the byte; else what the process has in memory. Not both at once: tracing
    needs memory itself.
    """
    if traced:
        # From the start: what replaces something untraced would look like growth.
        tracemalloc.start()
    exporter = OURS.switch_on()
    work = _Streams()
    process = psutil.Process()

    async def held() -> int:
        # A forgotten stream of the SDK is garbage in a cycle, and the event loop closes its generators in tasks
        # of their own, one inside the other.
        for _ in range(4):
            gc.collect()
            await asyncio.sleep(0)
        return tracemalloc.get_traced_memory()[0] if traced else process.memory_info().rss

    async def run() -> dict[str, float]:
        for number in range(_WARM_UP):
            await work.run(number)
        first = await held()
        for number in range(100):
            await work.run(number)
        after_hundred = await held()
        for number in range(100, streams):
            await work.run(number)
        last = await held()
        return {"hundred_streams": after_hundred - first, "all_streams": last - first, "streams": streams}

    figures = asyncio.run(run())
    if exporter.spans != _WARM_UP + streams:
        raise RuntimeError(f"{exporter.spans} spans of {_WARM_UP + streams} requests")
    return figures


def _fresh_chunks(kind: Kind, deltas: int) -> Iterator[ChatCompletionChunk]:
    """Chunks that exist no longer than their reader keeps them, as in a real stream."""
    yield from beginning(kind)
    for number in range(deltas):
        yield delta_chunk(kind, f"{number:<{_DELTA_LENGTH}}")
    yield from ending(kind)


def within_one_stream(deltas: int) -> dict[str, float]:
    """The most that one stream of so many deltas holds at any time, its end included."""
    OURS.switch_on()
    clients = StubClients()
    peaks: dict[str, float] = {"deltas": deltas}
    for kind in KINDS:
        for _ in clients.open(_fresh_chunks(kind, 100)):
            pass
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in clients.open(_fresh_chunks(kind, deltas)):
            pass
        peaks[kind] = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["rss", "traced", "stream"])
    parser.add_argument("count", type=int, help="streams, or deltas of the one stream")
    options = parser.parse_args()
    if options.what == "stream":
        figures = within_one_stream(options.count)
    else:
        figures = over_many_streams(options.count, traced=options.what == "traced")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
