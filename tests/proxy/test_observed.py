"""The span of a request through the proxy is that of the instrumentation for it, in the client's trace."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anthropic
import httpx
import openai
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from otel_llm import AnthropicInstrumentor, OpenAIInstrumentor
from otel_llm.demo.scripted_messages import message_events, text_block, tool_use
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
from otel_llm.diagnosis.explanations.model import TOOLS
from tests.helpers.proxying import RunningProxy, proxying
from tests.helpers.raw_server import raw_server
from tests.helpers.sdk_versions import HAS_RESPONSES
from tests.helpers.seen import Seen

MESSAGES: list[Any] = [{"role": "user", "content": "Buy milk"}]
STREAM = [
    chunk(text("Sure. ")),
    *tool_call_chunks("add_task", '{"title": "buy milk"}'),
    chunk(finish_reason="tool_calls"),
    DONE,
]
EMBEDDINGS = {
    "object": "list",
    "model": "e-1",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}
TEXT = {
    "id": "t",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}],
}
Call = Callable[[Any], None]


class Case:
    """A request of an SDK, and how a server answers it."""

    def __init__(self, call: Call, *steps: Any, kind: str = "openai") -> None:
        self.call, self.steps, self.kind = call, steps, kind

    def run(self, url: str) -> None:
        options: dict[str, Any] = {"api_key": "k", "max_retries": 0, "timeout": 20}
        client: Any
        if self.kind == "openai":
            client = openai.OpenAI(base_url=f"{url}/v1", **options)
        else:
            client = anthropic.Anthropic(base_url=url, **options)
        with client:
            self.call(client)


def exhaust(stream: Any) -> None:
    for _ in stream:
        pass


def ignoring(call: Call) -> Call:
    def called(client: Any) -> None:
        with pytest.raises((openai.APIError, httpx.HTTPError)):
            call(client)

    return called


def chat(**more: Any) -> Call:
    return lambda client: exhaust(
        client.chat.completions.create(model="m", messages=MESSAGES, tools=list(TOOLS), stream=True, **more)
    )


CASES = {
    "stream": Case(chat(temperature=0.5, stop=["x"]), *STREAM),
    "stream without [DONE] and finish reason": Case(chat(), *STREAM[:-2]),
    "unknown tool": Case(chat(), *tool_call_chunks("nothing", "{}"), chunk(finish_reason="stop"), DONE),
    "error in a stream": Case(ignoring(chat()), chunk(text("a")), error_event("broken")),
    "whole": Case(
        lambda client: client.chat.completions.create(model="m", messages=MESSAGES, tools=list(TOOLS), seed=7),
        Answer(completion(text("Hello"))),
    ),
    "messages": Case(
        lambda client: exhaust(
            client.messages.create(
                model="claude",
                max_tokens=10,
                messages=MESSAGES,
                tools=[{"name": "add_task", "input_schema": {"type": "object", "properties": {"title": {}}}}],
                stream=True,
            )
        ),
        *message_events(text_block("Sure."), tool_use("add_task", '{"title": "buy milk"}')),
        kind="anthropic",
    ),
    "text completion": Case(lambda client: client.completions.create(model="m", prompt="Say"), Answer(TEXT)),
    "embeddings": Case(
        lambda client: client.embeddings.create(model="e", input=["a"], encoding_format="float"), Answer(EMBEDDINGS)
    ),
}
if HAS_RESPONSES:
    CASES["responses"] = Case(
        lambda client: exhaust(client.responses.create(model="m", input="Buy milk", stream=True)),
        *response_events(function_call("add_task", '{"title": "buy milk"}')),
    )


class Server(ScriptedServer):
    """A scripted server whose script each test sets."""

    def __init__(self) -> None:
        self.script: list[Any] = [DONE]
        super().__init__(lambda _request: self.script)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: Server) -> Iterator[RunningProxy]:
    with proxying(server.base_url, span_headers=["X-Tenant"]) as proxy:
        yield proxy


def span_of(proxy: RunningProxy, run: Callable[[], object]) -> ReadableSpan:
    """The one span of what `run` sends through the proxy."""
    seen = proxy.seen
    assert seen is not None
    # Spans of earlier requests may still be ending.
    proxy.settle()
    seen._spans.clear()
    run()
    deadline = time.monotonic() + 20
    while not seen.spans and time.monotonic() < deadline:
        # The proxy may not have learned yet that the client has gone.
        proxy.settle()
        time.sleep(0.005)
    return seen.span


def described(span: ReadableSpan) -> dict[str, Any]:
    """What a span says, without times, and without what names the process."""
    timed = ("time_to_first", "max_chunk_gap", "time_per_output")
    attributes = {name: value for name, value in (span.attributes or {}).items() if not any(t in name for t in timed)}
    return {
        "name": span.name,
        "kind": span.kind,
        "status": (span.status.status_code, span.status.description),
        "attributes": attributes,
        "events": [(event.name, dict(event.attributes or {})) for event in span.events],
    }


@pytest.mark.parametrize("name", CASES)
def test_the_span_is_that_of_the_instrumentation(name: str, server: Server, proxy: RunningProxy) -> None:
    case = CASES[name]
    instrumentor: Any = OpenAIInstrumentor() if case.kind == "openai" else AnthropicInstrumentor()
    direct = Seen()
    server.script = list(case.steps)
    instrumentor.instrument(**direct.providers)
    try:
        case.run(server.base_url.removesuffix("/v1"))
    finally:
        instrumentor.uninstrument()
    through = span_of(proxy, lambda: case.run(proxy.url))
    if name == "error in a stream":
        # The exception of an SDK has a class of its own.
        assert through.status.status_code == direct.span.status.status_code
        return
    assert described(through) == described(direct.span)


def test_metrics_too(server: Server, proxy: RunningProxy) -> None:
    server.script = STREAM
    span_of(proxy, lambda: CASES["stream"].run(proxy.url))
    assert proxy.seen is not None
    labels = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "m", "gen_ai.tool.name": "add_task"}
    assert any(attributes == labels for attributes, _ in proxy.seen.metric("otel_llm.tool_call.count"))
    assert proxy.seen.metric("gen_ai.client.operation.duration")


def test_the_trace_goes_on_through_the_proxy() -> None:
    with raw_server() as server, proxying(server.url) as proxy:
        server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
        headers = {
            "traceparent": f"00-{trace}-{parent}-01",
            "tracestate": "a=b",
            "baggage": "user = me ;p=1,x=y",
        }
        span = span_of(
            proxy,
            lambda: httpx.post(f"{proxy.url}/v1/chat/completions", json={"model": "m"}, headers=headers),
        )
        assert span.parent is not None
        assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (trace, parent)
        head = server.got[0][0].decode()
        assert span.context is not None
        assert f"traceparent: 00-{trace}-{span.context.span_id:016x}-01\r\n" in head
        assert "tracestate: a=b\r\n" in head
        assert "baggage: user = me ;p=1,x=y\r\n" in head
        # What is not observed keeps the client's.
        httpx.get(f"{proxy.url}/v1/models", headers=headers)
        assert f"traceparent: {headers['traceparent']}\r\n" in server.got[1][0].decode()


def test_who_asks_is_on_the_span(server: Server, proxy: RunningProxy) -> None:
    server.script = STREAM
    call = chat(user="me", metadata={"ticket": "7"}, extra_headers={"X-Tenant": "blue", "Authorization": "Bearer s3"})
    span = span_of(proxy, lambda: Case(call).run(proxy.url))
    attributes = dict(span.attributes or {})
    assert attributes["user.id"] == "me"
    assert attributes["otel_llm.request.metadata.ticket"] == "7"
    assert attributes["http.request.header.x-tenant"] == "blue"
    assert "s3" not in span.to_json()


def test_a_refused_request(server: Server, proxy: RunningProxy) -> None:
    server.script = [Answer({"error": {"message": "Too many", "type": "rate_limit", "code": None}}, status=429)]
    span = span_of(proxy, lambda: Case(ignoring(chat())).run(proxy.url))
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "Too many")
    assert (span.attributes or {})["error.type"] == "rate_limit"


@pytest.mark.parametrize("steps", [[Drop()], [chunk(text("a")), Drop()]])
def test_a_server_that_drops_the_connection(steps: list[Any], server: Server, proxy: RunningProxy) -> None:
    server.script = steps
    span = span_of(proxy, lambda: Case(ignoring(chat())).run(proxy.url))
    assert span.status.status_code == StatusCode.ERROR
    assert str((span.attributes or {})["error.type"]).endswith("UpstreamDropped")


def test_a_server_that_cannot_be_reached() -> None:
    with proxying("http://127.0.0.1:1/v1") as proxy:
        answers: list[httpx.Response] = []

        def post(path: str) -> None:
            answers.append(httpx.post(f"{proxy.url}/v1/{path}", json={"model": "m"}))

        for path in ("chat/completions", "messages"):
            span = span_of(proxy, partial(post, path))
            assert str((span.attributes or {})["error.type"]).endswith("UpstreamUnreachable")
        assert [answer.status_code for answer in answers] == [502, 502]
        assert answers[0].json()["error"]["code"] == "UpstreamUnreachable"
        assert answers[1].json()["error"]["type"] == "api_error"
        assert proxy.seen is not None
        (point,) = proxy.seen.metric("otel_llm.proxy.upstream.errors")
        assert point == ({"error.type": "UpstreamUnreachable"}, 2)


def test_a_client_that_leaves(server: Server, proxy: RunningProxy) -> None:
    server.script = [chunk(text("a")), chunk(text("b"))] + [chunk(text("c"))] * 1000

    def leave(client: Any) -> None:
        with client.chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
            next(iter(stream))

    seen = proxy.seen
    assert seen is not None
    span = span_of(proxy, lambda: Case(leave).run(proxy.url))
    assert (span.attributes or {})["otel_llm.stream.outcome"] in {"closed", "completed"}


def test_what_is_no_request_to_a_model_has_no_span(server: Server, proxy: RunningProxy) -> None:
    assert proxy.seen is not None
    proxy.seen._spans.clear()
    server.script = [Answer({"data": []})]
    httpx.get(f"{proxy.url}/v1/models")
    httpx.post(f"{proxy.url}/v1/chat/completions", content=b"no json")
    httpx.post(f"{proxy.url}/v1/chat/completions", json=[1])
    proxy.settle()
    assert proxy.seen.spans == []


def test_the_proxy_counts_itself(server: Server, proxy: RunningProxy) -> None:
    server.script = STREAM
    assert proxy.seen is not None
    with httpx.Client() as client:
        client.post(f"{proxy.url}/v1/chat/completions", json={"model": "m", "stream": True})
        sides = {str(a["otel_llm.proxy.side"]): v for a, v in proxy.seen.metric("otel_llm.proxy.connections")}
        assert sides["client"] >= 1
    directions = {str(a["otel_llm.proxy.direction"]): v for a, v in proxy.seen.metric("otel_llm.proxy.bytes")}
    assert directions["up"] > 0
    assert directions["down"] > 0
    ((_, (count, _)),) = proxy.seen.metric("otel_llm.proxy.added_latency")
    ((_, requests),) = proxy.seen.metric("otel_llm.proxy.requests")
    assert count == requests


def test_a_long_answer_is_judged_elsewhere(server: Server, proxy: RunningProxy) -> None:
    server.script = [*(chunk(text("word " * 100)) for _ in range(600)), chunk(finish_reason="stop"), DONE]
    span = span_of(proxy, lambda: CASES["stream"].run(proxy.url))
    assert (span.attributes or {})["otel_llm.stream.outcome"] == "completed"
    assert (span.attributes or {})["otel_llm.stream.chunk_count"] == 601


def test_a_bomb_is_passed_on(proxy: RunningProxy) -> None:
    import gzip

    bomb = gzip.compress(b"[" + b" " * 70_000_000 + b"]")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with raw_server() as server, proxying(server.url) as other:
        server.answer(head % len(bomb) + bomb)
        with httpx.stream("POST", f"{other.url}/v1/chat/completions", json={"model": "m"}) as response:
            assert b"".join(response.iter_raw()) == bomb
        other.settle()
        assert other.seen is not None
        assert json.loads(other.seen.span.to_json())["name"] == "chat m"
