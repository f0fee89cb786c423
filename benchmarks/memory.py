"""Measures what otel-llm holds in memory after many streams and during a long one. Writes bytes as JSON."""

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

# These fill the caches and create the attribute sets of the metrics.
_WARM_UP = 1000
_DELTAS_OF_A_STREAM = 20
# Long enough for a long stream to exceed the limit on kept arguments.
_DELTA_LENGTH = 40


class _Streams:
    """Streams of every kind, ended in every way except by an error."""

    def __init__(self) -> None:
        self._clients = StubClients()
        responses = Responses()
        self._responses = [responses.response(kind, _DELTAS_OF_A_STREAM) for kind in KINDS]

    async def run(self, number: int) -> None:
        chunks = self._responses[number % 2]
        ending_of_it = number // 4 % 4
        # Half of the streams are read to the end, a quarter is closed, and a quarter is abandoned.
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
    """How much more memory is in use after `streams` streams than after the warm-up.

    `traced` measures the allocations of Python, otherwise it is the memory of the process. They cannot be measured
    together, because tracing needs memory itself.
    """
    if traced:
        # Trace from the start: an object that replaces an untraced one would look like growth.
        tracemalloc.start()
    exporter = OURS.switch_on()
    work = _Streams()
    process = psutil.Process()

    async def held() -> int:
        # An abandoned stream of the OpenAI SDK is a reference cycle, and the event loop closes its nested generators
        # one after the other, each in its own task.
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
    """Chunks that live only as long as their reader keeps them, as in a real stream."""
    yield from beginning(kind)
    for number in range(deltas):
        yield delta_chunk(kind, f"{number:<{_DELTA_LENGTH}}")
    yield from ending(kind)


def within_one_stream(deltas: int) -> dict[str, float]:
    """The peak memory of one stream with `deltas` deltas, including its end."""
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
    parser.add_argument("count", type=int, help="number of streams, or of deltas in the stream")
    options = parser.parse_args()
    if options.what == "stream":
        figures = within_one_stream(options.count)
    else:
        figures = over_many_streams(options.count, traced=options.what == "traced")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
