"""Other libraries put a proxy of their own around the SDK's stream, under ours: all of the stream is seen."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import wrapt
from openai.resources.chat.completions import AsyncCompletions, Completions
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as OfficialInstrumentor

from callers import SyncCaller
from otel_llm import intercept_llm_requests
from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, tool_call_chunks
from seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

BROKEN = [*tool_call_chunks("made_up", '{"title": '), chunk(finish_reason="stop"), DONE]
WRONG = {"finish_reason_mismatch", "unknown_tool", "invalid_json"}


class OneByOne(wrapt.ObjectProxy):  # type: ignore[misc, type-arg, unused-ignore]
    """Reads a chunk when it is asked for one."""

    def __iter__(self) -> Any:
        yield from self.__wrapped__

    async def __aiter__(self) -> Any:
        async for one in self.__wrapped__:
            yield one


class Ahead(OneByOne):
    """Hands a chunk on when it has the next one, or knows that there is none."""

    def __iter__(self) -> Any:
        held = []
        for one in self.__wrapped__:
            yield from held
            held = [one]
        yield from held

    async def __aiter__(self) -> Any:
        held = []
        async for one in self.__wrapped__:
            for kept in held:
                yield kept
            held = [one]
        for kept in held:
            yield kept


class Elsewhere(OneByOne):
    """Has a thread or a task of its own that reads."""

    def __iter__(self) -> Any:
        pipe: queue.Queue[Any] = queue.Queue()
        reader = threading.Thread(target=lambda: [pipe.put(one) for one in [*self.__wrapped__, None]])
        reader.start()
        reader.join()
        yield from iter(pipe.get, None)

    async def __aiter__(self) -> Any:
        async def read() -> list[Any]:
            return [one async for one in self.__wrapped__]

        for one in await asyncio.create_task(read()):
            yield one


class AllAtOnce(OneByOne):
    """Has read all of it before the loop begins."""

    def __iter__(self) -> Any:
        return iter(list(self.__wrapped__))


class Cutting(OneByOne):
    """Closes the stream after two chunks, and says that it is over."""

    def __iter__(self) -> Any:
        yield from [one for one, _ in zip(self.__wrapped__, range(2), strict=False)]
        self.__wrapped__.close()

    async def __aiter__(self) -> Any:
        count = 0
        async for one in self.__wrapped__:
            yield one
            count += 1
            if count == 2:
                await self.__wrapped__.close()
                return


def _wrap(proxy: type, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return proxy(wrapped(*args, **kwargs))

    async def create_async(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return proxy(await wrapped(*args, **kwargs))

    monkeypatch.setattr(Completions, "create", wrapt.FunctionWrapper(Completions.create, create))
    monkeypatch.setattr(AsyncCompletions, "create", wrapt.FunctionWrapper(AsyncCompletions.create, create_async))


@pytest.fixture(params=[OneByOne, Ahead, None], ids=["one by one", "ahead", "official"])
def wrapped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param is not None:
        _wrap(request.param, monkeypatch)
        yield
        return
    official = OfficialInstrumentor()
    official.instrument()
    yield
    official.uninstrument()


@pytest.mark.usefixtures("wrapped")
async def test_read_to_its_end(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument()
    caller = connect(serve(*BROKEN))
    chunks = await caller.read(await caller.stream())
    assert seen.attributes["otel_llm.stream.outcome"] == "completed"
    assert seen.attributes["otel_llm.stream.chunk_count"] == len(chunks) == len(BROKEN) - 1
    assert set(seen.anomalies) == WRONG


@pytest.mark.parametrize("proxy", [Elsewhere, AllAtOnce])
@pytest.mark.parametrize("tags", [None, "openai"])
async def test_read_to_its_end_in_another_way(
    instrument: Callable[..., Seen],
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    proxy: type,
    tags: str | None,
) -> None:
    _wrap(proxy, monkeypatch)
    seen = instrument(tool_call_tags=tags)
    caller = connect(serve(*BROKEN))
    chunks = await caller.read(await caller.stream())
    assert seen.attributes["otel_llm.stream.outcome"] == "completed"
    assert seen.attributes["otel_llm.stream.chunk_count"] == len(chunks) == len(BROKEN) - 1
    assert set(seen.anomalies) == WRONG


async def test_the_server_is_not_accused_of_what_a_wrapper_cut(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wrap(Cutting, monkeypatch)
    seen = instrument()
    caller = connect(serve(*BROKEN))
    await caller.read(await caller.stream())
    assert seen.attributes["otel_llm.stream.outcome"] == "closed"
    assert set(seen.anomalies) <= {"unknown_tool"}


@pytest.mark.usefixtures("wrapped")
async def test_read_in_a_block(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument()
    caller = connect(serve(*BROKEN))
    await caller.read_in_block(await caller.stream())
    assert seen.attributes["otel_llm.stream.outcome"] == "completed"
    assert set(seen.anomalies) == WRONG


@pytest.mark.usefixtures("wrapped")
async def test_closed_in_the_middle(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument()
    caller = connect(serve(*BROKEN))
    stream = await caller.stream()
    await caller.read(stream, 2)
    await caller.close(stream)
    assert seen.attributes["otel_llm.stream.outcome"] == "closed"
    assert seen.attributes["otel_llm.stream.chunk_count"] == 2
    assert set(seen.anomalies) == {"unknown_tool"}


@pytest.mark.usefixtures("wrapped")
async def test_the_response_closed_past_the_stream(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    seen = instrument()
    caller = connect(serve(*BROKEN))
    stream = await caller.stream()
    await caller.read(stream, 2)
    await caller.result(stream.response.close() if isinstance(stream, openai.Stream) else stream.response.aclose())
    assert seen.attributes["otel_llm.stream.outcome"] == "closed"


@pytest.mark.usefixtures("wrapped")
async def test_of_one_client(serve: Serve, connect: Connect) -> None:
    seen = Seen()
    caller = connect(serve(*BROKEN))
    intercept_llm_requests(caller.client, **seen.providers)
    await caller.read(await caller.stream())
    assert seen.attributes["otel_llm.stream.outcome"] == "completed"
    assert set(seen.anomalies) == WRONG
