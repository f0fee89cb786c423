"""Other libraries put a proxy of their own around the SDK's stream, under ours: all of the stream is seen."""

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
    """Reads a chunk when it is asked for one."""

    def __iter__(self) -> Any:
        yield from self.__wrapped__

    async def __aiter__(self) -> Any:
        async for one in self.__wrapped__:
            yield one


class Ahead(OneByOne):
    """Hands a chunk on when it has the next one, or knows that there is none."""

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
    """Has a thread or a task of its own that reads."""

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


class AsksAgain(wrapt.ObjectProxy):  # type: ignore[misc, type-arg, unused-ignore]
    """Reads when it is asked to, and gives up the third time, but may be asked again."""

    _self_asked = 0

    def _ask(self) -> None:
        self._self_asked += 1
        if self._self_asked == 3:
            raise TimeoutError("ask again")


class SyncAsksAgain(AsksAgain):
    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        self._ask()
        return next(self.__wrapped__)


class AsyncAsksAgain(AsksAgain):
    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        self._ask()
        return await self.__wrapped__.__anext__()


class AnewEachTime(AsksAgain):
    """The same, in loops of its own: each ends with what it raises, and the next goes on."""

    def __iter__(self) -> Any:
        for one in self.__wrapped__:
            yield one
            self._ask()

    async def __aiter__(self) -> Any:
        async for one in self.__wrapped__:
            yield one
            self._ask()


class Opaque:
    """Nobody can see what it reads: its own may be over when it raises, or not."""

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


class OpaqueAsksAgain(Opaque):
    def __init__(self, stream: Any) -> None:
        super().__init__((AsyncAsksAgain if hasattr(stream, "__anext__") else SyncAsksAgain)(stream))


def _asks_again(stream: Any) -> Any:
    return (AsyncAsksAgain if hasattr(stream, "__anext__") else SyncAsksAgain)(stream)


async def _read_on(caller: SyncCaller, stream: Any) -> list[str]:
    """All text of a stream and the calls in it, and where it was that it raised."""
    said: list[str] = []
    while True:
        try:
            (one,) = await caller.read(stream, 1) or (None,)
        except TimeoutError:
            said.append("!")
            continue
        if one is None:
            return said
        delta = one.choices[0].delta
        said += [f"{call.function.name or ''}{call.function.arguments or ''}" for call in delta.tool_calls or ()]
        if delta.content:
            said.append(delta.content)


CALL = ["so ", "<tool_", 'call>{"name": "add_task", "argu', 'ments": {"title": "a"}}</tool_call>', "done"]


def _said(pieces: list[str]) -> list[Any]:
    return [*(chunk({"content": piece}) for piece in pieces), chunk(finish_reason="stop"), DONE]


@pytest.mark.parametrize("proxy", [_asks_again, AnewEachTime, OpaqueAsksAgain])
async def test_what_raises_once_goes_on(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, proxy: Any
) -> None:
    _wrap(proxy, monkeypatch)
    instrument(tool_call_tags="openai")
    caller = connect(serve(*_said(["a0 ", "a1 ", "a2 ", "a3 "])))
    said = await _read_on(caller, await caller.stream())
    assert "".join(said).replace("!", "") == "a0 a1 a2 a3 "
    assert said.count("!") == 1


async def test_what_raises_once_tears_no_call(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wrap(_asks_again, monkeypatch)
    instrument(tool_call_tags="openai")
    caller = connect(serve(*_said(CALL)))
    said = await _read_on(caller, await caller.stream())
    assert said[:2] == ["so ", "!"]
    assert "".join(said[2:]) == 'add_task{"title": "a"}done'


async def test_what_nobody_can_see_through_loses_nothing(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wrap(OpaqueAsksAgain, monkeypatch)
    instrument(tool_call_tags="openai")
    caller = connect(serve(*_said(["so ", "<tool_", "box> is ", "<text>"])))
    said = await _read_on(caller, await caller.stream())
    assert said == ["so ", "<tool_", "!", "box> is ", "<text>"]


@pytest.mark.swallows("tag rewriting")
async def test_a_fault_behind_what_raised_gives_nothing_twice(
    instrument: Callable[..., Seen],
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    break_scanner: BreakScanner,
) -> None:
    _wrap(OpaqueAsksAgain, monkeypatch)
    instrument(tool_call_tags="openai")
    break_scanner("call>")
    caller = connect(serve(*_said(CALL)))
    said = await _read_on(caller, await caller.stream())
    assert "".join(said).replace("!", "") == "".join(CALL)


@pytest.mark.parametrize("proxy", [OneByOne, Ahead, Opaque])
async def test_what_is_read_either_way_is_rewritten(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, proxy: type
) -> None:
    _wrap(proxy, monkeypatch)
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*_said(CALL)))
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
    caller = connect(serve(*_said(CALL)))
    stream = await caller.stream()
    assert type(stream._stream) is caller.stream_class
    await caller.close(stream)


async def test_a_copy_is_rewritten_too(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*_said(CALL)))
    chunks = await caller.read(copy(await caller.stream()))
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "so done"
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1
    assert seen.outcome == "completed"


async def test_a_loop_closed_by_itself_leaves_the_stream_open(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*_said(CALL)))
    stream = await caller.stream()
    loop: Any = aiter(stream) if isinstance(stream, openai.AsyncStream) else iter(stream)
    first = await caller.result(anext(loop) if isinstance(stream, openai.AsyncStream) else next(loop))
    await caller.result(loop.aclose() if isinstance(stream, openai.AsyncStream) else loop.close())
    assert seen.spans == []
    chunks = [first, *await caller.read(stream)]
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "so done"
    assert seen.outcome == "completed"


def test_next_of_what_is_read_either_way_is_rewritten(
    instrument: Callable[..., Seen], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wrap(Opaque, monkeypatch)
    instrument(tool_call_tags="openai")
    stream: Any = SyncCaller(serve(*_said(CALL)).base_url).client.chat.completions.create(**REQUEST, stream=True)
    said = []
    while (one := next(stream, None)) is not None:
        said.append(one.choices[0].delta.content or "")
    assert "".join(said) == "so done"
