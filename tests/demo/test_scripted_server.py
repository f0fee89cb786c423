"""The scripted server sends its script to a real SDK over a real socket, and can be stopped."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from typing import Any

import openai
import pytest

from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    ScriptedServer,
    Sleep,
    Step,
    chunk,
    comment,
    completion,
    data,
    error_event,
    text,
    tool_call_chunks,
    tool_call_delta,
    usage_chunk,
)

HEALTHY: list[Step] = [chunk(text("Hel")), chunk(text("lo")), chunk(finish_reason="stop"), DONE]


def client_of(server: ScriptedServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key="unused", max_retries=0, timeout=20)


def ask(client: openai.OpenAI, **kwargs: Any) -> Any:
    return client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}], **{"stream": True, **kwargs}
    )


def raw_response(server: ScriptedServer, body: bytes = b"{}") -> tuple[http.client.HTTPResponse, Any]:
    """A response as it is on the wire, without an SDK."""
    address = server.base_url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("POST", "/v1/chat/completions", body)
    return connection.getresponse(), connection


def read_whole_response(server: ScriptedServer) -> bytes:
    response, connection = raw_response(server)
    with contextlib.closing(connection), response:
        return response.read()


def test_a_stream_reaches_the_sdk_chunk_by_chunk() -> None:
    call = tool_call_chunks("add_task", '{"title": "buy milk"}', size=5)
    script: list[Step] = [chunk(text("Hi")), *call, chunk(finish_reason="tool_calls"), usage_chunk(7, 5), DONE]
    with ScriptedServer(script) as server, client_of(server) as client:
        chunks = list(ask(client))
    assert chunks[0].choices[0].delta.content == "Hi"
    first = chunks[1].choices[0].delta.tool_calls[0]
    assert (first.index, first.id, first.function.name, first.type) == (0, "call_1", "add_task", "function")
    deltas = [c.choices[0].delta.tool_calls[0].function.arguments for c in chunks[1:-2]]
    assert deltas == ["", '{"tit', 'le": ', '"buy ', 'milk"', "}"]
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 12


def test_the_requests_are_recorded() -> None:
    with ScriptedServer(HEALTHY) as server, client_of(server) as client:
        list(ask(client, tool_choice="auto", extra_headers={"X-Trace": "abc"}))
        (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["x-trace"] == "abc"
    assert request.body["messages"] == [{"role": "user", "content": "hi"}]
    assert request.body["stream"] is True


def test_one_script_serves_every_request_over_one_connection() -> None:
    with ScriptedServer(HEALTHY) as server, client_of(server) as client:
        for _ in range(3):
            assert len(list(ask(client))) == 3


def test_a_script_for_each_request() -> None:
    first: list[Step] = [chunk(text("one")), DONE]
    second: list[Step] = [chunk(text("two")), DONE]
    with ScriptedServer([first, second]) as server:
        client = client_of(server)
        said = [chunk.choices[0].delta.content for _ in range(2) for chunk in ask(client)]
        with pytest.raises(openai.BadRequestError, match="the script answers 2 requests"):
            ask(client)
        client.close()
    assert said == ["one", "two"]


def test_a_function_gets_the_request_and_yields_steps_lazily() -> None:
    may_go_on = threading.Event()

    def script(request: dict[str, Any]) -> Any:
        yield chunk(text(request["model"]))
        assert may_go_on.wait(20)
        yield chunk(text("later"))

    with ScriptedServer(script) as server, client_of(server) as client:
        stream = ask(client)
        assert next(stream).choices[0].delta.content == "m"
        may_go_on.set()
        assert next(stream).choices[0].delta.content == "later"
        assert list(stream) == []


def test_invalid_events_can_be_sent() -> None:
    script: list[Step] = [
        chunk(tool_call_delta(id="a", name="f", arguments={"already": "parsed"})),
        chunk(tool_call_delta(index=None, arguments="x")),
        chunk({"tool_calls": [{"function": {"arguments": "no index"}}]}),
        chunk(choices=None),
        chunk(text("half a pair: \ud83d")),
        data(["a", "list"]),
        data("a string"),
        comment(),
        b"event: odd\r\ndata: {not json\r\n\r\n",
    ]
    with ScriptedServer(script) as server:
        body = read_whole_response(server)
    events = body.split(b"\n\n")
    assert json.loads(events[0].removeprefix(b"data: "))["choices"][0]["delta"]["tool_calls"] == [
        {
            "index": 0,
            "id": "a",
            "type": "function",
            "function": {"name": "f", "arguments": {"already": "parsed"}},
        }
    ]
    assert b'"tool_calls": [{"index": null, "function": {"arguments": "x"}}]' in events[1]
    assert b'"tool_calls": [{"function": {"arguments": "no index"}}]' in events[2]
    assert b'"choices": null' in events[3]
    assert rb"half a pair: \ud83d" in events[4]
    assert events[5:8] == [b'data: ["a", "list"]', b'data: "a string"', b": keep-alive"]
    assert events[8] == b"event: odd\r\ndata: {not json\r\n\r\n"


def test_nothing_is_added_at_the_end() -> None:
    with ScriptedServer([chunk(text("x"))]) as server:
        response, connection = raw_response(server)
        assert response.getheader("Content-Type", "").startswith("text/event-stream")
        assert b"[DONE]" not in response.read()
        connection.close()


def test_an_error_event_in_the_stream() -> None:
    with (
        ScriptedServer([chunk(text("x")), error_event("out of memory")]) as server,
        client_of(server) as client,
    ):
        stream = ask(client)
        next(stream)
        with pytest.raises(openai.APIError, match="out of memory"):
            next(stream)


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_dropped_in_the_body(*, reset: bool) -> None:
    met = ConnectionResetError if reset else http.client.IncompleteRead
    script: list[Step] = [chunk(text("x")), Drop(reset=reset)]
    with ScriptedServer(script) as server, pytest.raises(met):
        read_whole_response(server)


def test_a_connection_dropped_before_the_headers() -> None:
    with (
        ScriptedServer([Drop()]) as server,
        client_of(server) as client,
        pytest.raises(openai.APIConnectionError),
    ):
        ask(client)


def test_an_http_error_with_its_headers() -> None:
    script = [Answer(error_event("slow down", type="rate_limit"), status=429, headers={"Retry-After": "7"})]
    with (
        ScriptedServer(script) as server,
        client_of(server) as client,
        pytest.raises(openai.RateLimitError, match="slow down") as caught,
    ):
        ask(client)
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_response_that_is_not_a_stream() -> None:
    with ScriptedServer([Answer(completion(text("Hi")))]) as server, client_of(server) as client:
        assert ask(client, stream=False).choices[0].message.content == "Hi"


def test_the_models_can_be_listed() -> None:
    with ScriptedServer([]) as server, client_of(server) as client:
        assert [model.id for model in client.models.list()] == ["scripted-model"]


def test_a_client_that_disconnects_is_not_reported(capfd: pytest.CaptureFixture[str]) -> None:
    client_left = threading.Event()

    def script(request: dict[str, Any]) -> Any:
        yield chunk(text("x"))
        assert client_left.wait(20)
        for _ in range(2000):
            yield chunk(text("y" * 1000))

    with ScriptedServer(script) as server:
        response, connection = raw_response(server)
        response.read(20)
        response.close()
        connection.close()
        client_left.set()
    assert capfd.readouterr() == ("", "")


def test_stopping_does_not_wait_for_a_sleeping_script() -> None:
    script: list[Step] = [chunk(text("x")), Sleep(3600), chunk(text("never"))]
    with ScriptedServer(script) as server:
        response, connection = raw_response(server)
        response.read(20)
        server.close()
        with pytest.raises(http.client.IncompleteRead):
            response.read()
        connection.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scripted-server")]


@pytest.mark.parametrize(
    ("script", "mistake"),
    [
        ([["neither"]], TypeError),
        ([chunk(text("x")), Answer({})], ValueError),
        ([Answer({}), chunk(text("x"))], ValueError),
        ([[chunk(text("x"))], DONE], ValueError),
    ],
)
def test_a_fault_of_the_script_is_raised_at_exit(script: Any, mistake: type[Exception]) -> None:
    server = ScriptedServer(script)
    response, connection = raw_response(server)
    response.close()
    connection.close()
    with pytest.raises(mistake), server:
        pass
