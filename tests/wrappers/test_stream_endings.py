"""However a stream ends, its span ends exactly once, and the caller sees what the bare SDK would show."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import aclosing, closing
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from opentelemetry.trace import StatusCode

from otel_llm import intercept_llm_requests
from otel_llm.config import read_config
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    ScriptedServer,
    Sleep,
    Step,
    chunk,
    error_event,
    tool_call_chunks,
)
from otel_llm.observation import Observation
from otel_llm.wrappers.stream import EitherWayTracker
from tests.helpers.callers import ADD_TASK, REQUEST, AsyncCaller, SyncCaller
from tests.helpers.sdk_versions import (
    DISCONNECTED,
    DISCONNECTION,
    TIMED_OUT,
    full_name,
    helpers,
    httpx,
    strict,
    survives_open_streams,
)
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

HEALTHY: list[Step] = [
    *tool_call_chunks("add_task", '{"title": "buy milk"}'),
    chunk(finish_reason="tool_calls"),
    DONE,
]
BEGINNING = HEALTHY[:3]
CHUNKS = len(HEALTHY) - 1


def ended_well(seen: Seen, outcome: str) -> None:
    assert seen.outcome == outcome
    assert seen.span.status.status_code is StatusCode.UNSET
    assert "error.type" not in seen.attributes


def ended_in_error(seen: Seen, error_type: str) -> None:
    assert seen.outcome == "error"
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.attributes["error.type"] == error_type


async def test_exhausted(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    chunks = await caller.read(await caller.stream())
    assert len(chunks) == CHUNKS
    ended_well(instrumented, "completed")
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == CHUNKS
    assert instrumented.anomalies == []


async def test_read_again_after_the_end(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    await caller.read(stream)
    assert await caller.read(stream) == []
    await caller.close(stream)
    ended_well(instrumented, "completed")


async def test_closed_before_the_end(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    await caller.read(stream, 2)
    await caller.close(stream)
    await caller.close(stream)
    ended_well(instrumented, "closed")
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == 2
    assert instrumented.anomalies == []
    assert instrumented.events("otel_llm.tool_call.completed") == []


async def test_break_inside_a_block(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    assert await caller.read_in_block(stream, 2) is stream
    ended_well(instrumented, "closed")


async def test_an_error_of_the_callers_inside_a_block(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    with pytest.raises(LookupError, match="mine"):
        await caller.read_in_block(stream, 2, LookupError("mine"))
    ended_well(instrumented, "closed")


async def test_break_outside_a_block(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    await caller.read(await caller.stream(), 2)
    gc.collect()
    ended_well(instrumented, "abandoned")
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == 2


async def test_read_on_after_a_break(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    first = await caller.read(stream, 2)
    rest = await caller.read(stream)
    assert len(first) + len(rest) == CHUNKS
    ended_well(instrumented, "completed")


async def test_closing_an_iterator_leaves_the_stream_open(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """`yield from stream` closes the iterator when the generator is closed, and `aclosing(aiter(stream))` does too."""
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    if isinstance(caller, AsyncCaller):
        async with aclosing(aiter(stream)) as chunks:
            await anext(chunks)
        assert [chunk async for chunk in chunks] == []
    else:
        with closing(iter(stream)) as chunks:
            next(chunks)
        assert list(chunks) == []
    assert instrumented.spans == []
    assert len(await caller.read(stream)) == CHUNKS - 1
    ended_well(instrumented, "completed")


async def test_an_error_thrown_into_an_iterator(instrumented: Seen, serve: Serve) -> None:
    caller = SyncCaller(serve(*HEALTHY).base_url)
    stream = await caller.stream()
    chunks = iter(stream)
    next(chunks)
    with pytest.raises(LookupError):
        chunks.throw(LookupError())
    assert len(await caller.read(stream)) == CHUNKS - 1
    ended_well(instrumented, "completed")
    await caller.close_client()


async def test_a_second_reader_is_refused(instrumented: Seen, serve: Serve) -> None:
    """The SDK's stream has one reader at a time. A second one gets an error, and the stream continues."""
    caller = AsyncCaller(serve(HEALTHY[0], Sleep(0.2), *HEALTHY[1:]).base_url)
    stream = await caller.stream()
    await anext(stream)
    came: Any
    refused: Any
    came, refused = await asyncio.gather(anext(stream), anext(stream), return_exceptions=True)
    assert isinstance(came, ChatCompletionChunk)
    assert isinstance(refused, RuntimeError)
    assert len(await caller.read(stream)) == CHUNKS - 2
    ended_well(instrumented, "completed")
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == CHUNKS
    await caller.close_client()


async def test_never_iterated(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    del stream
    gc.collect()
    ended_well(instrumented, "abandoned")
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == 0


async def test_garbage_collected_in_a_cycle(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    holder: dict[str, Any] = {"stream": await caller.stream()}
    holder["self"] = holder
    del holder
    gc.collect()
    ended_well(instrumented, "abandoned")


async def test_timed_out(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*BEGINNING, Sleep(5)), timeout=0.2)
    with pytest.raises(TIMED_OUT) as raised:
        await caller.read(await caller.stream())
    ended_in_error(instrumented, full_name(raised.value))
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == len(BEGINNING)
    assert instrumented.anomalies == []


@pytest.mark.parametrize("reset", [False, True], ids=["end of file", "reset"])
async def test_dropped_connection(instrumented: Seen, serve: Serve, connect: Connect, reset: bool) -> None:
    caller = connect(serve(*BEGINNING, Drop(reset)))
    with pytest.raises(DISCONNECTED) as raised:
        await caller.read(await caller.stream())
    ended_in_error(instrumented, full_name(raised.value))
    assert (instrumented.span.status.description or "").startswith(DISCONNECTION)
    assert instrumented.anomalies == []


async def test_error_event_in_the_stream(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*BEGINNING, error_event("the model crashed \ud83d"), DONE))
    with pytest.raises(openai.APIError, match="the model crashed"):
        await caller.read(await caller.stream())
    ended_in_error(instrumented, "openai.APIError")
    assert instrumented.span.status.description == r"the model crashed \ud83d"
    instrumented.encode()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_http_error_before_the_stream(
    instrumented: Seen, serve: Serve, connect: Connect, status: int, error: type[Exception]
) -> None:
    caller = connect(serve(Answer(error_event("no"), status=status)))
    with pytest.raises(error):
        await caller.stream()
    ended_in_error(instrumented, f"openai.{error.__name__}")


async def test_an_error_of_a_request_that_is_not_streamed(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(error_event("no"), status=400)))
    with pytest.raises(openai.BadRequestError):
        await caller.create()
    assert instrumented.span.status.status_code is StatusCode.ERROR
    assert instrumented.attributes["error.type"] == "openai.BadRequestError"
    of_streams = {"outcome", "chunk_count", "max_chunk_gap", "coalesced_delta_count", "time_to_first_tool_call"}
    assert of_streams.isdisjoint(key.removeprefix("otel_llm.stream.") for key in instrumented.attributes)
    assert instrumented.metric("otel_llm.stream.count") == []


async def test_retries_are_one_request(instrumented: Seen, connect: Connect) -> None:
    scripts: list[list[Step]] = [[Answer(error_event("busy"), status=429, headers={"retry-after-ms": "1"})], HEALTHY]
    with ScriptedServer(scripts) as server:
        caller = connect(server, max_retries=1)
        await caller.read(await caller.stream())
        assert len(server.requests) == 2
    ended_well(instrumented, "completed")


async def test_no_connection(instrumented: Seen, connect: Connect) -> None:
    with ScriptedServer([DONE]) as server:
        pass
    caller = connect(server)
    with pytest.raises(openai.APIConnectionError):
        await caller.stream()
    ended_in_error(instrumented, "openai.APIConnectionError")


async def test_invalid_json_in_the_stream(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*BEGINNING, b"data: {not json\n\n", DONE))
    with pytest.raises(ValueError, match="property name"):
        await caller.read(await caller.stream())
    ended_in_error(instrumented, "json.decoder.JSONDecodeError")


async def test_ended_by_the_server_without_done(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY[:-2]))
    await caller.read(await caller.stream())
    ended_well(instrumented, "completed")
    assert instrumented.anomalies == ["missing_finish_reason"]
    assert len(instrumented.events("otel_llm.tool_call.completed")) == 1


async def test_cancelled(instrumented: Seen, serve: Serve) -> None:
    caller = AsyncCaller(serve(*BEGINNING, Sleep(5)).base_url)
    stream = await caller.stream()
    reading = asyncio.create_task(caller.read(stream))
    while instrumented.spans == [] and stream._self_observation.recording.chunk_count < len(BEGINNING):
        await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    ended_well(instrumented, "cancelled")
    assert instrumented.anomalies == []
    await caller.close_client()


async def test_cancelled_before_the_response(instrumented: Seen, serve: Serve) -> None:
    caller = AsyncCaller(serve(Sleep(5), DONE).base_url)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(caller.stream(), 0.1)
    ended_well(instrumented, "cancelled")
    await caller.close_client()


def named(name: str, module: str) -> type[BaseException]:
    return type(name, (BaseException,), {"__module__": module})


# gevent and trio are recognized by name and need not be installed.
@pytest.mark.parametrize(
    "interruption",
    [KeyboardInterrupt, SystemExit, named("GreenletExit", "greenlet"), named("Cancelled", "trio._core._exceptions")],
)
def test_interrupted_from_outside(instrumented: Seen, interruption: type[BaseException]) -> None:
    from otel_llm import SyncStreamingToolCallTracker
    from otel_llm.config import Config
    from otel_llm.observation import Observation
    from otel_llm.protocol.request import ChatRequest
    from otel_llm.telemetry.handler import Telemetry
    from otel_llm.telemetry.provider import Server
    from otel_llm.telemetry.request_span import start_request_span

    def interrupted() -> Any:
        raise interruption
        yield

    request = ChatRequest(model="tiny", stream=True)
    span = start_request_span(Telemetry(Config(), **instrumented.providers), request, {}, Server("openai"))
    span.release()
    with pytest.raises(interruption):
        next(SyncStreamingToolCallTracker(interrupted(), Observation(Config(), request, span)))
    ended_well(instrumented, "cancelled")


async def test_ends_of_two_streams_do_not_mix(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    first, second = await caller.stream(), await caller.stream()
    await caller.read(second)
    await caller.close(first)
    outcomes = [(span.attributes or {})["otel_llm.stream.outcome"] for span in instrumented.spans]
    assert outcomes == ["completed", "closed"]


async def test_closed_through_the_helper(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """`chat.completions.stream()` closes the HTTP response, not the stream it reads."""
    caller = connect(serve(*HEALTHY))
    manager = helpers(caller.client).stream(**REQUEST | {"tools": [strict(ADD_TASK)]})
    entered = await caller.read_in_block(manager, 2)
    ended_well(instrumented, "closed")
    assert entered is not None


async def test_response_closed_by_the_caller(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    await caller.read(stream, 2)
    if isinstance(caller, AsyncCaller):
        await stream.response.aclose()
    else:
        stream.response.close()
    ended_well(instrumented, "closed")


@survives_open_streams
@pytest.mark.parametrize("before", [0, 1], ids=["first request", "a request before the provider was made"])
def test_open_at_exit(serve: Serve, before: int) -> None:
    """A stream that is open when the interpreter exits is ended before the provider shuts down."""
    program = f"""
        import openai
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
        from otel_llm import OpenAIInstrumentor, intercept_llm_requests
        for _ in range({before}):
            other = openai.OpenAI(api_key="unused", base_url={serve(*HEALTHY).base_url!r})
            intercept_llm_requests(other).chat.completions.create(model="tiny", messages=[], stream=True).close()
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
        OpenAIInstrumentor().instrument(tracer_provider=provider)
        client = openai.OpenAI(api_key="unused", base_url={serve(*HEALTHY).base_url!r})
        kept = client.chat.completions.create(model="tiny", messages=[], stream=True)
        next(kept)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
    )
    assert '"otel_llm.stream.outcome": "abandoned"' in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_child_leaves_its_parents_stream_alone(serve: Serve) -> None:
    """The child exits with the stream open; the parent closes it afterwards."""
    program = f"""
        import os
        import openai
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
        from otel_llm import OpenAIInstrumentor
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
        OpenAIInstrumentor().instrument(tracer_provider=provider)
        client = openai.OpenAI(api_key="unused", base_url={serve(*HEALTHY).base_url!r})
        kept = client.chat.completions.create(model="tiny", messages=[], stream=True)
        next(kept)
        if child := os.fork():
            os.waitpid(child, 0)
            kept.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
    )
    assert re.findall(r'"otel_llm.stream.outcome": "(\w+)"', done.stdout) == ["closed"]


async def test_collected_while_the_sdk_may_hold_a_lock(
    instrumented: Seen, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ending a span there could deadlock, so it is deferred."""
    from otel_llm import observation

    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    monkeypatch.setattr(observation, "_LOCKING", ("",))
    del stream
    gc.collect()
    assert instrumented.spans == []
    monkeypatch.undo()
    await caller.read(await caller.stream())
    outcomes = {(span.attributes or {})["otel_llm.stream.outcome"] for span in instrumented.spans}
    assert outcomes == {"abandoned", "completed"}


@pytest.mark.swallows("an error's message", "an error's type")
def test_an_error_whose_text_raises(seen: Seen) -> None:
    """An error whose text raises: the span still ends, and is no longer current."""

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Completions:
        def create(self, **_kwargs: Any) -> Any:
            raise Unspeakable

    client = intercept_llm_requests(SimpleNamespace(chat=SimpleNamespace(completions=Completions())), **seen.providers)
    with pytest.raises(Unspeakable):
        client.chat.completions.create(model="m", messages=[])
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.attributes["error.type"].endswith("Unspeakable")


# Closing that raises ------------------------------------------------------------------------------------------


class BrokenClose(Exception):
    """What a transport raises when it is closed."""


def breaking(closed: Any, error: BaseException) -> None:
    """Have an HTTP response, or its body, raise when it is closed for the first time."""

    def broken(name: str) -> Any:
        def raises() -> Any:
            del closed.close, closed.aclose
            raise error

        async def raises_later() -> Any:
            raises()

        return raises if name == "close" else raises_later

    closed.close, closed.aclose = broken("close"), broken("aclose")


async def close(caller: SyncCaller, stream: Any) -> None:
    await caller.read(stream, 2)
    await caller.close(stream)


async def leave_block(caller: SyncCaller, stream: Any) -> None:
    await caller.read_in_block(stream, 2)


async def leave_block_with_an_error(caller: SyncCaller, stream: Any) -> None:
    await caller.read_in_block(stream, 2, LookupError("mine"))


@pytest.mark.parametrize("leave", [close, leave_block, leave_block_with_an_error])
async def test_closing_raises(instrumented: Seen, serve: Serve, connect: Connect, leave: Any) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    breaking(stream.__wrapped__.response, BrokenClose("gone"))
    with pytest.raises(BrokenClose, match="gone"):
        await leave(caller, stream)
    ended_in_error(instrumented, full_name(BrokenClose()))
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == 2


async def test_closing_raises_after_the_end(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """The request was over and well."""
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    await caller.read(stream)
    breaking(stream.__wrapped__.response, BrokenClose("gone"))
    with pytest.raises(BrokenClose, match="gone"):
        await caller.close(stream)
    ended_well(instrumented, "completed")


async def test_closing_is_cancelled(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    breaking(stream.__wrapped__.response, asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await caller.close(stream)
    ended_well(instrumented, "cancelled")


async def test_a_block_that_raises_its_own_error_again(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    error = LookupError("mine")
    stream = await caller.stream()
    breaking(stream.__wrapped__.response, error)
    with pytest.raises(LookupError, match="mine"):
        await caller.read_in_block(stream, 2, error)
    ended_well(instrumented, "closed")


@pytest.mark.parametrize("method", ["close", "aclose"])
async def test_closing_a_stream_that_can_be_read_either_way_raises(method: str) -> None:
    class Either:
        def __iter__(self) -> Any:
            return iter(())

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            raise StopAsyncIteration

        async def close(self) -> None:
            raise BrokenClose("gone")

    observation = Observation(read_config(), None, None)
    with pytest.raises(BrokenClose, match="gone"):
        await getattr(EitherWayTracker(Either(), observation), method)()
    assert observation.recording.outcome == "error"


async def test_closing_the_body_raises(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """As `client.chat.completions.stream()` closes it."""
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    await caller.read(stream, 2)
    response = stream.response
    breaking(response.stream.__wrapped__, BrokenClose("gone"))
    with pytest.raises(BrokenClose, match="gone"):
        await (response.aclose() if isinstance(caller, AsyncCaller) else asyncio.to_thread(response.close))
    ended_in_error(instrumented, full_name(BrokenClose()))


# A body that is whole from the start --------------------------------------------------------------------------


def whole(connect: Connect) -> SyncCaller:
    """A caller whose transport gives the whole body at once, as those of recorded and mocked exchanges do."""
    text = "".join(f"data: {json.dumps(step)}\n\n" for step in HEALTHY[:-1]) + "data: [DONE]\n\n"

    def answer(_: Any) -> Any:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=text.encode())

    caller = connect(SimpleNamespace(base_url="http://127.0.0.1:1/v1"))
    client = httpx.AsyncClient if isinstance(caller, AsyncCaller) else httpx.Client
    caller.client = caller.client.with_options(http_client=client(transport=httpx.MockTransport(answer)))
    return caller


@pytest.mark.parametrize(("count", "outcome"), [(2, "closed"), (None, "completed")])
async def test_break_inside_a_block_over_a_whole_body(
    instrumented: Seen, connect: Connect, count: int | None, outcome: str
) -> None:
    caller = whole(connect)
    entered = await caller.read_in_block(
        helpers(caller.client).stream(**REQUEST | {"tools": [strict(ADD_TASK)]}), count
    )
    ended_well(instrumented, outcome)
    assert instrumented.anomalies == []
    del entered


async def test_the_response_of_a_whole_body_is_closed(instrumented: Seen, connect: Connect) -> None:
    caller = whole(connect)
    stream = await caller.stream()
    await caller.read(stream, 2)
    await caller.result(stream.response.aclose()) if isinstance(caller, AsyncCaller) else stream.response.close()
    ended_well(instrumented, "closed")
    assert {"close", "aclose"}.isdisjoint(vars(stream.response))


async def test_a_whole_body_that_is_dropped(instrumented: Seen, connect: Connect) -> None:
    caller = whole(connect)
    await caller.read(await caller.stream(), 2)
    gc.collect()
    ended_well(instrumented, "abandoned")
