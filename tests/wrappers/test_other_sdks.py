"""The SDKs of Groq and Cerebras, derived clients, and the name of the provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import entry_points
from typing import Any

import cerebras.cloud.sdk
import groq
import openai
import pytest

from otel_llm import (
    CerebrasInstrumentor,
    GroqInstrumentor,
    OpenAIInstrumentor,
    StreamingToolCallTracker,
    SyncStreamingToolCallTracker,
    intercept_llm_requests,
)
from otel_llm.demo.scripted_responses import function_call, response_events
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    ScriptedServer,
    chunk,
    completion,
    error_event,
    text,
    tool_call_chunks,
)
from otel_llm.telemetry import provider as providers
from otel_llm.telemetry.provider import server_of
from tests.helpers.callers import REQUEST
from tests.helpers.sdk_versions import HAS_RESPONSES
from tests.helpers.sdks import SDK
from tests.helpers.seen import Seen, sum_of_delta_counts

Serve = Callable[..., ScriptedServer]

ARGUMENTS = '{"title": "a"}'
CALL = tool_call_chunks("add_task", ARGUMENTS)
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
HEALTHY = [chunk({"reasoning": "hm"}), chunk(text("Sure.")), *CALL, chunk(finish_reason="tool_calls"), DONE]


@pytest.fixture(params=["groq", "cerebras"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
async def sdk(name: str, request: pytest.FixtureRequest) -> AsyncIterator[SDK]:
    made = SDK(name, asynchronous=request.param)
    yield made
    await made.close()


async def test_a_stream(sdk: SDK, seen: Seen, serve: Serve) -> None:
    client = sdk.client(serve(*HEALTHY))
    bare = await sdk.read(await sdk.result(client.chat.completions.create(**REQUEST, stream=True)))
    sdk.instrumentor.instrument(**seen.providers)
    stream = await sdk.result(client.chat.completions.create(**REQUEST, stream=True))
    assert isinstance(stream, sdk.stream_class)
    assert isinstance(stream, StreamingToolCallTracker if sdk.asynchronous else SyncStreamingToolCallTracker)
    chunks = await sdk.read(stream)
    assert [part.model_dump() for part in chunks] == [part.model_dump() for part in bare]
    assert seen.anomalies == []
    assert seen.attributes["gen_ai.provider.name"] == sdk.provider
    assert seen.outcome == "completed"
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == ARGUMENTS
    assert sum_of_delta_counts(seen.events()) == {0: len(CALL)}
    assert [event.name for event in seen.events()][:2] == ["otel_llm.reasoning.started", "otel_llm.text.started"]


async def test_a_whole_response(sdk: SDK, seen: Seen, serve: Serve) -> None:
    sdk.instrumentor.instrument(**seen.providers)
    called = {"id": "call_1", "type": "function", "function": {"name": "add_task", "arguments": ARGUMENTS}}
    whole = completion({"content": None, "tool_calls": [called]}, "tool_calls", usage=USAGE)
    answer = await sdk.result(sdk.client(serve(Answer(whole))).chat.completions.create(**REQUEST))
    assert answer.choices[0].message.tool_calls[0].function.arguments == ARGUMENTS
    assert len(seen.events("otel_llm.tool_call.completed")) == 1
    assert seen.attributes["gen_ai.usage.output_tokens"] == 4
    assert seen.anomalies == []


async def test_raw_responses(sdk: SDK, seen: Seen, serve: Serve) -> None:
    sdk.instrumentor.instrument(**seen.providers)
    completions = sdk.client(serve(*HEALTHY)).chat.completions
    raw = await sdk.result(completions.with_raw_response.create(**REQUEST, stream=True))
    await sdk.read(await sdk.result(raw.parse()))
    assert len(seen.events("otel_llm.tool_call.completed")) == 1
    assert raw.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([Answer(error_event("no"), status=400)], "BadRequestError"),
        ([*CALL, Drop()], None),
        ([*CALL, error_event("overloaded")], "APIError"),
    ],
    ids=["http", "drop", "event"],
)
async def test_errors(sdk: SDK, seen: Seen, serve: Serve, steps: list[Any], error: str | None) -> None:
    sdk.instrumentor.instrument(**seen.providers)
    client = sdk.client(serve(*steps))
    # These SDKs pass on connection errors of httpx.
    with pytest.raises(Exception) as raised:  # noqa: PT011
        await sdk.read(await sdk.result(client.chat.completions.create(**REQUEST, stream=True)))
    assert error is None or type(raised.value) is getattr(sdk.package, error) or sdk.provider == "cerebras"
    assert seen.outcome == "error"
    assert seen.attributes["error.type"].endswith(type(raised.value).__name__)


async def test_uninstrumenting_restores_the_sdk(sdk: SDK, seen: Seen, serve: Serve) -> None:
    kind = type(sdk.client(serve(*HEALTHY)).chat.completions)
    before = vars(kind)["create"]
    sdk.instrumentor.instrument(**seen.providers)
    assert vars(kind)["create"] is not before
    sdk.instrumentor.uninstrument()
    assert vars(kind)["create"] is before


async def test_one_client(sdk: SDK, seen: Seen, serve: Serve) -> None:
    client = intercept_llm_requests(sdk.client(serve(*HEALTHY)), **seen.providers)
    await sdk.read(await sdk.result(client.chat.completions.create(**REQUEST, stream=True)))
    assert seen.attributes["gen_ai.provider.name"] == sdk.provider
    assert seen.anomalies == []


async def test_usage_in_groqs_own_field(seen: Seen, serve: Serve) -> None:
    GroqInstrumentor().instrument(**seen.providers)
    server = serve(*CALL, chunk(finish_reason="tool_calls", x_groq={"id": "req_1", "usage": USAGE}), DONE)
    client = groq.Groq(api_key="unused", base_url=server.base_url)
    list(client.chat.completions.create(**REQUEST, stream=True))
    client.close()
    GroqInstrumentor().uninstrument()
    assert seen.attributes["gen_ai.usage.input_tokens"] == 3
    assert seen.attributes["gen_ai.usage.output_tokens"] == 4


def test_legacy_calls_without_a_field_in_the_sdk(seen: Seen, serve: Serve) -> None:
    CerebrasInstrumentor().instrument(**seen.providers)
    steps = [chunk(text("Sure.")), chunk({"function_call": {"name": "add_task", "arguments": ARGUMENTS}})]
    server = serve(*steps, chunk(finish_reason="function_call"), DONE)
    client = cerebras.cloud.sdk.Cerebras(api_key="unused", base_url=server.base_url)
    list(client.chat.completions.create(**REQUEST, stream=True))
    client.close()
    CerebrasInstrumentor().uninstrument()
    assert len(seen.events("otel_llm.tool_call.completed")) == 1
    assert seen.anomalies == []


def test_entry_points() -> None:
    found = {entry.name: entry.load() for entry in entry_points(group="opentelemetry_instrumentor")}
    assert found["otel_llm_groq"] is GroqInstrumentor
    assert found["otel_llm_cerebras"] is CerebrasInstrumentor


def test_all_at_once(seen: Seen, serve: Serve) -> None:
    """Each instrumentor is its own singleton and removes its own wrappers."""
    kinds = (OpenAIInstrumentor, GroqInstrumentor, CerebrasInstrumentor)
    assert len({id(kind()) for kind in kinds}) == 3
    for kind in kinds:
        kind().instrument(**seen.providers)
    GroqInstrumentor().uninstrument()
    server = serve(*HEALTHY)
    clients: list[Any] = [
        openai.OpenAI(api_key="unused", base_url=server.base_url),
        groq.Groq(api_key="unused", base_url=server.base_url),
        cerebras.cloud.sdk.Cerebras(api_key="unused", base_url=server.base_url),
    ]
    for client in clients:
        list(client.chat.completions.create(**REQUEST, stream=True))
        client.close()
    OpenAIInstrumentor().uninstrument()
    CerebrasInstrumentor().uninstrument()
    assert [(span.attributes or {})["gen_ai.provider.name"] for span in seen.spans] == ["openai", "cerebras"]


# Derived clients ----------------------------------------------------------------------------------------------


def test_azure(instrumented: Seen, serve: Serve) -> None:
    server = serve([*HEALTHY], response_events(function_call("add_task", ARGUMENTS)))
    client = openai.AzureOpenAI(api_key="unused", api_version="v", base_url=server.base_url)
    list(client.chat.completions.create(**REQUEST, stream=True))
    if HAS_RESPONSES:
        list(client.responses.create(model="m", input="x", stream=True))
    client.close()
    assert {(span.attributes or {})["gen_ai.provider.name"] for span in instrumented.spans} == {"azure.ai.openai"}


def test_a_client_with_derived_resources(instrumented: Seen, serve: Serve) -> None:
    """A derived class whose method calls the SDK's own: one request, one span."""

    class Completions(openai.resources.chat.Completions):
        def create(self, *args: Any, **kwargs: Any) -> Any:
            return super().create(*args, **kwargs)

    class Client(openai.OpenAI):
        @property
        def completions_of_mine(self) -> Completions:
            return Completions(self)

    client = Client(api_key="unused", base_url=serve(*HEALTHY).base_url)
    stream = client.completions_of_mine.create(**REQUEST, stream=True)
    assert type(stream._stream) is openai.Stream
    list(stream)
    client.close()
    assert instrumented.outcome == "completed"
    assert instrumented.anomalies == []


# The provider -------------------------------------------------------------------------------------------------


@pytest.fixture
def _nothing_inferred() -> Iterator[None]:
    providers._inferred.clear()
    yield
    providers._inferred.clear()


@pytest.mark.usefixtures("_nothing_inferred")
@pytest.mark.parametrize(
    ("base_url", "kind", "expected"),
    [
        ("https://api.openai.com/v1", "OpenAI", "openai"),
        ("https://my.openai.azure.com/openai", "OpenAI", "azure.ai.openai"),
        ("https://gateway.example/v1", "AzureOpenAI", "azure.ai.openai"),
        ("https://my.cognitiveservices.azure.com/openai/v1", "OpenAI", "azure.ai.openai"),
        ("https://my.services.ai.azure.com/openai/v1", "OpenAI", "azure.ai.openai"),
        ("https://my.services.ai.azure.com/models", "OpenAI", "azure.ai.inference"),
        ("https://us-central1-aiplatform.googleapis.com/v1/projects/p", "OpenAI", "gcp.vertex_ai"),
        ("https://aiplatform.googleapis.com/v1/projects/p", "OpenAI", "gcp.vertex_ai"),
        ("https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1", "OpenAI", "aws.bedrock"),
        ("https://bedrock-mantle.us-west-2.api.aws/openai/v1", "OpenAI", "aws.bedrock"),
        ("https://bedrock-runtime.us-west-2.amazonaws.com.example/v1", "OpenAI", "openai"),
        ("https://gateway.example/v1", "OpenAI", "openai"),
        ("https://api.groq.com/openai/v1", "OpenAI", "groq"),
        ("https://api.cerebras.ai/v1", "OpenAI", "cerebras"),
        ("https://openrouter.ai/api/v1", "OpenAI", "openrouter"),
        ("http://localhost:11434/v1", "OpenAI", "ollama"),
        ("http://ollama:8080/v1", "OpenAI", "ollama"),
        ("http://vllm-0.models.svc:8000/v1", "OpenAI", "vllm"),
        ("http://llama-server:8080/v1", "OpenAI", "llama_cpp"),
        ("http://llama_cpp/v1", "OpenAI", "llama_cpp"),
        ("http://sglang.internal:30000/v1", "OpenAI", "sglang"),
        ("http://127.0.0.1:8000/v1", "OpenAI", "openai"),
        ("http://notollama.example/v1", "OpenAI", "openai"),
    ],
)
def test_inferred_from_base_url_and_class(base_url: str, kind: str, expected: str) -> None:
    options: dict[str, Any] = {"api_version": "v"} if kind == "AzureOpenAI" else {}
    client = getattr(openai, kind)(api_key="unused", base_url=base_url, **options)
    assert server_of(client).provider == expected
    client.close()


@pytest.mark.usefixtures("_nothing_inferred")
@pytest.mark.parametrize(("fingerprint", "expected"), [("b7315-a1b2c3d", "llama_cpp"), ("fp_ollama", "ollama")])
def test_inferred_from_the_system_fingerprint(
    instrumented: Seen, serve: Serve, fingerprint: str, expected: str
) -> None:
    steps = [*CALL, chunk(finish_reason="tool_calls")]
    server = serve(*[step | {"system_fingerprint": fingerprint} for step in steps], DONE)
    client = openai.OpenAI(api_key="unused", base_url=server.base_url)
    for _ in range(2):
        list(client.chat.completions.create(**REQUEST, stream=True))
    client.close()
    assert [(span.attributes or {})["gen_ai.provider.name"] for span in instrumented.spans] == [expected] * 2
    for metric in ("otel_llm.stream.count", "gen_ai.client.operation.duration"):
        assert {point[0]["gen_ai.provider.name"] for point in instrumented.metric(metric)} == {expected}


@pytest.mark.usefixtures("_nothing_inferred")
def test_openai_keeps_its_name() -> None:
    server = providers.Server("openai", "api.openai.com")
    assert providers.server_inferred_from("b1-a", server) is server
    assert providers.server_inferred_from("fp_44709d6fcb", providers.Server("openai", "h")).provider == "openai"
