"""The test cases of the original specification: a tracker used on its own, around mock streams."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import psutil
import pytest

from otel_llm import StreamingToolCallTracker, intercept_llm_requests

STREAM_LINES = "[LLM STREAM]"


def chunk(finish_reason: str | None = None, **delta: Any) -> Any:
    fields = {"content": None, "tool_calls": None, "function_call": None, **delta}
    choice = SimpleNamespace(index=0, delta=SimpleNamespace(**fields), finish_reason=finish_reason)
    return SimpleNamespace(choices=[choice], usage=None, id="chunk", model="llama-3.3-70b")


def call_chunk(index: int, name: str | None = None, args: str | None = None, call_id: str | None = None) -> Any:
    function = SimpleNamespace(name=name, arguments=args)
    return chunk(tool_calls=[SimpleNamespace(index=index, id=call_id, type="function", function=function)])


class MockStream:
    """A stream of no SDK."""

    def __init__(self, *chunks: Any, response: Any = None) -> None:
        self._chunks = iter(chunks)
        self.response = response
        self.closed = False

    def __aiter__(self) -> MockStream:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._chunks)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.closed = True


async def collect(stream: Any) -> list[Any]:
    return [item async for item in stream]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, "otel_llm")
    return lambda: [record.getMessage() for record in caplog.records]


# 1. The class -------------------------------------------------------------------------------------------------


async def test_wrapper_is_transparent() -> None:
    chunks = [call_chunk(0, "add_task", ""), call_chunk(0, args="{}"), chunk("tool_calls")]
    assert await collect(StreamingToolCallTracker(MockStream(*chunks))) == await collect(MockStream(*chunks))


@pytest.mark.parametrize("name", ["__aiter__", "__anext__", "aclose", "__aenter__", "__aexit__", "response"])
def test_stream_protocol(name: str) -> None:
    assert hasattr(StreamingToolCallTracker(MockStream()), name)


def test_tracking_begins_empty() -> None:
    tracker = StreamingToolCallTracker(MagicMock())
    assert tracker._tool_calls == {}
    assert tracker._has_content is False


# 2. Deltas ----------------------------------------------------------------------------------------------------


async def test_new_call(lines: Any) -> None:
    tracker = StreamingToolCallTracker(MockStream(call_chunk(0, "add_task")))
    await tracker.__anext__()
    assert tracker._tool_calls[0]["name"] == "add_task"
    assert lines() == [
        "[LLM STREAM] New tool call detected at index 0",
        "[LLM STREAM] Tool call [0] name: add_task",
    ]


async def test_arguments_accumulate() -> None:
    pieces = ['{"title"', ': "Test"', "}"]
    tracker = StreamingToolCallTracker(MockStream(*(call_chunk(0, args=piece) for piece in pieces)))
    for _ in pieces:
        await tracker.__anext__()
    assert tracker._tool_calls[0]["arguments"] == '{"title": "Test"}'


async def test_several_calls() -> None:
    tracker = StreamingToolCallTracker(MockStream(call_chunk(0, "add_task"), call_chunk(1, "list_tasks")))
    await tracker.__anext__()
    await tracker.__anext__()
    assert [call["name"] for call in tracker._tool_calls.values()] == ["add_task", "list_tasks"]


# 3. Completion ------------------------------------------------------------------------------------------------


async def test_completion_is_logged(lines: Any) -> None:
    stream = MockStream(call_chunk(0, "add_task", '{"title":"Test"}', "call_1"), chunk("tool_calls"))
    await collect(StreamingToolCallTracker(stream))
    assert lines()[2:] == [
        "[LLM STREAM] Finish reason: tool_calls",
        "[LLM STREAM] Tool calls completed: 1",
        '  [0] add_task(id=call_1) args={"title":"Test"}',
    ]


async def test_text_only_is_logged(lines: Any) -> None:
    tracker = StreamingToolCallTracker(MockStream(chunk(content="Hello"), chunk("stop")))
    await collect(tracker)
    assert tracker._has_content is True
    assert lines() == [
        "[LLM STREAM] Text content started",
        "[LLM STREAM] Finish reason: stop",
        "[LLM STREAM] Response was text-only (no tool calls)",
    ]


async def test_long_arguments_are_cut(lines: Any) -> None:
    arguments = '{"description": "' + "x" * 500 + '"}'
    await collect(StreamingToolCallTracker(MockStream(call_chunk(0, "add_task", arguments), chunk("tool_calls"))))
    assert lines()[4] == f"  [0] add_task(id=None) args={arguments[:200]}"


# 4. intercept_llm_requests ------------------------------------------------------------------------------------


def mock_client(result: Any) -> Any:
    client = MagicMock()
    client.chat.completions.create = AsyncMock(return_value=result)
    return client


async def test_streaming_request_is_wrapped() -> None:
    stream = MockStream(chunk("stop"))
    client = intercept_llm_requests(mock_client(stream))
    response = await client.chat.completions.create(
        model="llama-3.3-70b",
        messages=[{"role": "user", "content": "test"}],
        tools=[{"function": {"name": "add_task"}}],
        stream=True,
    )
    assert isinstance(response, StreamingToolCallTracker)
    assert response._stream is stream


async def test_other_requests_are_logged_and_not_wrapped(lines: Any) -> None:
    message = SimpleNamespace(content="hello", tool_calls=None, function_call=None)
    choice = SimpleNamespace(index=0, message=message, finish_reason="stop")
    whole = SimpleNamespace(choices=[choice], usage=None, id="r", model="m")
    client = intercept_llm_requests(mock_client(whole))
    response = await client.chat.completions.create(model="llama-3.3-70b", messages=[], stream=False)
    assert response is whole
    assert lines() == [
        "[LLM REQUEST] stream=False",
        "[LLM RESPONSE] Text content started",
        "[LLM RESPONSE] Finish reason: stop",
        "[LLM RESPONSE] Response was text-only (no tool calls)",
    ]


async def test_request_parameters_are_logged(lines: Any) -> None:
    client = intercept_llm_requests(mock_client(MockStream()))
    await client.chat.completions.create(
        model="llama-3.3-70b",
        messages=[{"role": "user", "content": "create task"}],
        tools=[{"function": {"name": "add_task"}}, {"function": {"name": "list_tasks"}}],
        tool_choice="auto",
        stream=True,
    )
    assert lines()[:3] == ["[LLM REQUEST] stream=True", "[OK] Tools: ['add_task', 'list_tasks']", "Tool choice: auto"]


# 6. No disruption ---------------------------------------------------------------------------------------------


async def test_context_manager_closes_the_stream() -> None:
    stream = MockStream(chunk(content="a"), chunk("stop"))
    async with StreamingToolCallTracker(stream) as entered:
        assert isinstance(entered, StreamingToolCallTracker)
        assert len(await collect(entered)) == 2
    assert stream.closed


async def test_response_property() -> None:
    response = object()
    assert StreamingToolCallTracker(MockStream(response=response)).response is response


async def test_a_mock_that_only_iterates() -> None:
    stream = MagicMock()
    stream.__aiter__.return_value = [chunk(content="a"), chunk("stop")]
    assert len(await collect(StreamingToolCallTracker(stream))) == 2


async def test_tool_runs_after_streaming(lines: Any) -> None:
    tracker = StreamingToolCallTracker(
        MockStream(call_chunk(0, "add_task", '{"title": "Test"}', "call_1"), chunk("tool_calls"))
    )
    await collect(tracker)
    tools = {"add_task": lambda arguments: {"status": "created", "arguments": arguments}}
    call: Any = tracker._tool_calls[0]
    assert tools[call["name"]](call["arguments"])["status"] == "created"
    assert "[LLM STREAM] Tool call [0] name: add_task" in lines()


# 7. Cost: `make bench` measures time; these tests check what does not depend on the machine -----------------------


def long_stream() -> AsyncIterator[Any]:
    return MockStream(*(call_chunk(0, args="x") for _ in range(1000)))


async def test_memory_over_100_streams() -> None:
    for _ in range(10):
        await collect(StreamingToolCallTracker(long_stream()))
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(100):
        await collect(StreamingToolCallTracker(long_stream()))
    assert process.memory_info().rss - before < 5 * 1024 * 1024


async def test_a_stream_of_1000_chunks_is_watched_to_its_end() -> None:
    start = time.perf_counter()
    tracker = StreamingToolCallTracker(long_stream())
    assert len(await collect(tracker)) == 1000
    assert time.perf_counter() > start
    assert tracker._tool_calls[0]["arguments"] == "x" * 1000
