"""Callers that take a response as bytes, as gateways do, get what the server sent, and the span describes it."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import brotli
import openai
import pytest
import zstandard
from openai.types.chat import ChatCompletionChunk as Chunk
from opentelemetry.trace import StatusCode

from otel_llm.demo.scripted_responses import function_call, response_events
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    ScriptedServer,
    Sleep,
    chunk,
    comment,
    completion,
    data,
    error_event,
    text,
    tool_call_chunks,
    usage_chunk,
)
from otel_llm.protocol.sse import EventReader
from tests.helpers.callers import REQUEST, RESPONSE_REQUEST, AsyncCaller, SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

CALL = tool_call_chunks("add_task", '{"title": "buy milk"}')
HEALTHY = [comment(), *CALL, chunk(finish_reason="tool_calls"), usage_chunk(3, 4), DONE]
EVENT_STREAM = {"content-type": "text/event-stream"}
WAYS = ["iter_lines", "iter_bytes", "iter_text", "read", "http_response.iter_raw", "http_response.iter_bytes"]


def body_of(steps: list[Any]) -> bytes:
    return b"".join(step if isinstance(step, bytes) else data(step) for step in steps)


@asynccontextmanager
async def streaming_response(caller: SyncCaller, **kwargs: Any) -> AsyncIterator[Any]:
    """`with_streaming_response.create(...)`, entered."""
    request = {**REQUEST, "stream": True, **kwargs}
    if isinstance(caller, AsyncCaller):
        async with caller.client.chat.completions.with_streaming_response.create(**request) as raw:
            yield raw
    else:
        with caller.client.chat.completions.with_streaming_response.create(**request) as raw:
            yield raw


async def pieces(caller: SyncCaller, raw: Any, way: str) -> AsyncIterator[Any]:
    """The pieces returned by one of WAYS."""
    owner, _, name = way.rpartition(".")
    if owner:
        raw, name = raw.http_response, f"a{name}" if isinstance(caller, AsyncCaller) else name
    if way == "read":
        yield await caller.result(raw.read())
    elif isinstance(caller, AsyncCaller):
        async for piece in getattr(raw, name)():
            yield piece
    else:
        for piece in getattr(raw, name)():
            yield piece


def joined(taken: list[Any], way: str) -> bytes:
    return "\n".join([*taken, ""]).encode() if way == "iter_lines" else b"".join(_bytes(one) for one in taken)


def _bytes(piece: Any) -> bytes:
    return piece.encode() if isinstance(piece, str) else piece


def has_the_call(seen: Seen) -> None:
    (completed,) = seen.events("otel_llm.tool_call.completed")
    attributes: Any = completed.attributes
    assert (attributes["gen_ai.tool.name"], attributes["gen_ai.tool.call.arguments"]) == (
        "add_task",
        '{"title": "buy milk"}',
    )
    assert seen.anomalies == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream(instrumented: Seen, serve: Serve, connect: Connect, way: str) -> None:
    caller = connect(serve(*HEALTHY))
    async with streaming_response(caller) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        taken = [piece async for piece in pieces(caller, raw, way)]
    assert joined(taken, way) == body_of(HEALTHY)
    assert instrumented.outcome == "completed"
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == len(HEALTHY) - 2
    assert instrumented.attributes["gen_ai.usage.output_tokens"] == 4
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    has_the_call(instrumented)
    assert [value for _, value in instrumented.metric("otel_llm.tool_call.count")] == [1]


async def test_events_are_logged_as_they_arrive(
    instrumented: Seen, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "otel_llm")
    caller = connect(serve(*CALL, chunk(finish_reason="tool_calls"), DONE))
    async with streaming_response(caller) as raw:
        lines = pieces(caller, raw, "iter_lines")
        await anext(lines)
        assert "New tool call detected at index 0" in caplog.text
        assert instrumented.spans == []
        async for _ in lines:
            pass
    has_the_call(instrumented)


async def test_a_raw_response(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    create = caller.client.chat.completions.with_raw_response.create
    response = (await caller.result(create(**REQUEST, stream=True))).http_response
    gc.collect()  # the raw response is collected
    if isinstance(caller, AsyncCaller):
        taken = [piece async for piece in response.aiter_bytes()]
    else:
        taken = list(response.iter_bytes())
    assert b"".join(taken) == body_of(HEALTHY)
    assert instrumented.outcome == "completed"
    has_the_call(instrumented)


async def test_a_response_that_is_dropped_unread(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    create = caller.client.chat.completions.with_raw_response.create
    response = (await caller.result(create(**REQUEST, stream=True))).http_response
    assert instrumented.spans == []
    del response
    gc.collect()
    assert instrumented.outcome == "abandoned"
    assert instrumented.anomalies == []


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("encoding", PACKED)
async def test_compressed(instrumented: Seen, serve: Serve, connect: Connect, encoding: str, streamed: bool) -> None:
    plain = body_of(HEALTHY) if streamed else json.dumps(completion(text("Hi"))).encode()
    packed = PACKED[encoding](plain)
    headers = {**(EVENT_STREAM if streamed else {}), "content-encoding": encoding}
    caller = connect(serve(Answer(packed, headers=headers)))
    async with streaming_response(caller, stream=streamed) as raw:
        assert b"".join([piece async for piece in pieces(caller, raw, "http_response.iter_raw")]) == packed
    if streamed:
        has_the_call(instrumented)
    else:
        assert instrumented.attributes["gen_ai.usage.output_tokens"] == 1


async def test_compressed_and_expanded(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    plain = body_of(HEALTHY)
    caller = connect(serve(Answer(gzip.compress(plain), headers={**EVENT_STREAM, "content-encoding": "gzip"})))
    async with streaming_response(caller) as raw:
        assert b"".join([piece async for piece in pieces(caller, raw, "iter_bytes")]) == plain
    has_the_call(instrumented)


BOMB = b"x" * 70_000_000


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("of-my-own", b"\x00not packed"),
        ("br", b"\xff\xff not packed"),
        *((encoding, PACKED[encoding](BOMB)) for encoding in ("gzip", "br", "zstd")),
    ],
    ids=["unknown", "damaged", "gzip bomb", "br bomb", "zstd bomb"],
)
async def test_an_undecodable_body_is_not_diagnosed(
    instrumented: Seen,
    serve: Serve,
    connect: Connect,
    encoding: str,
    packed: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caller = connect(serve(Answer(packed, headers={**EVENT_STREAM, "content-encoding": encoding})))
    async with streaming_response(caller) as raw:
        taken = [piece async for piece in pieces(caller, raw, "http_response.iter_raw")]
    assert b"".join(taken) == packed
    assert instrumented.outcome == "completed"
    assert instrumented.anomalies == []
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_reading_stops_early(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    async with streaming_response(caller) as raw:
        async for line in pieces(caller, raw, "iter_lines"):
            if "add_task" in line:
                break
    assert instrumented.outcome == "closed"
    assert [event.name for event in instrumented.events("otel_llm.tool_call.detected")]


async def test_a_connection_that_drops(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*CALL, Drop()))

    async def take() -> None:
        async with streaming_response(caller) as raw:
            async for _ in pieces(caller, raw, "iter_bytes"):
                pass

    with pytest.raises(Exception, match="incomplete chunked read") as bare:
        await take()
    assert instrumented.outcome == "error"
    assert instrumented.span.status.status_code is StatusCode.ERROR
    assert instrumented.attributes["error.type"].endswith(type(bare.value).__name__)
    assert instrumented.events("otel_llm.tool_call.detected")


async def test_a_gateway_whose_client_disconnects(instrumented: Seen, serve: Serve) -> None:
    caller = AsyncCaller(serve(*CALL, Sleep(60)).base_url)
    waits = asyncio.Event()

    async def forward() -> None:
        async with streaming_response(caller) as raw:
            async for piece in pieces(caller, raw, "iter_bytes"):
                if b"add_task" in piece:
                    waits.set()

    task = asyncio.create_task(forward())
    await asyncio.wait_for(waits.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await caller.close_client()
    assert instrumented.outcome == "cancelled"
    assert instrumented.events("otel_llm.tool_call.detected")


async def test_an_error_event(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*CALL, error_event("out of memory", type="overloaded"), DONE))
    async with streaming_response(caller) as raw:
        assert [line async for line in pieces(caller, raw, "iter_lines")]
    assert instrumented.outcome == "error"
    assert instrumented.span.status.description == "out of memory"
    assert instrumented.attributes["error.type"] == "overloaded"


async def test_an_event_that_is_not_json(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*CALL, b"data: {nonsense\n\n", *HEALTHY))
    async with streaming_response(caller) as raw:
        taken = [piece async for piece in pieces(caller, raw, "iter_bytes")]
    assert b"".join(taken).endswith(DONE)
    assert instrumented.outcome == "error"
    assert instrumented.attributes["error.type"] == "json.decoder.JSONDecodeError"


async def test_the_last_event_lacks_its_end(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*CALL, data(chunk(finish_reason="tool_calls")).rstrip()))
    async with streaming_response(caller) as raw:
        await anext(pieces(caller, raw, "read"))
    assert instrumented.outcome == "completed"
    has_the_call(instrumented)


async def test_a_document_in_answer_to_a_streamed_request(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(b"<html>", headers={"content-type": "text/html"})))
    async with streaming_response(caller) as raw:
        assert [piece async for piece in pieces(caller, raw, "iter_bytes")] == [b"<html>"]
    assert instrumented.outcome == "completed"
    assert instrumented.anomalies == []


async def taken_of(caller: SyncCaller, response: Any) -> bytes:
    """The bytes of an httpx response."""
    if isinstance(caller, AsyncCaller):
        return b"".join([piece async for piece in response.aiter_bytes()])
    return b"".join(response.iter_bytes())


@pytest.mark.parametrize("dropped", [False, True], ids=["stream kept", "stream dropped"])
async def test_the_response_of_a_stream(instrumented: Seen, serve: Serve, connect: Connect, dropped: bool) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    response = stream.response
    if dropped:
        del stream
        gc.collect()
    assert await taken_of(caller, response) == body_of(HEALTHY)
    assert instrumented.outcome == "completed"
    has_the_call(instrumented)


async def test_the_response_of_a_stream_read_in_part(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*CALL, Sleep(60)))
    stream = await caller.stream()
    response = stream.response
    del stream
    gc.collect()
    if isinstance(caller, AsyncCaller):
        await anext(response.aiter_bytes())
        await response.aclose()
    else:
        next(response.iter_bytes())
        response.close()
    assert instrumented.outcome == "closed"
    assert instrumented.events("otel_llm.tool_call.detected")


def test_a_stream_class_that_reads_the_bytes_itself(instrumented: Seen, serve: Serve) -> None:
    class Own(openai.Stream[Chunk]):
        lines: Iterator[str] | None = None

        def __next__(self) -> Any:
            self.lines = self.lines or self.response.iter_lines()
            return next(Chunk.model_validate_json(line[6:]) for line in self.lines if line.startswith("data: {"))

    request = {**REQUEST, "stream": True}
    with SyncCaller(serve(*HEALTHY).base_url).client.chat.completions.with_streaming_response.create(**request) as raw:
        stream = raw.parse(to=Own)
        assert all(type(next(stream)) is Chunk for _ in range(len(HEALTHY) - 2))
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == len(HEALTHY) - 2
    has_the_call(instrumented)


async def test_an_error_that_is_not_streamed(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    answer = {"error": {"message": "no such model", "code": "not_found"}}
    caller = connect(serve(Answer(answer)))
    async with streaming_response(caller) as raw:
        taken = [piece async for piece in pieces(caller, raw, "iter_bytes")]
    assert json.loads(b"".join(taken)) == answer
    assert instrumented.span.status.description == "no such model"
    assert instrumented.attributes["error.type"] == "not_found"


async def test_a_completion_that_is_not_streamed(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(b"\n" + json.dumps(completion(text("Hi"))).encode())))
    async with streaming_response(caller) as raw:
        assert b"Hi" in b"".join([piece async for piece in pieces(caller, raw, "iter_bytes")])
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert (instrumented.outcome, instrumented.anomalies) == (None, [])


async def test_a_long_error_message_is_cut(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*CALL, error_event("m" * 100_000, type="t" * 100_000)))
    async with streaming_response(caller) as raw:
        assert [piece async for piece in pieces(caller, raw, "iter_bytes")]
    assert instrumented.span.status.description == "m" * 1000
    assert instrumented.attributes["error.type"] == "t" * 256


async def test_a_document_is_released_once_it_was_read(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer({**completion(text("Hi")), "padding": "x" * 4_000_000})))
    tracemalloc.start()
    try:
        async with streaming_response(caller, stream=False) as raw:
            async for _ in pieces(caller, raw, "iter_bytes"):
                pass
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert raw.http_response.is_closed
    assert kept < 1_000_000
    assert len(instrumented.spans) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_whole_response(instrumented: Seen, serve: Serve, connect: Connect, way: str) -> None:
    answer = completion({"content": None, "tool_calls": [whole_call("{broken")]}, "tool_calls")
    caller = connect(serve(Answer(answer)))
    async with streaming_response(caller, stream=False) as raw:
        taken = [piece async for piece in pieces(caller, raw, way)]
    assert json.loads(joined(taken, way)) == answer
    assert instrumented.outcome is None
    assert instrumented.anomalies == ["invalid_json"]
    assert instrumented.attributes["gen_ai.usage.input_tokens"] == 1


async def test_a_whole_response_that_is_not_json(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(b"{", headers={"content-type": "text/html"})))
    async with streaming_response(caller, stream=False) as raw:
        assert [piece async for piece in pieces(caller, raw, "iter_bytes")] == [b"{"]
    assert (instrumented.outcome, instrumented.anomalies) == (None, [])


def whole_call(arguments: str) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "add_task", "arguments": arguments}}


@needs_responses
async def test_the_responses_api(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(function_call("add_task", '{"title": "buy milk"}'))))
    create = caller.client.responses.with_streaming_response.create
    if isinstance(caller, AsyncCaller):
        async with create(**RESPONSE_REQUEST, stream=True) as raw:
            assert [line async for line in raw.iter_lines()]
    else:
        with create(**RESPONSE_REQUEST, stream=True) as raw:
            assert list(raw.iter_lines())
    assert instrumented.outcome == "completed"
    has_the_call(instrumented)


@pytest.mark.swallows("a response's bytes")
async def test_a_fault_of_otel_llm_does_not_reach_the_caller(
    instrumented: Seen, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(EventReader, "feed", broken)
    caller = connect(serve(*HEALTHY))
    async with streaming_response(caller) as raw:
        taken = [piece async for piece in pieces(caller, raw, "iter_bytes")]
    assert b"".join(taken) == body_of(HEALTHY)
    assert (instrumented.outcome, instrumented.anomalies) == ("completed", [])
