"""With `--tags`, calls that a model wrote as text become real ones on the way, and every other byte stays."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from otel_llm.demo.scripted_server import DONE, chunk, completion, text
from otel_llm.diagnosis.explanations.model import TOOLS
from tests.helpers.proxying import RunningProxy, proxying
from tests.helpers.raw_server import RawServer, raw_server
from tests.helpers.sdk_versions import HAS_RESPONSES

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": list(TOOLS)}
WRITTEN = '<tool_call>{"name": "add_task", "arguments": {"title": "buy milk"}}</tool_call>'


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with raw_server() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: RawServer) -> Iterator[RunningProxy]:
    with proxying(server.url, tags="openai") as proxy:
        yield proxy


def event(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b"data: %b\n\n" % json.dumps(value).encode()


def streamed(*steps: Any) -> bytes:
    pieces = [event(step) for step in steps]
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % body


def whole(value: Any, *, compressed: bool = False) -> bytes:
    body = json.dumps(value).encode()
    lines = [b"HTTP/1.1 200 OK", b"Content-Type: application/json", b"ETag: x", b"X-Request-Id: 7"]
    if compressed:
        body = gzip.compress(body)
        lines.append(b"Content-Encoding: gzip")
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def calls_of(message: Any) -> list[tuple[str, str]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()]


PIECES = [WRITTEN[at : at + 9] for at in range(0, len(WRITTEN), 9)]


def test_a_stream(server: RawServer, proxy: RunningProxy) -> None:
    server.answer(streamed(*(chunk(text(piece)) for piece in PIECES), chunk(finish_reason="stop"), DONE))
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=0) as client:
        chunks = list(client.chat.completions.create(stream=True, **ASK))
    deltas = [choice.delta for one in chunks for choice in one.choices]
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert calls[0].function is not None
    assert calls[0].function.name == "add_task"
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    assert json.loads(arguments) == {"title": "buy milk"}
    assert not "".join(delta.content or "" for delta in deltas)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    proxy.settle()
    assert proxy.seen is not None
    span = proxy.seen.spans[-1]
    assert "otel_llm.tag_rewrite" in [one.name for one in span.events]


def test_what_does_not_change_stays_as_it_came(server: RawServer, proxy: RunningProxy) -> None:
    odd = [
        b": a comment\n\n",
        b'data:{"id":"c",  "choices":[{"index":0,"delta":{"content":"Stra\\u00dfe"}}]}\r\n\r\n',
        b"id: 7\nevent: x\ndata: {}\n\n",
        b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n',
        DONE,
    ]
    server.answer(streamed(*odd))
    answer = httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK | {"stream": True})
    assert answer.content == b"".join(odd)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_whole_response_has_the_right_length(compressed: bool, server: RawServer, proxy: RunningProxy) -> None:
    server.answer(whole(completion(text(f"Sure. {WRITTEN}")), compressed=compressed))
    with httpx.Client() as client:
        for _ in range(2):
            answer = client.post(f"{proxy.url}/v1/chat/completions", json=ASK, headers={"Accept-Encoding": "gzip"})
            raw = gzip.compress(answer.content) if compressed else answer.content
            (choice,) = answer.json()["choices"]
            assert calls_of(choice["message"]) == [("add_task", '{"title": "buy milk"}')]
            assert choice["finish_reason"] == "tool_calls"
            assert "etag" not in answer.headers
            assert answer.headers["x-request-id"] == "7"
            assert compressed or int(answer.headers["content-length"]) == len(raw)


def test_a_whole_response_without_calls_is_the_same(server: RawServer, proxy: RunningProxy) -> None:
    response = whole(completion(text("Sure.  ")))
    server.answer(response)
    answer = httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    assert answer.content == response.partition(b"\r\n\r\n")[2]


@pytest.mark.skipif(not HAS_RESPONSES, reason="this version of the SDK has no Responses API")
def test_the_responses_api(server: RawServer, proxy: RunningProxy) -> None:
    output = [
        {
            "type": "message",
            "id": "msg",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": WRITTEN, "annotations": []}],
        }
    ]
    server.answer(whole({"id": "r", "object": "response", "status": "completed", "model": "m", "output": output}))
    tools = [{"type": "function", **tool["function"]} for tool in TOOLS]
    answer = httpx.post(f"{proxy.url}/v1/responses", json={"model": "m", "input": "a", "tools": tools})
    kinds = [(item["type"], item.get("name")) for item in answer.json()["output"]]
    assert ("function_call", "add_task") in kinds


def test_other_apis_are_left_alone(server: RawServer, proxy: RunningProxy) -> None:
    response = whole({"id": "t", "object": "text_completion", "choices": [{"index": 0, "text": WRITTEN}]})
    server.answer(response)
    answer = httpx.post(f"{proxy.url}/v1/completions", json={"model": "m", "prompt": "a"})
    assert answer.content == response.partition(b"\r\n\r\n")[2]


def test_errors_are_left_alone(server: RawServer, proxy: RunningProxy) -> None:
    response = whole(completion(text(WRITTEN))).replace(b"200 OK", b"400 Bad Request")
    server.answer(response)
    answer = httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    assert answer.status_code == 400
    assert answer.content == response.partition(b"\r\n\r\n")[2]


def test_only_readable_encodings_are_asked_for(server: RawServer, proxy: RunningProxy) -> None:
    server.got.clear()
    server.answer(whole(completion(text("a"))))
    for accepted in ("gzip, br;q=0.9, zstd, deflate", "br", "gzip"):
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK, headers={"Accept-Encoding": accepted})
    httpx.post(f"{proxy.url}/v1/embeddings", json={"model": "m", "input": "a"}, headers={"Accept-Encoding": "br"})
    asked = [head.split(b"ccept-Encoding: ")[1].split(b"\r\n")[0] for head, _ in server.got]
    assert asked == [b"gzip, deflate", b"identity", b"gzip", b"br"]


@pytest.mark.swallows("tag rewriting")
def test_a_fault_leaves_the_bytes_as_they_came(server: RawServer, break_scanner: Any) -> None:
    steps = [chunk(text("hello ")), chunk(text("<BROKEN")), chunk(text(" after")), chunk(finish_reason="stop"), DONE]
    server.answer(streamed(*steps))
    break_scanner("<BROKEN")
    with proxying(server.url, tags="openai") as proxy:
        answer = httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK | {"stream": True})
        said = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: {")]
        content = "".join(choice["delta"].get("content") or "" for one in said for choice in one["choices"])
        assert content == "hello <BROKEN after"
        assert answer.content.endswith(DONE)
        proxy.settle()
        assert proxy.seen is not None
        ((_, failures),) = proxy.seen.metric("otel_llm.proxy.rewrite.failures")
        assert failures == 1


def test_a_server_may_have_tags_of_its_own(server: RawServer, tmp_path: Any) -> None:
    from otel_llm.proxy.configuration import Given, configured

    file = tmp_path / "proxy.yaml"
    file.write_text(
        f"upstreams:\n  - {{name: a, url: '{server.url}', tags: openai}}\n  - {{name: b, url: '{server.url}'}}\n"
    )
    server.answer(whole(completion(text(WRITTEN))))
    configuration = configured(Given(), file, {})
    from tests.helpers.proxying import RunningProxy as Running
    from tests.helpers.seen import Seen

    proxy = Running(configuration, Seen())
    proxy.start()
    try:
        for name, count in (("a", 1), ("b", 0)):
            answer = httpx.post(f"{proxy.url}/{name}/v1/chat/completions", json=ASK)
            assert len(calls_of(answer.json()["choices"][0]["message"])) == count
    finally:
        proxy.stop()
