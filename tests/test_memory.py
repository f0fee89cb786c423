"""What is kept is bounded: over many streams, and within one."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from openai.types.chat import ChatCompletionChunk

from otel_llm import SyncStreamingToolCallTracker, observation
from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, tool_call_chunks, tool_call_delta
from tests.helpers.callers import SyncCaller
from tests.helpers.seen import Seen


def chunks(count: int, text: str = "abcde") -> Iterator[Any]:
    yield ChatCompletionChunk.model_validate(
        chunk(tool_call_delta(index=0, id="call_1", name="add_task", arguments=""))
    )
    delta = ChatCompletionChunk.model_validate(chunk(tool_call_delta(index=0, arguments=text)))
    for _ in range(count):
        yield delta
    yield ChatCompletionChunk.model_validate(chunk(finish_reason="tool_calls"))


def held_after(run: Callable[[], None]) -> int:
    """Bytes that `run` leaves allocated."""
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    run()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    return after - before


def test_streams_leave_nothing() -> None:
    def streams(count: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(count):
                tracker = SyncStreamingToolCallTracker(chunks(5))
                if number % 3:
                    for _ in tracker:
                        pass
                else:
                    next(tracker)

        return run

    streams(200)()
    open_before = len(observation._open)
    tracemalloc.start()
    try:
        held = held_after(streams(2_000))
    finally:
        tracemalloc.stop()
    # Less than the smallest object a stream.
    assert held < 32 * 1024
    assert len(observation._open) == open_before
    assert not observation._deferred


def test_one_stream_of_many_deltas_is_bounded() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            tracker = SyncStreamingToolCallTracker(chunks(count))
            for _ in tracker:
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(10_000), peak(50_000)
    # Five times the deltas: the arguments themselves are five times as long, what is kept of each delta is not.
    assert many - few < 3 * 40_000 * len("abcde")


async def test_instrumented_requests_leave_nothing(
    instrument: Callable[..., Seen], serve: Callable[..., ScriptedServer]
) -> None:
    steps = [*tool_call_chunks("add_task", "{}"), chunk(finish_reason="tool_calls"), DONE]
    server = serve(*steps)
    caller = SyncCaller(server.base_url)
    seen = instrument()

    async def requests(count: int) -> None:
        for _ in range(count):
            await caller.read(await caller.stream())
            seen._spans.clear()
            server._requests.clear()

    await requests(30)
    open_before = len(observation._open)
    objects = []
    for _ in range(3):
        gc.collect()
        objects.append(len(gc.get_objects()))
        await requests(90)
    # Less than one object a request: other things in the process come and go.
    assert objects[2] - objects[1] < 90
    assert len(observation._open) == open_before
    await caller.close_client()
