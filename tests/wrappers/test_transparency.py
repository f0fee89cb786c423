"""The application sees what the bare SDK would show: the same types, chunks, order, laziness and results."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import pickle
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Iterator, Sized
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any
from unittest.mock import MagicMock, patch

import openai
import pytest
from openai.resources.chat.completions import Completions
from openai.types.chat import ChatCompletionChunk
from opentelemetry import trace
from pydantic import BaseModel, field_validator

from otel_llm import OpenAIInstrumentor, StreamingToolCallTracker, SyncStreamingToolCallTracker, intercept_llm_requests
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    ScriptedServer,
    chunk,
    comment,
    completion,
    text,
    tool_call_chunks,
    tool_call_delta,
    usage_chunk,
)
from tests.helpers.callers import ADD_TASK, MESSAGES, REQUEST, AsyncCaller, SyncCaller
from tests.helpers.sdk_versions import helpers, strict, takes_key_functions
from tests.helpers.seen import Seen, sum_of_delta_counts

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

CALL = tool_call_chunks("add_task", '{"title": "buy milk"}')
HEALTHY = [*CALL, chunk(finish_reason="tool_calls"), DONE]
CALLED = completion(
    {
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "add_task", "arguments": '{"title":"x"}'}}
        ],
    },
    "tool_calls",
)


def dump(chunks: list[Any]) -> list[Any]:
    return [chunk.model_dump() for chunk in chunks]


async def test_chunks_are_those_of_a_bare_sdk(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    steps = [comment(), chunk(text("Hi \u00e9\U0001f600")), *HEALTHY[:-1], usage_chunk(3, 4), DONE]
    caller = connect(serve(*steps))
    bare = await caller.read(await caller.stream())
    seen = instrument()
    watched = await caller.read(await caller.stream())
    assert dump(watched) == dump(bare)
    assert [type(chunk) for chunk in watched] == [type(chunk) for chunk in bare]
    assert seen.attributes["gen_ai.usage.input_tokens"] == 3
    assert seen.attributes["gen_ai.usage.output_tokens"] == 4


async def test_the_very_same_chunk_objects(connect: Connect, serve: Serve) -> None:
    caller = connect(serve(*HEALTHY))
    chunks = await caller.read(await caller.stream())
    tracker: Any
    if isinstance(caller, AsyncCaller):

        async def replay() -> Any:
            for item in chunks:
                yield item

        tracker = StreamingToolCallTracker(replay())
    else:
        tracker = SyncStreamingToolCallTracker(iter(chunks))
    watched = await caller.read(tracker)
    assert len(watched) == len(chunks)
    assert all(mine is theirs for mine, theirs in zip(watched, chunks, strict=True))


@pytest.mark.parametrize("steps", [0, 2], ids=["at once", "while it is read"])
async def test_the_iterator_of_a_stream_is_replaced(
    instrumented: Seen, serve: Serve, connect: Connect, steps: int
) -> None:
    """Other libraries do so to see the chunks. The stream then reads the replacement."""
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    for _ in range(steps):
        await (anext(stream) if isinstance(caller, AsyncCaller) else caller.result(next(stream)))
    theirs, seen = stream._iterator, []

    async def relay_async() -> Any:
        async for item in theirs:
            seen.append(item)
            yield item

    def relay() -> Iterator[Any]:
        for item in theirs:
            seen.append(item)
            yield item

    stream._iterator = relay_async() if isinstance(caller, AsyncCaller) else relay()
    first = await (anext(stream) if isinstance(caller, AsyncCaller) else caller.result(next(stream)))
    rest = await caller.read(stream)
    assert seen == [first, *rest]
    assert len(seen) == len(HEALTHY) - 1 - steps
    assert_one_call(instrumented)


def test_an_iterator_that_raises_once_and_goes_on() -> None:
    class Slow:
        reads = 0

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            self.reads += 1
            if self.reads == 2:
                raise TimeoutError
            if self.reads == 4:
                raise StopIteration
            return self.reads

    tracker = SyncStreamingToolCallTracker(Slow())
    chunks = iter(tracker)
    assert next(chunks) == 1
    with pytest.raises(TimeoutError):
        next(chunks)
    assert list(tracker) == [3]


def test_an_iterator_that_is_not_iterable() -> None:
    """An iterator without `__iter__`."""

    class Bare:
        def __init__(self) -> None:
            self._left = [1, 2]

        def __next__(self) -> int:
            if not self._left:
                raise StopIteration
            return self._left.pop()

    class Giving:
        def __iter__(self) -> Any:
            return Bare()

    assert list(SyncStreamingToolCallTracker(Giving())) == [2, 1]


async def test_types(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    tracker = StreamingToolCallTracker if isinstance(caller, AsyncCaller) else SyncStreamingToolCallTracker
    assert isinstance(stream, caller.stream_class)
    assert isinstance(stream, tracker)
    assert stream.response.status_code == 200
    assert stream._stream.response is stream.response
    assert type(stream._stream) is caller.stream_class
    await caller.close(stream)


async def test_a_coroutine_starts_nothing_before_it_is_awaited(instrumented: Seen) -> None:
    client = openai.AsyncOpenAI(api_key="unused", base_url="http://127.0.0.1:9/v1")
    pending = client.chat.completions.create(**REQUEST)
    assert inspect.iscoroutine(pending)
    pending.close()
    assert instrumented.spans == []
    await client.close()


async def test_a_missing_argument_raises_at_the_call(instrumented: Seen) -> None:
    client = openai.AsyncOpenAI(api_key="unused", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(TypeError, match="'messages'"):
        client.chat.completions.create(model="tiny")  # type: ignore[call-overload]  # what is tested
    assert instrumented.spans == []
    await client.close()


async def test_a_coroutine_that_is_never_awaited(instrumented: Seen) -> None:
    client = openai.AsyncOpenAI(api_key="unused", base_url="http://127.0.0.1:9/v1")
    with pytest.warns(RuntimeWarning) as warned:
        client.chat.completions.create(**REQUEST)  # type: ignore[unused-coroutine]  # what is tested
    assert [str(one.message) for one in warned] == ["coroutine 'AsyncCompletions.create' was never awaited"]
    assert instrumented.spans == []
    await client.close()


async def test_generator_arguments_are_not_consumed(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    server = serve(*HEALTHY)
    caller = connect(server)

    def once(items: list[Any]) -> Iterator[Any]:
        yield from items

    await caller.read(await caller.stream(messages=once(MESSAGES), tools=once([ADD_TASK])))
    (request,) = server.requests
    assert request.body["messages"] == MESSAGES
    assert request.body["tools"] == [ADD_TASK]
    assert instrumented.anomalies == []  # the tools were not read, so nothing is diagnosed by them


async def test_no_context_is_left_behind(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    tracer = instrumented.tracer_provider.get_tracer("application")
    with tracer.start_as_current_span("agent") as agent:
        stream = await caller.stream()
        assert trace.get_current_span() is agent
        await caller.read(stream, 2)
        with tracer.start_as_current_span("inner"):
            await caller.read(stream)
        assert trace.get_current_span() is agent
    parents = {span.name: span.parent and span.parent.span_id for span in instrumented.spans}
    assert parents == {
        "inner": agent.get_span_context().span_id,
        "chat tiny": agent.get_span_context().span_id,
        "agent": None,
    }


async def test_http_spans_are_children(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """While the request is sent, its span is current, so spans of the HTTP client are its children."""
    caller = connect(serve(*HEALTHY))
    current: list[Any] = []
    send = caller.client._client.send

    def spy(*args: Any, **kwargs: Any) -> Any:
        current.append(trace.get_current_span().get_span_context().span_id)
        return send(*args, **kwargs)

    caller.client._client.send = spy
    await caller.read(await caller.stream())
    assert instrumented.span.context is not None
    assert current == [instrumented.span.context.span_id]


# All methods of the SDK ---------------------------------------------------------------------------------------


def assert_one_call(seen: Seen) -> None:
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.name"] == "add_task"
    assert seen.anomalies == []


async def test_not_streaming(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(CALLED)))
    response = await caller.create()
    assert response.choices[0].message.tool_calls[0].function.name == "add_task"
    assert_one_call(instrumented)
    assert [event.name for event in instrumented.span.events] == [
        "otel_llm.tool_call.detected",
        "otel_llm.tool_call.name",
        "otel_llm.tool_call.completed",
        "otel_llm.finish_reason",
    ]
    assert instrumented.outcome is None
    assert instrumented.attributes["gen_ai.usage.input_tokens"] == 1


async def test_a_mock_in_place_of_a_completion(instrumented: Seen) -> None:
    """A mock's class has `__aiter__`, `__anext__` and all other methods of a stream."""
    client = openai.OpenAI(api_key="unused")
    answer = MagicMock()
    with patch.object(client.chat.completions, "_post", return_value=answer):
        assert client.chat.completions.create(**REQUEST) is answer
    intercepted = intercept_llm_requests(MagicMock())
    assert intercepted.chat.completions.create(**REQUEST) is intercepted.chat.completions.create.return_value
    client.close()


def test_a_mock_in_place_of_a_stream(instrumented: Seen) -> None:
    client = openai.OpenAI(api_key="unused")
    chunks = [ChatCompletionChunk.model_validate(chunk(text("a"))) for _ in range(3)]
    answer = MagicMock()
    answer.__iter__.return_value = iter(chunks)
    with patch.object(client.chat.completions, "_post", return_value=answer):
        with client.chat.completions.create(**REQUEST, stream=True) as stream:
            assert list(stream) == chunks
        stream.close()
    answer.close.assert_called_once_with()
    assert instrumented.outcome == "completed"
    assert instrumented.attributes["otel_llm.stream.chunk_count"] == 3
    client.close()


# Python's view -----------------------------------------------------------------------------------------------


async def test_a_tracker_has_no_methods_that_a_stream_lacks(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    kinds = (Iterable, AsyncIterable, Sized, Collection, AbstractContextManager, AbstractAsyncContextManager)
    assert [isinstance(stream, kind) for kind in kinds] == [issubclass(caller.stream_class, kind) for kind in kinds]
    with pytest.raises(TypeError):
        len(stream)
    if isinstance(caller, AsyncCaller):
        with pytest.raises(TypeError):
            iter(stream)
    response = stream.response
    stream.response = response
    assert stream._stream.response is response
    await caller.close(stream)


async def test_a_copy_reads_the_same_stream(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    stream = await caller.stream()
    copied = copy.copy(stream)
    assert isinstance(copied, caller.stream_class)
    assert len(await caller.read(copied, 2)) == 2
    del copied
    assert len(await caller.read(stream)) == len(HEALTHY) - 1 - 2
    assert instrumented.outcome == "completed"
    assert_one_call(instrumented)
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(stream)


def test_a_method_is_copied_and_pickled(instrumented: Seen) -> None:
    client = openai.OpenAI(api_key="unused")
    bound = client.chat.completions.create
    assert copy.copy(bound) == bound
    assert pickle.loads(pickle.dumps(Completions.create)) == Completions.create
    assert copy.deepcopy({"call": Completions.create}) == {"call": Completions.create}
    intercepted = intercept_llm_requests(client).chat.completions.create
    assert copy.copy(intercepted) is intercepted
    client.close()


async def test_helper_stream(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    request = REQUEST | {"tools": [strict(ADD_TASK)]}
    if isinstance(caller, AsyncCaller):
        async with helpers(caller.client).stream(**request) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_completion()
    else:
        with helpers(caller.client).stream(**request) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"title": "buy milk"}'
    assert instrumented.outcome == "completed"
    assert_one_call(instrumented)


class Task(BaseModel):
    title: str


async def test_parse(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(completion(text('{"title": "x"}')))))
    answer = helpers(caller.client).parse(model="tiny", messages=MESSAGES, response_format=Task)
    parsed = await caller.result(answer)
    assert parsed.choices[0].message.parsed == Task(title="x")
    assert instrumented.attributes["gen_ai.output.type"] == "json"
    assert instrumented.attributes["otel_llm.stream.text_only"] is True


async def test_parse_of_a_completion_cut_short(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    message = {"tool_calls": [{"id": "a", "type": "function", "function": {"name": "t", "arguments": '{"tit'}}]}
    caller = connect(serve(Answer(completion(message, "length"))))
    with pytest.raises(openai.LengthFinishReasonError):
        await caller.result(helpers(caller.client).parse(**{**REQUEST, "tools": []}, response_format=Task))
    assert instrumented.attributes["error.type"] == "openai.LengthFinishReasonError"
    assert "truncated" in instrumented.anomalies


class add_task(BaseModel):  # noqa: N801  the name of the tool
    """Add a task."""

    title: str


@pytest.mark.parametrize("way", ["parse", "raw", "streaming raw"])
@pytest.mark.parametrize(
    ("arguments", "wrong"), [('{"title": 5}', "schema_violation"), ('{"title": "bu', "invalid_json")]
)
async def test_parse_of_a_call_that_breaks_its_schema(
    instrumented: Seen, serve: Serve, connect: Connect, arguments: str, wrong: str, way: str
) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add_task", "arguments": arguments}}
    caller = connect(serve(Answer(completion({"content": None, "tool_calls": [call]}, "tool_calls"))))
    request: Any = {"model": "tiny", "messages": MESSAGES, "tools": [openai.pydantic_function_tool(add_task)]}
    completions = helpers(caller.client)
    if way != "parse" and not hasattr(getattr(completions, "with_raw_response", None), "parse"):
        pytest.skip("this SDK has no raw response of parse()")

    async def ask() -> None:
        if way == "parse":
            await caller.result(completions.parse(**request))
        elif way == "raw":
            (await caller.result(completions.with_raw_response.parse(**request))).parse()
        elif isinstance(caller, AsyncCaller):
            async with completions.with_streaming_response.parse(**request) as raw:
                await raw.parse()
        else:
            with completions.with_streaming_response.parse(**request) as raw:
                raw.parse()

    with pytest.raises(ValueError, match="add_task"):
        await ask()
    assert instrumented.attributes["gen_ai.response.id"] == "chatcmpl-scripted"
    assert instrumented.attributes["gen_ai.usage.input_tokens"] == 1
    assert instrumented.attributes["otel_llm.stream.tool_call_count"] == 1
    assert instrumented.anomalies == [wrong]
    # A raw response is parsed after the request has ended.
    failed = way != "raw"
    assert instrumented.attributes.get("error.type") == (
        "pydantic_core._pydantic_core.ValidationError" if failed else None
    )


async def test_parse_of_a_text_that_does_not_fit(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(completion(text('{"title": 5}')))))
    with pytest.raises(ValueError, match="title"):
        await caller.result(helpers(caller.client).parse(model="tiny", messages=MESSAGES, response_format=Task))
    assert instrumented.attributes["otel_llm.stream.text_only"] is True
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("stop",)


async def test_validators_run_when_the_caller_parses(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    ran = []

    class Watched(BaseModel):
        title: str

        @field_validator("title")
        @classmethod
        def run(cls, title: str) -> str:
            ran.append(title)
            return title

    caller = connect(serve(Answer(completion(text('{"title": "x"}')))))
    raws: Any = getattr(helpers(caller.client), "with_raw_response", None)
    if not hasattr(raws, "parse"):
        pytest.skip("this SDK has no raw response of parse()")
    raw = await caller.result(raws.parse(model="tiny", messages=MESSAGES, response_format=Watched))
    assert ran == []
    assert instrumented.attributes["gen_ai.response.id"] == "chatcmpl-scripted"
    assert raw.parse().choices[0].message.parsed.title == "x"
    assert ran == ["x"]


@takes_key_functions
async def test_a_response_that_another_request_refused(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    inner = connect(serve(Answer(completion(text('{"title": 5}')))))

    async def key_later() -> str:
        await inner.client.chat.completions.parse(model="inner", messages=MESSAGES, response_format=Task)
        return "unused"

    def key() -> str:
        inner.client.chat.completions.parse(model="inner", messages=MESSAGES, response_format=Task)
        return "unused"

    outer = connect(serve(Answer(CALLED)))
    outer.client = outer.client.with_options(api_key=key_later if isinstance(outer, AsyncCaller) else key)
    with pytest.raises(ValueError, match="title"):
        await outer.create(model="outer")
    of_inner, of_outer = (dict(span.attributes or {}) for span in instrumented.spans)
    assert (of_inner["gen_ai.request.model"], of_outer["gen_ai.request.model"]) == ("inner", "outer")
    assert of_inner["gen_ai.response.id"] == "chatcmpl-scripted"
    assert "gen_ai.response.id" not in of_outer


@pytest.mark.swallows("an error's type")
async def test_an_error_whose_attributes_raise(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    class Unfriendly(Exception):
        def __getattr__(self, name: str) -> Any:
            raise KeyError(name)

    class Refusing(BaseModel):
        title: str

        @field_validator("title")
        @classmethod
        def refuse(cls, title: str) -> str:
            raise Unfriendly(title)

    caller = connect(serve(Answer(completion(text('{"title": "x"}')))))
    with pytest.raises(Unfriendly):
        await caller.result(helpers(caller.client).parse(model="tiny", messages=[], response_format=Refusing))
    assert instrumented.attributes["error.type"].endswith("Unfriendly")


async def test_a_stream_requested_through_extra_body(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    """The OpenAI SDK does not know that it is streamed, and returns the whole body as text."""
    caller = connect(serve(*HEALTHY))
    bare = await caller.create(extra_body={"stream": True})
    seen = instrument()
    watched = await caller.create(extra_body={"stream": True})
    assert type(watched) is type(bare) is str
    assert watched == bare
    assert len(seen.spans) == 1


async def test_raw_response_streaming(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    create = caller.client.chat.completions.with_raw_response.create
    raw = await caller.result(create(**REQUEST, stream=True))
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert isinstance(raw, openai._legacy_response.LegacyAPIResponse)
    stream = raw.parse()
    assert stream is raw.parse()
    assert isinstance(stream, caller.stream_class)
    assert len(await caller.read(stream)) == len(HEALTHY) - 1
    assert instrumented.outcome == "completed"
    assert_one_call(instrumented)


async def test_raw_response_dropped_once_it_is_parsed(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    create = caller.client.chat.completions.with_raw_response.create
    stream = (await caller.result(create(**REQUEST, stream=True))).parse()
    assert len(await caller.read(stream)) == len(HEALTHY) - 1
    assert instrumented.outcome == "completed"
    assert_one_call(instrumented)


async def test_a_tracker_around_a_tracker(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    kind = StreamingToolCallTracker if isinstance(caller, AsyncCaller) else SyncStreamingToolCallTracker
    outer = kind(await caller.stream())
    assert len(await caller.read(outer)) == len(HEALTHY) - 1
    assert outer._tool_calls[0]["name"] == "add_task"
    assert instrumented.outcome == "completed"
    assert_one_call(instrumented)


async def test_raw_response_whole(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(CALLED)))
    raw = await caller.result(caller.client.chat.completions.with_raw_response.create(**REQUEST))
    assert_one_call(instrumented)
    assert raw.parse().choices[0].finish_reason == "tool_calls"
    assert json.loads(raw.text)["choices"]


async def test_streaming_response(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    create = caller.client.chat.completions.with_streaming_response.create
    if isinstance(caller, AsyncCaller):
        async with create(**REQUEST, stream=True) as raw:
            stream = await raw.parse()
            chunks = await caller.read(stream)
    else:
        with create(**REQUEST, stream=True) as raw:
            chunks = await caller.read(raw.parse())
    assert len(chunks) == len(HEALTHY) - 1
    assert instrumented.outcome == "completed"
    assert_one_call(instrumented)


async def test_streaming_response_of_a_whole_completion(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(CALLED)))
    create = caller.client.chat.completions.with_streaming_response.create
    if isinstance(caller, AsyncCaller):
        async with create(**REQUEST) as raw:
            assert instrumented.spans == []  # its body has not been read
            parsed = await raw.parse()
    else:
        with create(**REQUEST) as raw:
            assert instrumented.spans == []
            parsed = raw.parse()
    assert parsed.choices[0].message.tool_calls
    assert_one_call(instrumented)


@pytest.mark.parametrize("taken", ["read", "text", "json", "parse"])
async def test_streaming_response_of_a_whole_completion_read_without_parse(
    instrumented: Seen, serve: Serve, connect: Connect, taken: str
) -> None:
    caller = connect(serve(Answer(CALLED)))
    create = caller.client.chat.completions.with_streaming_response.create

    async def both(raw: Any) -> None:
        assert await caller.result(getattr(raw, taken)())
        assert_one_call(instrumented)
        assert (await caller.result(raw.parse())).choices[0].message.tool_calls

    if isinstance(caller, AsyncCaller):
        async with create(**REQUEST) as raw:
            await both(raw)
    else:
        with create(**REQUEST) as raw:
            await both(raw)
    assert instrumented.attributes["gen_ai.usage.input_tokens"] == 1
    assert instrumented.outcome is None
    assert instrumented.metric("otel_llm.stream.count") == []


async def test_streaming_response_of_a_body_that_is_not_json(
    instrumented: Seen, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caller = connect(serve(Answer(b"<html>", headers={"content-type": "text/html"})))
    create = caller.client.chat.completions.with_streaming_response.create
    if isinstance(caller, AsyncCaller):
        async with create(**REQUEST) as raw:
            assert await raw.text() == "<html>"
    else:
        with create(**REQUEST) as raw:
            assert raw.text() == "<html>"
    assert instrumented.outcome is None
    assert instrumented.anomalies == []
    assert caplog.records == []


async def test_bytes_of_which_only_a_part_is_read(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    create = caller.client.chat.completions.with_streaming_response.create
    if isinstance(caller, AsyncCaller):
        async with create(**REQUEST, stream=True) as raw:
            lines = [line async for line in raw.iter_lines()]
    else:
        with create(**REQUEST, stream=True) as raw:
            lines = list(raw.iter_lines())
    assert "data: [DONE]" in lines
    assert len(instrumented.spans) == 1
    assert instrumented.anomalies == []  # nothing was parsed, so nothing is diagnosed


async def test_raw_response_dropped(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    await caller.result(caller.client.chat.completions.with_raw_response.create(**REQUEST, stream=True))
    assert instrumented.outcome == "abandoned"


async def test_several_choices(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    def call(index: int) -> Any:
        return chunk(tool_call_delta(index=0, id=f"call_{index}", name="add_task", arguments="{}"), index=index)

    steps = [call(1), call(0), chunk(finish_reason="tool_calls"), chunk(finish_reason="tool_calls", index=1), DONE]
    caller = connect(serve(*steps))
    await caller.read(await caller.stream(n=2))
    completed = [dict(event.attributes or {}) for event in instrumented.events("otel_llm.tool_call.completed")]
    assert [entry["otel_llm.choice.index"] for entry in completed] == [0, 1]
    assert instrumented.attributes["gen_ai.request.choice.count"] == 2


async def test_interleaved_calls(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    steps = [
        chunk(tool_call_delta(index=0, id="a", name="add_task", arguments="")),
        chunk(tool_call_delta(index=1, id="b", name="add_task", arguments='{"title')),
        chunk(tool_call_delta(index=0, arguments='{"title": "1"}')),
        chunk(tool_call_delta(index=1, arguments='": "2"}')),
        chunk(finish_reason="tool_calls"),
        DONE,
    ]
    caller = connect(serve(*steps))
    await caller.read(await caller.stream())
    texts = [(event.attributes or {})["gen_ai.tool.call.arguments"] for event in instrumented.events()[-3:-1]]
    assert texts == ['{"title": "1"}', '{"title": "2"}']
    assert sum_of_delta_counts(instrumented.events()) == {0: 2, 1: 2}
    assert instrumented.anomalies == []


async def test_legacy_function_call(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    steps = [
        chunk({"function_call": {"name": "add_task", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"title":"x"}'}}),
        chunk(finish_reason="function_call"),
        DONE,
    ]
    caller = connect(serve(*steps))
    await caller.read(await caller.stream(tools=openai.NOT_GIVEN, functions=[ADD_TASK["function"]]))
    assert_one_call(instrumented)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_reasoning(instrumented: Seen, serve: Serve, connect: Connect, field: str) -> None:
    steps = [chunk({field: "let me"}), chunk({field: " think"}), chunk(text("Hi")), chunk(finish_reason="stop"), DONE]
    caller = connect(serve(*steps))
    await caller.read(await caller.stream())
    assert [event.name for event in instrumented.events()] == [
        "otel_llm.reasoning.started",
        "otel_llm.text.started",
        "otel_llm.finish_reason",
    ]
    assert instrumented.attributes["otel_llm.stream.text_only"] is True


async def test_after_uninstrumenting(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    cached = caller.client.chat.completions.with_raw_response
    seen = instrument()
    cached = caller.client.chat.completions.with_raw_response or cached
    OpenAIInstrumentor().uninstrument()
    raw = await caller.result(cached.create(**REQUEST, stream=True))
    await caller.read(raw.parse())
    assert type(await caller.stream()) is caller.stream_class
    assert seen.spans == []


async def test_many_at_once(instrumented: Seen, serve: Serve) -> None:
    caller = AsyncCaller(serve(*HEALTHY).base_url)

    async def one() -> int:
        return len(await caller.read(await caller.stream()))

    assert await asyncio.gather(*(one() for _ in range(50))) == [len(HEALTHY) - 1] * 50
    assert len(instrumented.spans) == 50
    assert {(span.attributes or {})["otel_llm.stream.tool_call_count"] for span in instrumented.spans} == {1}
    await caller.close_client()
