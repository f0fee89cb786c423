"""Another library's proxy around the SDK's stream, inside the tracker: the whole stream is observed."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

import openai
import pytest
import wrapt
from openai.resources.chat.completions import AsyncCompletions, Completions
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as OfficialInstrumentor

from otel_llm import intercept_llm_requests
from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, tool_call_chunks
from tests.helpers.callers import REQUEST, SyncCaller
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]
BreakScanner = Callable[[str], None]

BROKEN = [*tool_call_chunks("made_up", '{"title": '), chunk(finish_reason="stop"), DONE]
WRONG = {"finish_reason_mismatch", "unknown_tool", "invalid_json"}


class OneByOne(wrapt.ObjectProxy):  # type: ignore[misc, type-arg, unused-ignore]
    """Reads one chunk at a time."""

    def __iter__(self) -> Any:
        yield from self.__wrapped__

    async def __aiter__(self) -> Any:
        async for one in self.__wrapped__:
            yield one


class Ahead(OneByOne):
    """Reads one chunk ahead."""

    def __iter__(self) -> Any:
        held: list[Any] = []
        for one in self.__wrapped__:
            yield from held
            held = [one]
        yield from held

    async def __aiter__(self) -> Any:
        held: list[Any] = []
        async for one in self.__wrapped__:
            for kept in held:
                yield kept
            held = [one]
        for kept in held:
            yield kept


class Elsewhere(OneByOne):
    """Reads in a thread or a task of its own."""

    def __iter__(self) -> Any:
        pipe: queue.Queue[Any] = queue.Queue()

        def read() -> None:
            for one in [*self.__wrapped__, None]:
                pipe.put(one)

        reader = threading.Thread(target=read)
        reader.start()
        reader.join()
        yield from iter(pipe.get, None)

    async def __aiter__(self) -> Any:
        async def read() -> list[Any]:
            return [one async for one in self.__wrapped__]

        for one in await asyncio.create_task(read()):
            yield one


class AllAtOnce(OneByOne):
    """Reads the whole stream before the loop starts."""

    def __iter__(self) -> Any:
        return iter(list(self.__wrapped__))


class Cutting(OneByOne):
    """Closes the stream after two chunks, and then ends normally."""

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


def _wrap(proxy: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_stream_that_a_proxy_cuts_short_is_no_fault_of_the_server(
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
async def test_the_response_is_closed_instead_of_the_stream(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    seen = instrument()
    caller = connect(serve(*BROKEN))
    stream = await caller.stream()
    await caller.read(stream, 2)
    response: Any = stream.response
    await caller.result(response.close() if isinstance(stream, openai.Stream) else response.aclose())
    assert seen.attributes["otel_llm.stream.outcome"] == "closed"


@pytest.mark.usefixtures("wrapped")
async def test_of_one_client(serve: Serve, connect: Connect) -> None:
    seen = Seen()
    caller = connect(serve(*BROKEN))
    intercept_llm_requests(caller.client, **seen.providers)
    await caller.read(await caller.stream())
    assert seen.attributes["otel_llm.stream.outcome"] == "completed"
    assert set(seen.anomalies) == WRONG


# -- with tool calls rewritten --


class RaisesOnce(wrapt.ObjectProxy):  # type: ignore[misc, type-arg, unused-ignore]
    """Raises at the third read, and continues with the next."""

    _self_reads = 0

    def _count_read(self) -> None:
        self._self_reads += 1
        if self._self_reads == 3:
            raise TimeoutError("read again")


class SyncRaisesOnce(RaisesOnce):
    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        self._count_read()
        return next(self.__wrapped__)


class AsyncRaisesOnce(RaisesOnce):
    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        self._count_read()
        return await self.__wrapped__.__anext__()


class RaisesOnceInALoop(RaisesOnce):
    """The same in a generator: the error ends the loop, and a new loop continues."""

    def __iter__(self) -> Any:
        for one in self.__wrapped__:
            yield one
            self._count_read()

    async def __aiter__(self) -> Any:
        async for one in self.__wrapped__:
            yield one
            self._count_read()


class Opaque:
    """Hides the stream that it reads, so it cannot be seen whether an error ended that."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __aiter__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.stream)

    async def __anext__(self) -> Any:
        return await self.stream.__anext__()


class OpaqueRaisesOnce(Opaque):
    def __init__(self, stream: Any) -> None:
        super().__init__((AsyncRaisesOnce if hasattr(stream, "__anext__") else SyncRaisesOnce)(stream))


def _raises_once(stream: Any) -> Any:
    return (AsyncRaisesOnce if hasattr(stream, "__anext__") else SyncRaisesOnce)(stream)


async def _read_on(caller: SyncCaller, stream: Any) -> list[str]:
    """The text of a stream, its calls, and `!` where it raised."""
    pieces: list[str] = []
    while True:
        try:
            (one,) = await caller.read(stream, 1) or (None,)
        except TimeoutError:
            pieces.append("!")
            continue
        if one is None:
            return pieces
        delta = one.choices[0].delta
        pieces += [f"{call.function.name or ''}{call.function.arguments or ''}" for call in delta.tool_calls or ()]
        if delta.content:
            pieces.append(delta.content)


CALL = ["so ", "<tool_", 'call>{"name": "add_task", "argu', 'ments": {"title": "a"}}</tool_call>', "done"]


def _steps_of(pieces: list[str]) -> list[Any]:
    return [*(chunk({"content": piece}) for piece in pieces), chunk(finish_reason="stop"), DONE]


@pytest.mark.parametrize("proxy", [_raises_once, RaisesOnceInALoop, OpaqueRaisesOnce])
async def test_a_stream_continues_after_an_error(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, proxy: Any
) -> None:
    _wrap(proxy, monkeypatch)
    instrument(tool_call_tags="openai")
    caller = connect(serve(*_steps_of(["a0 ", "a1 ", "a2 ", "a3 "])))
    pieces = await _read_on(caller, await caller.stream())
    assert "".join(pieces).replace("!", "") == "a0 a1 a2 a3 "
    assert pieces.count("!") == 1


async def test_an_error_tears_no_call(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wrap(_raises_once, monkeypatch)
    instrument(tool_call_tags="openai")
    caller = connect(serve(*_steps_of(CALL)))
    pieces = await _read_on(caller, await caller.stream())
    assert pieces[:2] == ["so ", "!"]
    assert "".join(pieces[2:]) == 'add_task{"title": "a"}done'


async def test_an_opaque_stream_loses_no_text(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wrap(OpaqueRaisesOnce, monkeypatch)
    instrument(tool_call_tags="openai")
    caller = connect(serve(*_steps_of(["so ", "<tool_", "box> is ", "<text>"])))
    pieces = await _read_on(caller, await caller.stream())
    assert pieces == ["so ", "<tool_", "!", "box> is ", "<text>"]


@pytest.mark.swallows("tag rewriting")
async def test_a_fault_after_an_error_repeats_no_text(
    instrument: Callable[..., Seen],
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    break_scanner: BreakScanner,
) -> None:
    _wrap(OpaqueRaisesOnce, monkeypatch)
    instrument(tool_call_tags="openai")
    break_scanner("call>")
    caller = connect(serve(*_steps_of(CALL)))
    pieces = await _read_on(caller, await caller.stream())
    assert "".join(pieces).replace("!", "") == "".join(CALL)


@pytest.mark.parametrize("proxy", [OneByOne, Ahead, Opaque])
async def test_a_stream_that_can_be_read_either_way_is_rewritten(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, proxy: type
) -> None:
    _wrap(proxy, monkeypatch)
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*_steps_of(CALL)))
    stream = await caller.stream()
    chunks = await caller.read(stream)
    deltas = [delta for one in chunks for delta in one.choices[0].delta.tool_calls or ()]
    assert "".join(delta.function.arguments for delta in deltas) == '{"title": "a"}'
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "so done"
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1
    assert seen.anomalies == []


async def test_the_sdks_own_stream_is_under_the_tracker(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="openai")
    caller = connect(serve(*_steps_of(CALL)))
    stream = await caller.stream()
    assert type(stream._stream) is caller.stream_class
    await caller.close(stream)


async def test_a_copy_is_rewritten_too(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*_steps_of(CALL)))
    chunks = await caller.read(copy(await caller.stream()))
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "so done"
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1
    assert seen.outcome == "completed"


async def test_a_loop_closed_by_itself_leaves_the_stream_open(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*_steps_of(CALL)))
    stream = await caller.stream()
    loop: Any = aiter(stream) if isinstance(stream, openai.AsyncStream) else iter(stream)
    first = await caller.result(anext(loop) if isinstance(stream, openai.AsyncStream) else next(loop))
    await caller.result(loop.aclose() if isinstance(stream, openai.AsyncStream) else loop.close())
    assert seen.spans == []
    chunks = [first, *await caller.read(stream)]
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "so done"
    assert seen.outcome == "completed"


def test_next_of_such_a_stream_is_rewritten(
    instrument: Callable[..., Seen], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wrap(Opaque, monkeypatch)
    instrument(tool_call_tags="openai")
    stream: Any = SyncCaller(serve(*_steps_of(CALL)).base_url).client.chat.completions.create(**REQUEST, stream=True)
    pieces = []
    while (one := next(stream, None)) is not None:
        pieces.append(one.choices[0].delta.content or "")
    assert "".join(pieces) == "so done"
