"""Instrumenting and uninstrumenting; a single client; other instrumentations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from openai.resources.chat.completions import AsyncCompletions, Completions
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as OfficialInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation
from wrapt import wrap_function_wrapper

from otel_llm import (
    CerebrasInstrumentor,
    GroqInstrumentor,
    OpenAIInstrumentor,
    StreamingToolCallTracker,
    SyncStreamingToolCallTracker,
    intercept_llm_requests,
)
from otel_llm.demo.scripted_responses import function_call, response_events
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, completion, text, tool_call_chunks
from tests.helpers.callers import AsyncCaller, SyncCaller
from tests.helpers.sdk_versions import helpers, needs_responses, takes_key_functions
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

HEALTHY = [*tool_call_chunks("add_task", '{"title": "a"}'), chunk(finish_reason="tool_calls"), DONE]
TRACKERS = (StreamingToolCallTracker, SyncStreamingToolCallTracker)


def methods() -> list[Any]:
    return [
        vars(owner).get(name) for owner in (Completions, AsyncCompletions) for name in ("create", "parse", "stream")
    ]


def test_uninstrumenting_restores_the_sdk() -> None:
    before = methods()
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument()
    assert any(now is not then for now, then in zip(methods(), before, strict=True))
    instrumentor.uninstrument()
    assert all(now is then for now, then in zip(methods(), before, strict=True))


def test_twice_is_once(instrument: Callable[..., Seen], serve: Serve) -> None:
    before = methods()
    seen = instrument()
    OpenAIInstrumentor().instrument()
    caller = SyncCaller(serve(*HEALTHY).base_url)
    for _ in caller.client.chat.completions.create(model="m", messages=[], stream=True):
        pass
    assert len(seen.spans) == 1
    OpenAIInstrumentor().uninstrument()
    OpenAIInstrumentor().uninstrument()
    assert all(now is then for now, then in zip(methods(), before, strict=True))
    caller.client.close()


def test_instrumenting_again(instrument: Callable[..., Seen], serve: Serve) -> None:
    first = instrument()
    OpenAIInstrumentor().uninstrument()
    second = instrument()
    caller = SyncCaller(serve(*HEALTHY).base_url)
    caller.client.chat.completions.create(model="m", messages=[], stream=True).close()
    assert (len(first.spans), len(second.spans)) == (0, 1)
    caller.client.close()


async def test_raw_responses_cached_while_instrumented(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    caller = connect(serve(*HEALTHY))

    async def read_raw() -> None:
        create = caller.client.chat.completions.with_raw_response.create
        await caller.read((await caller.result(create(model="m", messages=[], stream=True))).parse())

    first = instrument()
    await read_raw()
    OpenAIInstrumentor().uninstrument()
    await read_raw()
    second = instrument()
    await read_raw()
    assert (len(first.spans), len(second.spans)) == (1, 1)


def test_a_wrapper_inside_another_librarys_is_reused(instrument: Callable[..., Seen], serve: Serve) -> None:
    instrument()
    ours = vars(Completions)["create"]
    wrap_function_wrapper(
        "openai.resources.chat.completions",
        "Completions.create",
        lambda wrapped, _instance, args, kwargs: wrapped(*args, **kwargs),
    )
    theirs = vars(Completions)["create"]
    try:
        OpenAIInstrumentor().uninstrument()
        seen = instrument()
        caller = SyncCaller(serve(*HEALTHY).base_url)
        caller.client.chat.completions.create(model="m", messages=[], stream=True).close()
        caller.client.close()
        assert len(seen.spans) == 1
        OpenAIInstrumentor().uninstrument()
        assert vars(Completions)["create"] is theirs
    finally:
        setattr(Completions, "create", ours.__wrapped__)  # noqa: B010  as a library would, by name


def test_another_librarys_wrapper_stays(instrument: Callable[..., Seen], serve: Serve) -> None:
    seen = instrument()
    original = vars(Completions)["create"]
    called = []

    def theirs(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        called.append(1)
        return wrapped(*args, **kwargs)

    wrap_function_wrapper("openai.resources.chat.completions", "Completions.create", theirs)
    try:
        OpenAIInstrumentor().uninstrument()
        caller = SyncCaller(serve(*HEALTHY).base_url)
        stream = caller.client.chat.completions.create(model="m", messages=[], stream=True)
        assert called == [1]
        assert type(stream) is openai.Stream
        stream.close()
        caller.client.close()
        assert seen.spans == []
    finally:
        setattr(Completions, "create", original.__wrapped__)  # noqa: B010  as a library would, by name


def test_entry_point() -> None:
    (entry,) = entry_points(group="opentelemetry_instrumentor", name="otel_llm")
    assert entry.load() is OpenAIInstrumentor
    (exporter,) = entry_points(group="opentelemetry_traces_exporter", name="otel_llm_timeline")
    assert exporter.load()


async def test_suppressed(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    with suppress_instrumentation():
        stream = await caller.stream()
    assert not isinstance(stream, TRACKERS)
    await caller.close(stream)
    assert instrumented.spans == []


async def test_options_by_keyword(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(argument_limit=5, stall_seconds=1e-9)
    caller = connect(serve(*HEALTHY))
    await caller.read(await caller.stream())
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == '{"tit'
    assert seen.anomalies == ["stalled"]


async def test_options_by_environment(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_LLM_CAPTURE_ARGUMENTS", "false")
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    await caller.read(await caller.stream())
    assert all("gen_ai.tool.call.arguments" not in (event.attributes or {}) for event in seen.events())
    assert seen.events("otel_llm.tool_call.arguments.delta")


# One client ---------------------------------------------------------------------------------------------------


async def test_one_client(seen: Seen, serve: Serve, connect: Connect) -> None:
    server = serve(*HEALTHY)
    caller, other = connect(server), connect(server)
    assert intercept_llm_requests(caller.client, **seen.providers) is caller.client
    stream = await caller.stream()
    assert isinstance(stream, TRACKERS)
    assert isinstance(stream, caller.stream_class)
    await caller.read(stream)
    assert type(await other.stream()) is other.stream_class
    assert seen.outcome == "completed"
    assert seen.anomalies == []


async def test_one_client_whole_response(seen: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(completion(text("hello")))))
    intercept_llm_requests(caller.client, **seen.providers)
    assert (await caller.create()).choices[0].message.content == "hello"
    assert seen.attributes["otel_llm.stream.text_only"] is True


async def test_intercepting_twice_is_once(seen: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    for _ in range(2):
        intercept_llm_requests(caller.client, **seen.providers)
    await caller.read(await caller.stream())
    assert len(seen.spans) == 1


@pytest.mark.parametrize("way", ["with_options", "copy"])
async def test_copies_of_one_client(seen: Seen, serve: Serve, connect: Connect, way: str) -> None:
    caller = connect(serve(*HEALTHY))
    original = intercept_llm_requests(caller.client, **seen.providers)
    caller.client = getattr(original, way)(timeout=5)
    assert type(caller.client) is type(original)
    await caller.read(await caller.stream())
    caller.client = getattr(caller.client, way)(max_retries=1)
    await caller.read(await caller.stream())
    assert [span.attributes["gen_ai.request.model"] for span in seen.spans if span.attributes] == ["tiny", "tiny"]


async def test_a_client_that_recreates_its_resources_warns(
    seen: Seen, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caller = connect(serve(*HEALTHY))

    class Anew(type(caller.client)):  # type: ignore[misc]
        chat = property(lambda self: type(caller.client.chat)(self), lambda *_: None)

    client = Anew(api_key="unused", base_url=caller.client.base_url)
    assert intercept_llm_requests(client, **seen.providers) is client
    assert "Anew" in caplog.text
    assert "OpenAIInstrumentor" in caplog.text


async def test_the_completion_hook_of_the_environment(
    seen: Seen, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    class Hook:
        def on_completion(self, **details: Any) -> None:
            calls.append(details)

    monkeypatch.setattr("otel_llm.intercept.load_completion_hook", Hook)
    caller = connect(serve(*HEALTHY))
    intercept_llm_requests(caller.client, **seen.providers)
    await caller.read(await caller.stream())
    assert len(calls) == 1


async def test_raw_responses_of_one_client(seen: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    assert caller.client.chat.completions.with_raw_response  # cached before the interception
    intercept_llm_requests(caller.client, **seen.providers)
    create = caller.client.chat.completions.with_raw_response.create
    raw = await caller.result(create(model="m", messages=[], stream=True))
    await caller.read(raw.parse())
    assert seen.outcome == "completed"


async def test_raw_responses_through_the_client_itself(seen: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    before = caller.client.with_raw_response.chat.completions  # cached before the interception
    assert before.create
    intercept_llm_requests(caller.client, **seen.providers)
    create = caller.client.with_raw_response.chat.completions.create
    raw = await caller.result(create(model="m", messages=[], stream=True))
    await caller.read(raw.parse())
    assert seen.outcome == "completed"


@needs_responses
async def test_responses_of_one_client(seen: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(function_call("add_task", "{}"))))
    intercept_llm_requests(caller.client, **seen.providers)
    await caller.read(await caller.respond(stream=True))
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1


async def test_parse_of_one_client(seen: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(completion(text("hello")))))
    intercept_llm_requests(caller.client, **seen.providers)
    await caller.result(helpers(caller.client).parse(model="m", messages=[]))
    assert seen.attributes["otel_llm.stream.text_only"] is True


async def test_with_the_instrumentor_it_is_one_span(
    instrumented: Seen, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "otel_llm")
    other = Seen()
    caller = connect(serve(*HEALTHY))
    intercept_llm_requests(caller.client, **other.providers)
    stream = await caller.stream()
    await caller.read(stream)
    assert len(instrumented.spans) + len(other.spans) == 1
    assert type(stream._stream) is caller.stream_class  # wrapped once
    assert [record.getMessage() for record in caplog.records].count("[LLM STREAM] Finish reason: tool_calls") == 1


# Requests during a request ------------------------------------------------------------------------------------


@takes_key_functions
async def test_a_request_made_by_an_api_key_function(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """Made by an API-key function, on the same client: it has its own span."""
    caller = connect(serve(*HEALTHY))
    keys: list[int] = []

    async def key_async() -> str:
        keys.append(len(keys))
        if len(keys) == 1:
            await caller.read(await caller.stream())
        return "key"

    def key() -> str:
        keys.append(len(keys))
        if len(keys) == 1:
            for _ in caller.client.chat.completions.create(model="tiny", messages=[], stream=True):
                pass
        return "key"

    asynchronous = isinstance(caller, AsyncCaller)
    await caller.close_client()
    kind: Any = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    caller.client = kind(api_key=key_async if asynchronous else key, base_url=caller.client.base_url)
    await caller.read(await caller.stream())
    assert len(instrumented.spans) == 2
    assert [(span.attributes or {})["otel_llm.stream.outcome"] for span in instrumented.spans] == ["completed"] * 2


@pytest.mark.parametrize("clients", [1, 2], ids=["the same client", "another client"])
async def test_a_task_started_during_a_request(instrumented: Seen, serve: Serve, clients: int) -> None:
    server = serve(*HEALTHY)
    made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    tasks: list[asyncio.Task[None]] = []

    async def worker() -> None:
        if workers is caller:
            await caller.read(await workers.stream())
        await made
        await caller.read(await workers.stream())

    async def hook(_request: Any) -> None:
        if not tasks:
            tasks.append(asyncio.create_task(worker()))
            await asyncio.sleep(0)

    http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [hook]})
    caller = AsyncCaller(server.base_url, http_client=http)
    workers = caller if clients == 1 else AsyncCaller(server.base_url)
    await caller.read(await caller.stream())
    made.set_result(None)
    await tasks[0]
    assert len(instrumented.spans) == len(server.requests)
    assert all("otel_llm.stream.outcome" in (span.attributes or {}) for span in instrumented.spans)
    for one in {caller, workers}:
        await one.close_client()


async def test_a_client_that_delegates_to_another_has_one_span(instrumented: Seen, serve: Serve) -> None:
    caller = AsyncCaller(serve(*HEALTHY).base_url)

    class Completions:
        async def create(self, **kwargs: Any) -> Any:
            return await asyncio.create_task(caller.create(**kwargs))

    handing_on = SimpleNamespace(chat=SimpleNamespace(completions=Completions()))
    intercept_llm_requests(handing_on, **instrumented.providers)
    await caller.read(await handing_on.chat.completions.create(stream=True))
    assert len(instrumented.spans) == 1
    await caller.close_client()


def test_a_client_without_chat_completions() -> None:
    with pytest.raises(AttributeError):
        intercept_llm_requests(object())


# Other instrumentations ----------------------------------------------------------------------------------------


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("first", ["theirs", "ours"])
async def test_one_warning_beside_another_instrumentation(
    first: str, instrument: Callable[..., Seen], serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    peer = OfficialInstrumentor()
    caller = AsyncCaller(serve(*HEALTHY).base_url)
    seen = None
    if first == "ours":
        seen = instrument()
    peer.instrument(**(seen or Seen()).providers)
    others = [GroqInstrumentor(), CerebrasInstrumentor()]
    try:
        if first == "theirs":
            seen = instrument()
        for other in others:
            await caller.read(await caller.stream())
            other.instrument(**(seen or Seen()).providers)
        await caller.read(await caller.stream())
    finally:
        for instrumentor in (OpenAIInstrumentor(), *others):
            instrumentor.uninstrument()
        peer.uninstrument()
    (warning,) = warnings_of(caplog)
    assert warning.startswith("opentelemetry.instrumentation.genai.openai")
    assert "traced twice" in warning
    assert seen is not None
    await caller.close_client()


async def test_under_the_official_instrumentation_there_is_one_span(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    """util-genai suppresses the inner of two spans; the events go to the outer one."""
    peer = OfficialInstrumentor()
    seen = instrument()
    peer.instrument(**seen.providers)
    try:
        caller = connect(serve(*HEALTHY))
        await caller.read(await caller.stream())
    finally:
        peer.uninstrument()
    assert len(seen.spans) == 1
    assert len(seen.events("otel_llm.tool_call.completed")) == 1


def test_no_warning_when_alone(instrument: Callable[..., Seen], serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    instrument()
    caller = SyncCaller(serve(*HEALTHY).base_url)
    caller.client.chat.completions.create(model="m", messages=[], stream=True).close()
    caller.client.close()
    assert warnings_of(caplog) == []


def test_supported_versions() -> None:
    assert OpenAIInstrumentor().instrumentation_dependencies() == ("openai >= 1.40, < 4",)
