"""LiteLLM over HTTP: one span a request, also where it calls the SDK of OpenAI, and rewriting of its chunks.

It is not among the packages that all tests have: its requirements are older than those of other SDKs, and importing it
takes seconds. `nox -s frameworks` has it.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from otel_llm import LiteLLMInstrumentor, OpenAIInstrumentor
from otel_llm.demo.scripted_responses import function_call, response_events
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    ScriptedServer,
    Sleep,
    chunk,
    completion,
    error_event,
    text,
    tool_call_chunks,
)
from otel_llm.testing import Streams
from tests.helpers.reading import AsyncReading, Reading
from tests.helpers.same_in_all_sdks import fails_alike, tells_of_a_cancelled_task
from tests.helpers.seen import Seen

pytestmark = pytest.mark.filterwarnings("default")

Serve = Callable[..., ScriptedServer]

ARGUMENTS = '{"title": "a"}'
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add_task",
        "parameters": {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}},
    },
}
MESSAGES = [{"role": "user", "content": "add a task"}]
REQUEST: dict[str, Any] = {"model": "openai/tiny", "messages": MESSAGES, "tools": [TOOL], "api_key": "unused"}
HEALTHY = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "hm"}),
    chunk(text("Sure.")),
    *tool_call_chunks("add_task", ARGUMENTS),
    chunk(finish_reason="tool_calls"),
    DONE,
]
LEAKED = f'<think>hm</think>Sure.<tool_call>\n{{"name": "add_task", "arguments": {ARGUMENTS}}}\n</tool_call>'


@pytest.fixture(scope="module")
def litellm() -> Any:
    # Before it is imported, it must know that it has no network.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        package: Any = pytest.importorskip("litellm", reason="LiteLLM is not installed; `nox -s frameworks` has it")
    package.suppress_debug_info = True
    return package


class Caller(Reading):
    """Uses LiteLLM's synchronous functions."""

    def __init__(self, litellm: Any, server: ScriptedServer) -> None:
        self.litellm = litellm
        self.options = {"api_base": server.base_url, "num_retries": 0, "max_retries": 0}

    async def complete(self, **kwargs: Any) -> Any:
        return self.litellm.completion(**{**REQUEST, **self.options, **kwargs})

    async def respond(self, **kwargs: Any) -> Any:
        return self.litellm.responses(**{**self.options, "api_key": "unused", **kwargs})

    async def route(self, router: Any, **kwargs: Any) -> Any:
        return router.completion(**kwargs)


class AsyncCaller(AsyncReading, Caller):
    """Uses the asynchronous ones."""

    async def complete(self, **kwargs: Any) -> Any:
        return await self.litellm.acompletion(**{**REQUEST, **self.options, **kwargs})

    async def respond(self, **kwargs: Any) -> Any:
        return await self.litellm.aresponses(**{**self.options, "api_key": "unused", **kwargs})

    async def route(self, router: Any, **kwargs: Any) -> Any:
        return await router.acompletion(**kwargs)


@pytest.fixture(params=[Caller, AsyncCaller], ids=["sync", "async"])
async def connect(request: pytest.FixtureRequest, litellm: Any) -> AsyncIterator[Callable[[ScriptedServer], Caller]]:
    yield lambda server: request.param(litellm, server)
    litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture
def instrument(seen: Seen) -> Iterator[Callable[..., Seen]]:
    instrumentors = LiteLLMInstrumentor(), OpenAIInstrumentor()

    def start(**options: Any) -> Seen:
        for instrumentor in instrumentors:
            instrumentor.instrument(**seen.providers, **options)
        return seen

    yield start
    for instrumentor in instrumentors:
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()


def dumped(parts: list[Any]) -> list[Any]:
    # It makes ids and times up for itself.
    return [(type(one), one.model_dump(exclude={"id", "created", "response"})) for one in parts]


def tells_the_healthy_story(seen: Seen) -> None:
    names = [one.name.removeprefix("otel_llm.") for one in seen.events()]
    assert names[:4] == ["reasoning.started", "text.started", "tool_call.detected", "tool_call.name"]
    assert names[-2:] == ["tool_call.completed", "finish_reason"]
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == ARGUMENTS
    assert (completed.attributes or {})["gen_ai.tool.call.id"] == "call_1"
    assert seen.anomalies == []
    assert seen.attributes["server.address"] == "127.0.0.1"
    assert seen.attributes["gen_ai.request.model"] == "tiny"
    seen.encode()


@pytest.mark.parametrize(
    ("model", "provider"), [("openai/tiny", "openai"), ("hosted_vllm/tiny", "vllm"), ("deepseek/tiny", "deepseek")]
)
async def test_a_stream(connect: Any, serve: Serve, instrument: Callable[..., Seen], model: str, provider: str) -> None:
    caller = connect(serve(*HEALTHY))
    bare_stream = await caller.complete(stream=True, model=model)
    bare = await caller.read(bare_stream)
    seen = instrument()
    stream = await caller.complete(stream=True, model=model)
    assert isinstance(stream, type(bare_stream))
    assert dumped(await caller.read(stream)) == dumped(bare)
    assert seen.outcome == "completed"
    assert seen.attributes["gen_ai.provider.name"] == provider
    tells_the_healthy_story(seen)


async def test_a_whole_response(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add_task", "arguments": ARGUMENTS}}
    caller = connect(serve(Answer(completion({"content": "Sure.", "tool_calls": [call]}, "tool_calls"))))
    seen = instrument()
    answer = await caller.complete()
    assert answer.choices[0].message.tool_calls[0].function.arguments == ARGUMENTS
    assert len(seen.events("otel_llm.tool_call.completed")) == 1
    assert seen.attributes["gen_ai.usage.output_tokens"] == 1
    assert seen.anomalies == []


async def test_responses(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*response_events(function_call("add_task", ARGUMENTS))))
    # It streams only for models that it knows.
    await caller.read(await caller.respond(model="openai/gpt-4o", input="x", stream=True))
    assert seen.outcome == "completed"
    assert seen.attributes["openai.api.type"] == "responses"
    assert seen.attributes["gen_ai.request.model"] == "gpt-4o"
    assert len(seen.events("otel_llm.tool_call.completed")) == 1


async def test_responses_by_way_of_a_chat(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    """One span, of what the application called."""
    seen = instrument()
    caller = connect(serve(Answer(completion(text("Sure.")))))
    await caller.respond(model="deepseek/tiny", input="x")
    assert seen.attributes["gen_ai.provider.name"] == "deepseek"


async def test_a_router(connect: Any, litellm: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    """A span for each deployment that it tries, with the model of the deployment."""
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    broken = serve(Answer(error_event("no"), status=400))
    deployments = [("first", "openai/broken", broken.base_url), ("second", "openai/tiny", caller.options["api_base"])]
    router = litellm.Router(
        model_list=[
            {"model_name": name, "litellm_params": {"model": model, "api_base": url, "api_key": "unused"}}
            for name, model, url in deployments
        ],
        fallbacks=[{"first": ["second"]}],
        num_retries=0,
    )
    await caller.read(await caller.route(router, model="first", messages=MESSAGES, tools=[TOOL], stream=True))
    told = [(span.name, (span.attributes or {})["otel_llm.stream.outcome"]) for span in seen.spans]
    assert told == [("chat broken", "error"), ("chat tiny", "completed")]


async def test_a_result_is_linked_to_its_call(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(HEALTHY, [chunk(text("Done."), "stop"), DONE]))
    chunks = await caller.read(await caller.complete(stream=True))
    answer = caller.litellm.stream_chunk_builder(chunks).choices[0].message
    result = {"role": "tool", "tool_call_id": "call_1", "content": "ok"}
    await caller.read(await caller.complete(stream=True, messages=[*MESSAGES, answer, result]))
    first, second = seen.spans
    assert [link.context for link in second.links] == [first.context]


async def test_a_model_that_it_does_not_know(
    connect: Any, serve: Serve, instrument: Callable[..., Seen], capsys: pytest.CaptureFixture[str]
) -> None:
    caller = connect(serve(*HEALTHY))

    async def play() -> tuple[type, str, str]:
        with pytest.raises(Exception) as raised:  # noqa: PT011
            await caller.complete(model="nobodys-model", api_base=None)
        return type(raised.value), str(raised.value), capsys.readouterr().out

    bare = await play()
    seen = instrument()
    assert await play() == bare
    assert seen.attributes["gen_ai.request.model"] == "nobodys-model"


@pytest.mark.parametrize(
    "steps",
    [[Answer(error_event("no"), status=400)], [*HEALTHY[:3], Drop()], [*HEALTHY[:3], error_event("overloaded")]],
    ids=["refused", "dropped", "error"],
)
async def test_errors(connect: Any, serve: Serve, instrument: Callable[..., Seen], steps: Any) -> None:
    caller = connect(serve(*steps))

    async def read() -> None:
        await caller.read(await caller.complete(stream=True))

    await fails_alike(read, instrument)


async def test_a_stream_that_is_dropped(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    await caller.read(await caller.complete(stream=True), 2)
    gc.collect()
    await asyncio.sleep(0)
    assert seen.outcome == "abandoned"


async def test_a_task_that_is_cancelled(litellm: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = AsyncCaller(litellm, serve(*HEALTHY[:3], Sleep(30)))
    await tells_of_a_cancelled_task(lambda: caller.complete(stream=True), seen)


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_rewriting(connect: Any, serve: Serve, instrument: Callable[..., Seen], size: int) -> None:
    seen = instrument(tool_call_tags="openai")
    pieces = [chunk(text(LEAKED[at : at + size])) for at in range(0, len(LEAKED), size)]
    caller = connect(serve(*pieces, chunk({}, "stop"), DONE))
    chunks = await caller.read(await caller.complete(stream=True))
    message = caller.litellm.stream_chunk_builder(chunks).choices[0].message
    (call,) = message.tool_calls
    assert (message.content, call.function.name, call.function.arguments) == ("Sure.", "add_task", ARGUMENTS)
    assert message.reasoning_content == "hm"
    assert seen.anomalies == []


async def test_rewriting_a_whole_response(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument(tool_call_tags="openai")
    (choice,) = (await connect(serve(Answer(completion(text(LEAKED))))).complete()).choices
    (call,) = choice.message.tool_calls
    assert (choice.message.content, choice.finish_reason) == ("Sure.", "tool_calls")
    assert (call.function.name, call.function.arguments) == ("add_task", ARGUMENTS)
    assert seen.anomalies == []


def test_it_is_restored(litellm: Any, instrument: Callable[..., Seen]) -> None:
    names = [(litellm, "completion"), (litellm, "aresponses"), (litellm.main, "acompletion")]
    before = [getattr(owner, name) for owner, name in names]
    for _ in range(2):
        instrument()
        assert all(getattr(owner, name) is not old for (owner, name), old in zip(names, before, strict=True))
        LiteLLMInstrumentor().uninstrument()
        OpenAIInstrumentor().uninstrument()
        assert all(getattr(owner, name) is old for (owner, name), old in zip(names, before, strict=True))


async def test_the_fixture(connect: Any, serve: Serve, llm_streams: Streams) -> None:
    caller = connect(serve(*HEALTHY))
    await caller.read(await caller.complete(stream=True))
    # LiteLLM calls the SDK of OpenAI, which the fixture sees too.
    (stream,) = llm_streams
    assert [(call.name, call.arguments) for call in stream.tool_calls] == [("add_task", ARGUMENTS)]
    assert (stream.model, stream.text, stream.reasoning) == ("tiny", "Sure.", "hm")
    assert (stream.outcome, stream.finish_reason, stream.anomalies) == ("completed", "tool_calls", [])
