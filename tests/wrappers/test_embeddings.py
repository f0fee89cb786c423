"""Embeddings over HTTP: a span of the conventions, whatever the caller reads, and the response as without us."""

from __future__ import annotations

import array
import base64
from collections.abc import Callable
from typing import Any

import groq
import openai
import pytest
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as OfficialInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation

from otel_llm import GroqInstrumentor, OpenAIInstrumentor, intercept_llm_requests
from otel_llm.demo.scripted_server import MODEL, Answer, ScriptedServer, error_event
from otel_llm.testing import watch_streams
from tests.helpers.callers import SyncCaller
from tests.helpers.sdk_versions import httpx
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

REQUEST: dict[str, Any] = {"model": "embed-small", "input": ["buy milk", "call home"]}


def vectors(dimensions: int, *, encoded: bool = True, count: int = 2) -> Answer:
    numbers = array.array("f", [0.25] * dimensions)
    vector: Any = base64.b64encode(numbers.tobytes()).decode() if encoded else numbers.tolist()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return Answer({"object": "list", "data": data, "model": MODEL, "usage": usage})


async def embed(caller: SyncCaller, **kwargs: Any) -> Any:
    return await caller.result(caller.client.embeddings.create(**{**REQUEST, **kwargs}))


def tells_of_embeddings(seen: Seen, dimensions: int = 3) -> None:
    assert seen.span.name == "embeddings embed-small"
    assert seen.span.events == ()
    attributes = seen.attributes
    assert attributes.pop("server.port") > 0
    assert attributes == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "embed-small",
        "gen_ai.response.model": MODEL,
        "gen_ai.embeddings.dimension.count": dimensions,
        "gen_ai.usage.input_tokens": 5,
        "server.address": "127.0.0.1",
    }
    ((labels, (count, total)),) = seen.metric("gen_ai.client.token.usage")
    assert (labels["gen_ai.token.type"], count, total) == ("input", 1, 5)
    assert [name for name in ("otel_llm.stream.count", "otel_llm.tool_call.count") if seen.metric(name)] == []
    seen.encode()


async def test_a_request(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(vectors(3)))
    bare = await embed(caller)
    seen = instrument()
    response = await embed(caller)
    assert (type(response), response.model_dump()) == (type(bare), bare.model_dump())
    assert response.data[0].embedding == [0.25] * 3
    tells_of_embeddings(seen)


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_the_attributes_of_the_official_instrumentation(
    connect: Connect, serve: Serve, instrument: Callable[..., Seen], encoding: str
) -> None:
    caller = connect(serve(vectors(3, encoded=encoding == "base64")))
    official, seen = Seen(), instrument()
    await embed(caller, encoding_format=encoding, dimensions=3)
    OpenAIInstrumentor().uninstrument()
    OfficialInstrumentor().instrument(**official.providers, skip_dep_check=True)
    try:
        await embed(caller, encoding_format=encoding, dimensions=3)
    finally:
        OfficialInstrumentor().uninstrument()
    expected = official.attributes
    if encoding == "base64":
        # It takes the characters of the text for dimensions.
        assert expected["gen_ai.embeddings.dimension.count"] == 16
        expected["gen_ai.embeddings.dimension.count"] = 3
    assert seen.attributes == expected
    assert (seen.span.name, seen.span.kind) == (official.span.name, official.span.kind)
    for name in ("gen_ai.client.operation.duration", "gen_ai.client.token.usage"):
        assert [labels for labels, _ in seen.metric(name)] == [labels for labels, _ in official.metric(name)]


async def test_a_raw_response(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(vectors(3)))
    raw = await caller.result(caller.client.embeddings.with_raw_response.create(**REQUEST))
    assert raw.parse().data[1].embedding == [0.25] * 3
    tells_of_embeddings(instrumented)


@pytest.mark.parametrize("encoded", [False, True], ids=["numbers", "base64"])
async def test_a_raw_response_of_any_length(connect: Connect, serve: Serve, instrumented: Seen, encoded: bool) -> None:
    caller = connect(serve(vectors(4096, encoded=encoded, count=8)))
    await caller.result(caller.client.embeddings.with_raw_response.create(**REQUEST))
    tells_of_embeddings(instrumented, 4096)


@pytest.mark.parametrize("take", ["parse", "json", "read", "iter_bytes"])
def test_a_response_that_is_read_later(serve: Serve, instrumented: Seen, take: str) -> None:
    with (
        openai.OpenAI(api_key="unused", base_url=serve(vectors(3)).base_url) as client,
        client.embeddings.with_streaming_response.create(**REQUEST) as raw,
    ):
        assert instrumented.spans == []
        taken = getattr(raw, take)()
        if take == "iter_bytes":
            assert b'"embedding"' in b"".join(taken)
    tells_of_embeddings(instrumented)


async def test_a_response_that_is_read_later_by_a_task(serve: Serve, instrumented: Seen) -> None:
    async with (
        openai.AsyncOpenAI(api_key="unused", base_url=serve(vectors(3)).base_url) as client,
        client.embeddings.with_streaming_response.create(**REQUEST) as raw,
    ):
        await raw.parse()
    tells_of_embeddings(instrumented)


def test_a_response_that_nobody_reads(serve: Serve, instrumented: Seen) -> None:
    with (
        openai.OpenAI(api_key="unused", base_url=serve(vectors(3)).base_url) as client,
        client.embeddings.with_streaming_response.create(**REQUEST),
    ):
        pass
    assert "gen_ai.usage.input_tokens" not in instrumented.attributes
    assert not instrumented.span.status.description


async def test_refused(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(Answer(error_event("no such model"), status=404)))
    with pytest.raises(openai.NotFoundError):
        await embed(caller)
    assert instrumented.attributes["error.type"] == "openai.NotFoundError"
    assert "no such model" in (instrumented.span.status.description or "")
    assert "gen_ai.response.model" not in instrumented.attributes


async def test_a_secret_in_an_error(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument(redact=lambda text: text.replace("hunter2", "***"))
    caller = connect(serve(Answer(error_event("hunter2 is wrong"), status=400)))
    with pytest.raises(openai.BadRequestError):
        await embed(caller)
    assert "***" in (seen.span.status.description or "")
    assert "hunter2" not in (seen.span.status.description or "")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b'{"data": null, "model": 5, "usage": {"prompt_tokens": -1}}',
        b'{"data": [null], "usage": "x"}',
        b'{"data": [{"embedding": {}}], "model": "\\ud800"}',
        b'{"data": [{"embedding": ""}], "usage": {"prompt_tokens": 99999999999999999999}}',
        b'{"data": [{"embedding": "' + b"A" * 20_000,
        b'{"model": "\\q", "data": [{"embedding": [' + b"1," * 10_000 + b'], "usage": {"prompt_tokens": "5"}}',
    ],
)
async def test_a_response_that_is_nonsense(connect: Connect, serve: Serve, instrumented: Seen, body: bytes) -> None:
    caller = connect(serve(Answer(body)))
    raw = await caller.result(caller.client.embeddings.with_raw_response.create(**REQUEST))
    assert raw.http_response.content == body
    assert "gen_ai.usage.input_tokens" not in instrumented.attributes
    instrumented.encode()


async def test_one_client(connect: Connect, serve: Serve, seen: Seen) -> None:
    caller = connect(serve(vectors(3)))
    intercept_llm_requests(caller.client, **seen.providers)
    await embed(caller)
    tells_of_embeddings(seen)
    caller.client = caller.client.with_options(timeout=5)
    raw = await caller.result(caller.client.embeddings.with_raw_response.create(**REQUEST))
    assert raw.http_response.status_code == 200
    assert len(seen.spans) == 2


async def test_one_client_of_an_instrumented_sdk(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(vectors(3)))
    intercept_llm_requests(caller.client, **instrumented.providers)
    await embed(caller)
    tells_of_embeddings(instrumented)


async def test_suppressed(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(vectors(3)))
    with suppress_instrumentation():
        await embed(caller)
    assert instrumented.spans == []


async def test_the_span_is_current_only_during_the_request(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(vectors(3)))
    tracer = instrumented.tracer_provider.get_tracer("application")
    with tracer.start_as_current_span("work"):
        await embed(caller)
        with tracer.start_as_current_span("after"):
            pass
    embeddings, after, work = instrumented.spans
    assert embeddings.parent == after.parent == work.context


def test_a_request_within_a_request(serve: Serve, instrumented: Seen) -> None:
    server = serve(vectors(3))
    inner = openai.OpenAI(api_key="unused", base_url=server.base_url)
    hooks = {"request": [lambda _request: inner.embeddings.create(model="inner", input="x")]}
    http_client = httpx.Client(event_hooks=hooks)
    with inner, openai.OpenAI(api_key="unused", base_url=server.base_url, http_client=http_client) as client:
        client.embeddings.create(**REQUEST)
    assert [span.name for span in instrumented.spans] == ["embeddings inner", "embeddings embed-small"]


def test_groq(serve: Serve, seen: Seen) -> None:
    GroqInstrumentor().instrument(**seen.providers)
    try:
        with groq.Groq(api_key="unused", base_url=serve(vectors(3, encoded=False)).base_url) as client:
            client.embeddings.create(model="embed-small", input="buy milk")
    finally:
        GroqInstrumentor().uninstrument()
    assert seen.attributes["gen_ai.provider.name"] == "groq"
    assert seen.attributes["gen_ai.embeddings.dimension.count"] == 3


async def test_they_are_no_streams_of_a_test(connect: Connect, serve: Serve) -> None:
    caller = connect(serve(vectors(3)))
    with watch_streams() as streams:
        await embed(caller)
    assert list(streams) == []
