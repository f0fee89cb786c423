"""What holds for the streams of every SDK. `ask` makes a request and returns its stream, `read` also reads it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from otel_llm import intercept_llm_requests
from tests.helpers.seen import Seen


async def fails_alike(read: Callable[[], Awaitable[Any]], instrument: Callable[..., Seen], *, most: int = 400) -> None:
    """The error is the same under observation, in its first `most` characters, and the span tells it."""

    async def play() -> Exception:
        with pytest.raises(Exception) as raised:  # noqa: PT011
            await read()
        return raised.value

    bare = await play()
    seen = instrument()
    error = await play()
    assert (type(error), str(error)[:most]) == (type(bare), str(bare)[:most])
    assert seen.outcome == "error"
    assert not seen.span.status.is_ok
    assert seen.attributes["error.type"].endswith(type(error).__name__)


async def ends_alike(read: Callable[[], Awaitable[Any]], instrument: Callable[..., Seen]) -> None:
    """Whatever the SDK makes of a hostile stream, a value or an error, it makes under observation and rewriting."""

    async def play() -> Any:
        try:
            return await read()
        except Exception as error:
            return type(error), str(error)

    bare = await play()
    seen = instrument(tool_call_tags="openai")
    assert await play() == bare
    assert len(seen.spans) == 1
    seen.encode()


async def tells_of_a_cancelled_task(ask: Callable[[], Awaitable[Any]], seen: Seen) -> None:
    """`ask`: of an asynchronous client, at a server that goes on for long after the first part."""
    started = asyncio.Event()

    async def read() -> None:
        async for _ in await ask():
            started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen.outcome == "cancelled"


def tells_of_each_thread(read: Callable[[], object], seen: Seen) -> None:
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(span.attributes or {})["otel_llm.stream.outcome"] for span in seen.spans] == ["completed"] * 4


async def observes_one_client(
    caller: Any, other: Any, read: Callable[[Any], Awaitable[Any]], seen: Seen, tells: Callable[[Seen], None]
) -> None:
    """The client of `caller`, intercepted once or twice, and not that of `other`."""
    assert intercept_llm_requests(caller.client, **seen.providers) is caller.client
    assert intercept_llm_requests(caller.client) is caller.client
    await read(caller)
    tells(seen)
    await read(other)
    assert len(seen.spans) == 1
