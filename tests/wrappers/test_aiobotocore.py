"""Bedrock's Converse API through aiobotocore, which needs a botocore of its own, so a nox session runs this."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError

from otel_llm import BedrockInstrumentor, intercept_llm_requests
from otel_llm.demo.scripted_converse import converse_events, event, response, text_block, tool_use
from otel_llm.demo.scripted_server import Answer, ScriptedServer, Sleep
from tests.helpers.seen import Seen

session = pytest.importorskip("aiobotocore.session")

Serve = Callable[..., ScriptedServer]

BLOCKS = (text_block("Sure."), tool_use("add_task", {"title": "a"}))
HEALTHY = converse_events(*BLOCKS)
REQUEST = {"modelId": "amazon.nova-pro-v1:0", "messages": [{"role": "user", "content": [{"text": "Add a task."}]}]}


@pytest.fixture
def instrumented(seen: Seen) -> Iterator[Seen]:
    BedrockInstrumentor().instrument(**seen.providers)
    yield seen
    BedrockInstrumentor().uninstrument()


@asynccontextmanager
async def client_of(server: ScriptedServer) -> AsyncIterator[Any]:
    keys = {"aws_access_key_id": "unused", "aws_secret_access_key": "unused", "region_name": "us-east-1"}
    url = server.base_url.removesuffix("/v1")
    async with session.get_session().create_client("bedrock-runtime", endpoint_url=url, **keys) as client:
        yield client


async def closed(stream: Any) -> None:
    closing = stream.close()
    if closing is not None:
        await closing


def tells_the_story(seen: Seen) -> None:
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == '{"title": "a"}'
    assert seen.attributes["gen_ai.provider.name"] == "aws.bedrock"
    # The request declares no tools.
    assert seen.anomalies == ["unknown_tool"]


async def test_a_stream(serve: Serve, seen: Seen) -> None:
    async with client_of(serve(*HEALTHY)) as client:
        bare = [one async for one in (await client.converse_stream(**REQUEST))["stream"]]
        BedrockInstrumentor().instrument(**seen.providers)
        try:
            result = await client.converse_stream(**REQUEST)
            assert isinstance(result["stream"], EventStream)
            assert [one async for one in result["stream"]] == bare
        finally:
            BedrockInstrumentor().uninstrument()
    assert seen.outcome == "completed"
    tells_the_story(seen)


async def test_a_whole_response(serve: Serve, instrumented: Seen) -> None:
    async with client_of(serve(Answer(response(*BLOCKS)))) as client:
        assert (await client.converse(**REQUEST))["stopReason"] == "tool_use"
    tells_the_story(instrumented)


async def test_a_stream_that_is_closed(serve: Serve, instrumented: Seen) -> None:
    async with client_of(serve(*HEALTHY, Sleep(5))) as client:
        stream = (await client.converse_stream(**REQUEST))["stream"]
        async for _ in stream:
            break
        await closed(stream)
    assert instrumented.outcome == "closed"


async def test_an_exception_in_the_stream(serve: Serve, instrumented: Seen) -> None:
    broken = event({"modelStreamErrorException": {"message": "lost"}})
    async with client_of(serve(*HEALTHY[:4], broken)) as client:
        with pytest.raises(EventStreamError, match="lost"):
            [one async for one in (await client.converse_stream(**REQUEST))["stream"]]
    assert instrumented.outcome == "error"


async def test_a_task_that_is_cancelled(serve: Serve, instrumented: Seen) -> None:
    started = asyncio.Event()

    async def read() -> None:
        async with client_of(serve(*HEALTHY[:3], Sleep(30))) as client:
            stream = (await client.converse_stream(**REQUEST))["stream"]
            try:
                async for _ in stream:
                    started.set()
            finally:
                # aiobotocore leaves the connection open, with or without the instrumentation.
                await closed(stream)

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert instrumented.outcome == "cancelled"


async def test_one_client(serve: Serve, seen: Seen) -> None:
    async with client_of(serve(*HEALTHY)) as client:
        assert intercept_llm_requests(client, **seen.providers) is client
        assert [one async for one in (await client.converse_stream(**REQUEST))["stream"]]
    tells_the_story(seen)
