"""Scenarios: streams of other libraries, and trackers that an application makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from otel_llm import (
    StreamingToolCallTracker,
    SyncStreamingToolCallTracker,
    intercept_llm_requests,
)
from tests.helpers.breaking.calling import CALLING, EVENTS
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import REQUEST


class Lines:
    """A stream of some other library, that can be read either way."""

    def __init__(self, chunks: list[Any]) -> None:
        self._chunks = iter(chunks)

    def __iter__(self) -> Iterator[Any]:
        return self._chunks

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._chunks)
        except StopIteration:
            raise StopAsyncIteration from None

    def close(self) -> None:
        pass


DICTS = [step for step in CALLING if isinstance(step, dict)]


def tracked(run: Run) -> None:
    streams: list[Any] = [iter(DICTS), Lines(DICTS), iter(EVENTS)]
    if run.observed:
        streams = [SyncStreamingToolCallTracker(stream) for stream in streams]
    for stream in streams:
        run.see_all(stream)


def tracked_async(run: Run) -> None:
    async def chunks() -> Any:
        for one in DICTS:
            yield one

    streams: list[Any] = [chunks(), Lines(DICTS)]
    if run.observed:
        streams = [StreamingToolCallTracker(stream) for stream in streams]
    for stream in streams:
        run.wait(run.see_all_async(stream))


class LinesClosedLater(Lines):
    async def close(self) -> None:  # type: ignore[override]
        pass


class OtherClient:
    """A client of another library."""

    def __init__(self, create: Callable[..., Any]) -> None:
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=create))


def of_another_library(run: Run, create: Callable[..., Any], **options: Any) -> Callable[[], Any]:
    client: Any = OtherClient(create)
    if run.observed:
        client = intercept_llm_requests(client, **run.seen.providers, **options)
    return lambda: client.chat.completions.create(**REQUEST, stream=True)


def either_way(run: Run, **options: Any) -> None:
    """A stream that can be read either way."""
    create = of_another_library(run, lambda **_: Lines(DICTS), **options)
    run.see_all(create())
    run.see(next(iter(create())))
    run.wait(run.see_all_async(create()))
    create().close()


def either_way_closed_later(run: Run) -> None:
    create = of_another_library(run, lambda **_: LinesClosedLater(DICTS))
    run.wait(create().close())
    run.wait(create().close())


def awaitable(run: Run) -> None:
    """A plain function that gives a coroutine."""

    async def later() -> Any:
        return Lines(DICTS)

    create = of_another_library(run, lambda **_: later())
    run.wait(run.see_all_async(run.wait(create())))


def behind_another_library(run: Run) -> None:
    """The SDK's stream is read by the stream of another library."""
    create = run.client.chat.completions.create

    class Around:
        def __init__(self, stream: Any) -> None:
            self._stream = stream
            self.response = stream.response

        def __iter__(self) -> Iterator[Any]:
            yield from self._stream

        def close(self) -> None:
            self._stream.close()

    run.answer(CALLING, CALLING)
    around = of_another_library(run, lambda **kwargs: Around(create(**kwargs)))
    run.see_all(around())
    stream = around()
    run.see(next(iter(stream)))
    stream.close()


SCENARIOS = [
    *(
        Scenario.of(play, by="itself")
        for play in (tracked, tracked_async, either_way_closed_later, awaitable, behind_another_library, either_way)
    ),
]
