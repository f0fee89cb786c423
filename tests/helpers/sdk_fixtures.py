"""The fixtures that the tests of each SDK share: callers, and its instrumentor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from otel_llm.demo.scripted_server import ScriptedServer
from tests.helpers.seen import Seen


def connecting(sync: type[Any], asynchronous: type[Any], *, close: str = "close") -> Any:
    """A fixture `connect`, for each kind of caller: `connect(server, **options)`. `close`: the caller's method."""

    @pytest.fixture(name="connect", params=[sync, asynchronous], ids=["sync", "async"])
    async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
        made: list[Any] = []

        def start(server: ScriptedServer, **options: Any) -> Any:
            made.append(request.param(server, **options))
            return made[-1]

        yield start
        for caller in made:
            await getattr(caller, close)()

    return connect


def instrumenting(kind: type[Any]) -> Any:
    """A fixture `instrument`: `instrument(**options)` instruments the SDK, to the end of the test."""

    @pytest.fixture(name="instrument")
    def instrument(seen: Seen) -> Iterator[Callable[..., Seen]]:
        instrumentor = kind()

        def start(**options: Any) -> Seen:
            instrumentor.instrument(**seen.providers, **options)
            return seen

        yield start
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()

    return instrument
