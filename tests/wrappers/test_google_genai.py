"""Google's SDK over HTTP: one span a request, and the same responses, types and exceptions as without us."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import MagicMock

import pytest
import wrapt
from google.genai import errors, models, types
from opentelemetry import trace

from otel_llm import GoogleGenAIInstrumentor, intercept_llm_requests
from otel_llm.demo.scripted_gemini import (
    call_in_pieces,
    call_part,
    candidate,
    response,
    responses,
    text_part,
    text_pieces,
    whole,
)
from otel_llm.demo.scripted_server import Answer, Drop, ScriptedServer, Sleep
from otel_llm.wrappers.sdk_internals import (
    GENERATE,
    GENERATE_STREAM,
    GeminiAddress,
    VertexAIAddress,
    client_of,
    generating_models_of,
)
from tests.helpers.gemini_callers import DECLARATION, REQUEST, AsyncCaller, Caller
from tests.helpers.same_in_all_sdks import tells_of_a_cancelled_task
from tests.helpers.sdk_fixtures import connecting, instrumenting
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., Caller]

THOUGHT, SAID, CALL = text_part("hm", thought=True), text_part("Sure."), call_part("add_task", {"title": "a"})
HEALTHY = responses([THOUGHT], [text_part("Su")], [text_part("re.")], [CALL], [text_part("")])


connect = connecting(Caller, AsyncCaller, close="close_client")
instrument = instrumenting(GoogleGenAIInstrumentor)


def dumped(answers: list[Any]) -> list[Any]:
    """Responses without the headers that tell the time."""
    return [(type(one), one.model_dump(exclude={"sdk_http_response"})) for one in answers]


def anomaly_counts(seen: Seen) -> set[Any]:
    return {(span.attributes or {})["otel_llm.stream.anomaly_count"] for span in seen.spans}


async def test_a_stream(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(*HEALTHY))
    bare = await caller.responses()
    seen = instrument()
    assert dumped(await caller.responses()) == dumped(bare)
    assert seen.outcome == "completed"
    names = [one.name.removeprefix("otel_llm.") for one in seen.events()]
    assert names[:4] == ["reasoning.started", "text.started", "tool_call.detected", "tool_call.name"]
    assert names[-2:] == ["tool_call.completed", "finish_reason"]
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == '{"title": "a"}'
    assert seen.anomalies == []
    assert seen.span.name == "generate_content tiny"
    assert seen.attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert seen.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert (seen.attributes["gen_ai.usage.input_tokens"], seen.attributes["gen_ai.usage.output_tokens"]) == (3, 4)
    seen.encode()


async def test_arguments_in_pieces(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    await connect(serve(*responses(*call_in_pieces("add_task", *text_pieces("$.title", "New York"))))).responses()
    deltas = seen.events("otel_llm.tool_call.arguments.delta")
    assert (
        "".join(str((one.attributes or {})["gen_ai.tool.call.arguments"]) for one in deltas) == '{"title":"New York"}'
    )
    assert seen.anomalies == []


async def test_a_whole_response(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(Answer(whole(THOUGHT, SAID, CALL))))
    bare = await caller.create()
    seen = instrument()
    answer = await caller.create()
    assert dumped([answer]) == dumped([bare])
    assert [call.args for call in answer.function_calls] == [{"title": "a"}]
    assert dumped([copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))]) == dumped([answer, answer])
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == '{"title": "a"}'
    assert "gen_ai.tool.call.id" not in (completed.attributes or {})
    assert seen.anomalies == []
    assert "otel_llm.stream.outcome" not in seen.attributes


@pytest.mark.parametrize("streams", [False, True])
async def test_a_chat_that_calls_functions(
    connect: Connect, serve: Serve, instrument: Callable[..., Seen], streams: bool
) -> None:
    """The SDK executes the functions and sends their results by itself; each of its requests is a span."""
    called: list[str] = []

    def add_task(title: str) -> str:
        """Add a task."""
        called.append(title)
        return f"added {title}"

    # Not as text, which the first versions cannot read.
    add_task.__annotations__ = {"title": str, "return": str}
    calls = [call_part("add_task", {"title": "a"}), call_part("add_task", {"title": "b"})]
    steps: list[Any] = [responses(calls), responses([text_part("Done.")])]
    server = serve(*(steps if streams else [[Answer(step[0])] for step in steps]))
    caller = connect(server)
    seen = instrument()
    chat = caller.chat(config={"tools": [add_task]})
    if streams:
        assert (await caller.send_stream(chat, "add them"))[-1].text == "Done."
    else:
        assert (await caller.send(chat, "add them")).text == "Done."
    assert called == ["a", "b"]
    assert len(chat.get_history()) == 4
    first, second = seen.spans
    assert len(server.requests) == 2
    assert [link.context for link in second.links] == [first.context] * 2
    assert [dict(link.attributes or {}) for link in second.links] == [{"gen_ai.tool.name": "add_task"}] * 2
    assert anomaly_counts(seen) == {0}


async def test_functions_without_a_chat(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    def roll() -> int:
        return 4

    server = serve(*([[Answer(whole(call_part("roll", {})))]] * 2), [Answer(whole(SAID))])
    caller = connect(server)
    seen = instrument()
    answer = await caller.create(config={"tools": [roll]})
    assert answer.text == "Sure."
    assert len(seen.spans) == len(server.requests) == 3
    assert [len(span.links) for span in seen.spans] == [0, 1, 1]
    assert anomaly_counts(seen) == {0}


async def test_a_stream_that_is_continued(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    """An answer that took several requests has a span for each, and none of them is at fault."""
    if "automatic_continuation" not in types.GenerateContentConfig.model_fields:
        pytest.skip("this version does not continue answers")
    cut = response(candidate([THOUGHT], "CONTINUATION", continuationToken="dG9rZW4="))
    server = serve([cut], responses([SAID]))
    caller = connect(server)
    bare = await caller.responses()
    caller = connect(serve([cut], responses([SAID])))
    seen = instrument()
    assert dumped(await caller.responses()) == dumped(bare)
    assert [span.attributes["gen_ai.response.finish_reasons"] for span in seen.spans if span.attributes] == [
        ("continuation",),
        ("stop",),
    ]
    assert anomaly_counts(seen) == {0}


async def test_vertex_ai(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    await connect(serve(*HEALTHY), vertexai=True).responses()
    assert seen.attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert seen.attributes["server.address"] == "127.0.0.1"


FAILED = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


async def test_an_error_in_the_stream(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(*HEALTHY[:3], FAILED))
    with pytest.raises(errors.ServerError) as bare:
        await caller.responses()
    seen = instrument()
    with pytest.raises(errors.ServerError) as raised:
        await caller.responses()
    assert str(raised.value) == str(bare.value)
    assert seen.outcome == "error"
    assert seen.attributes["error.type"] == "503"
    assert seen.attributes["otel_llm.stream.chunk_count"] == 3


@pytest.mark.parametrize("streams", [False, True])
async def test_a_refused_request(
    connect: Connect, serve: Serve, instrument: Callable[..., Seen], streams: bool
) -> None:
    seen = instrument()
    refused = {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}
    caller = connect(serve(Answer(refused, status=400)))
    with pytest.raises(errors.ClientError):
        await (caller.responses() if streams else caller.create())
    assert not seen.span.status.is_ok
    assert seen.attributes["error.type"] == "400"


async def test_a_dropped_connection(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    with pytest.raises(Exception, match=r"peer|closed|incomplete|Connection"):
        await connect(serve(*HEALTHY[:3], Drop())).responses()
    assert seen.outcome == "error"


async def test_a_cut_stream(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    await connect(serve(*HEALTHY[:3])).responses()
    assert (seen.outcome, seen.anomalies) == ("completed", ["missing_finish_reason"])


async def test_a_stream_that_is_left(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    """The SDK's generators do not pass on how they were left, only that."""
    seen = instrument()
    caller = connect(serve(*HEALTHY, Sleep(5)))
    stream = await caller.stream()
    await caller.read(stream, 2)
    await caller.close(stream)
    del stream
    gc.collect()
    # The generators of the SDK are closed one by one.
    for _ in range(100):
        if not seen.spans:
            await asyncio.sleep(0.01)
    assert seen.outcome in {"abandoned", "closed"}
    assert seen.anomalies == []


async def test_a_stream_that_is_never_read(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    server = serve(*HEALTHY)
    seen = instrument()
    stream = await connect(server).stream()
    await connect(server).close(stream)
    del stream
    # Some versions of the asynchronous SDK send the request at once.
    assert len(seen.spans) == len(server.requests)


async def test_a_task_that_is_cancelled(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = AsyncCaller(serve(*HEALTHY[:2], Sleep(30)))
    await tells_of_a_cancelled_task(lambda: caller.stream(), seen)
    await caller.close_client()


async def test_threads(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = Caller(serve(*HEALTHY))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: list(caller.client.models.generate_content_stream(**REQUEST)), range(8)))
    await caller.close_client()
    assert [dict(span.attributes or {})["otel_llm.stream.outcome"] for span in seen.spans] == ["completed"] * 8
    assert len({span.context.trace_id for span in seen.spans if span.context}) == 8


@pytest.mark.parametrize("has_ids", [False, True])
async def test_a_result_is_linked_to_its_call(
    connect: Connect, serve: Serve, instrument: Callable[..., Seen], has_ids: bool
) -> None:
    fields = {"id": "call-1"} if has_ids else {}
    call = call_part("add_task", {"title": "a"}, **fields)
    caller = connect(serve(responses([call]), responses([text_part("Done.")])))
    seen = instrument()
    (answer,) = await caller.responses()
    # Whether the application repeats an id or not.
    result = types.Part.from_function_response(name="add_task", response={"result": "ok"})
    contents = ["add a task", answer.candidates[0].content, types.Content(role="user", parts=[result])]
    await caller.responses(contents=contents)
    first, second = seen.spans
    (link,) = second.links
    assert link.context == first.context
    told = {"gen_ai.tool.call.id": "call-1"} if has_ids else {}
    assert dict(link.attributes or {}) == {**told, "gen_ai.tool.name": "add_task"}
    assert anomaly_counts(seen) == {0}


async def test_one_client(connect: Connect, serve: Serve, seen: Seen) -> None:
    server = serve(*HEALTHY)
    caller = connect(server)
    assert intercept_llm_requests(caller.client, **seen.providers) is caller.client
    assert intercept_llm_requests(caller.client) is caller.client
    await caller.responses()
    assert seen.anomalies == []
    await caller.send_stream(caller.chat(), "hi")
    assert len(seen.spans) == 2
    await connect(server).responses()
    assert len(seen.spans) == 2


async def test_one_span_under_both(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    intercept_llm_requests(caller.client, **seen.providers)
    await caller.responses()
    assert len(seen.spans) == 1


async def test_the_request_is_made_inside_its_span(serve: Serve, instrument: Callable[..., Seen]) -> None:
    """Spans of an HTTP client's instrumentation are children of the request's, and those between responses are not."""
    seen = instrument()
    inside: list[Any] = []
    caller = Caller(serve(*HEALTHY))
    http_client = getattr(caller.client._api_client, "_httpx_client", None)
    if http_client is None:
        pytest.skip("this version uses another HTTP client")
    http_client.event_hooks = {"request": [lambda _: inside.append(trace.get_current_span().get_span_context())]}
    around: list[Any] = []
    stream = await caller.stream()
    while await caller.read(stream, 1):
        around.append(trace.get_current_span())
    await caller.close_client()
    assert inside == [seen.span.context]
    assert set(around) == {trace.INVALID_SPAN}


CONFIG = {
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.9,
    "max_output_tokens": 7,
    "stop_sequences": ["END"],
    "candidate_count": 2,
    "seed": 5,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "response_mime_type": "application/json",
    "system_instruction": "Be brief.",
}


@pytest.mark.parametrize("form", [dict, types.GenerateContentConfig.model_validate], ids=["dict", "object"])
async def test_the_request(connect: Connect, serve: Serve, instrument: Callable[..., Seen], form: Any) -> None:
    seen = instrument()
    await connect(serve(Answer(whole(SAID)))).create(config=form(CONFIG))
    asked = {name.removeprefix("gen_ai.request."): value for name, value in seen.attributes.items()}
    assert (asked["temperature"], asked["top_k"], asked["top_p"], asked["max_tokens"]) == (0.5, 3, 0.9, 7)
    assert (asked["stop_sequences"], asked["choice.count"], asked["seed"]) == (("END",), 2, 5)
    assert (asked["presence_penalty"], asked["frequency_penalty"]) == (0.1, 0.2)
    assert asked["gen_ai.output.type"] == "json"


async def test_content(
    connect: Connect, serve: Serve, monkeypatch: pytest.MonkeyPatch, instrument: Callable[..., Seen]
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    seen = instrument()
    contents = [
        "look",
        types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png"),
        types.Part.from_uri(file_uri="gs://bucket/a.pdf", mime_type="application/pdf"),
        {"role": "model", "parts": [THOUGHT, {"function_call": {"name": "add_task", "args": {"title": "a"}}}]},
        {"role": "user", "parts": [{"function_response": {"name": "add_task", "response": {"result": "ok"}}}]},
    ]
    config = {
        "tools": [{"function_declarations": [DECLARATION]}, {"google_search": {}}],
        "system_instruction": "Brief.",
    }
    await connect(serve(Answer(whole(THOUGHT, SAID, CALL)))).create(contents=contents, config=config)
    sent = [(message["role"], message["parts"]) for message in json.loads(seen.attributes["gen_ai.input.messages"])]
    assert [role for role, _ in sent] == ["user", "assistant", "tool"]
    assert [part["type"] for part in sent[0][1]] == ["text", "blob", "uri"]
    assert sent[0][1][1]["content"] == "iVBORw=="
    assert sent[1][1][0] == {"type": "reasoning", "content": "hm"}
    call = sent[1][1][1]
    assert (call["name"], call["arguments"], call.get("id")) == ("add_task", {"title": "a"}, None)
    assert sent[2][1][0]["response"] == {"result": "ok"}
    (answer,) = json.loads(seen.attributes["gen_ai.output.messages"])
    assert [part["type"] for part in answer["parts"]] == ["reasoning", "text", "tool_call"]
    assert json.loads(seen.attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Brief."}]
    tools = json.loads(seen.attributes["gen_ai.tool.definitions"])
    assert [tool["name"] for tool in tools] == ["add_task", "google_search"]
    assert tools[0]["parameters"]["properties"] == {"title": {"type": "string"}}
    seen.encode()


async def test_hostile_responses(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    hostile = [
        {},
        {"candidates": []},
        response(candidate([{}, {"functionCall": {}}, {"text": ""}])),
        response(candidate(None, index=2**31)),
        response(candidate([{"functionCall": {"name": "f", "willContinue": True}}], index=7)),
        response(candidate([{"functionCall": {"partialArgs": [{"jsonPath": "$..", "stringValue": "x"}]}}])),
        response(candidate([text_part("\ud800")], "OTHER"), newField={"a": [1]}),
    ]
    caller = connect(serve(*hostile))
    bare = await caller.responses()
    seen = instrument()
    assert dumped(await caller.responses()) == dumped(bare)
    assert seen.outcome == "completed"
    seen.encode()


async def test_another_instrumentation(
    connect: Connect, serve: Serve, instrument: Callable[..., Seen], caplog: pytest.LogCaptureFixture
) -> None:
    def others(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    others.__module__ = "opentelemetry.instrumentation.google_genai"
    kinds: list[Any] = [models.Models, models.AsyncModels]
    for kind in kinds:
        wrapt.wrap_function_wrapper(kind, "generate_content", others)
    try:
        instrument()
        await connect(serve(Answer(whole(SAID)))).create()
    finally:
        for kind in kinds:
            kind.generate_content = kind.generate_content.__wrapped__
    assert "opentelemetry.instrumentation.google_genai also instruments" in caplog.text


# What `wrappers/sdk_internals.py` relies on -------------------------------------------------------------------------


def test_the_methods_that_make_one_request_each() -> None:
    for kind in (models.Models, models.AsyncModels):
        for name in (GENERATE, GENERATE_STREAM):
            assert name in vars(kind), f"{kind.__name__} has no `{name}`: no request of Google's SDK is observed"
    assert inspect.isgeneratorfunction(vars(models.Models)[GENERATE_STREAM]), (
        "a stream's request is no longer made by its first read: spans of the HTTP client are not children of it"
    )


@pytest.mark.parametrize("vertexai", [False, True])
def test_a_resource_has_its_client(serve: Serve, vertexai: bool) -> None:
    server = serve(*HEALTHY)
    caller = Caller(server, vertexai=vertexai)
    address = client_of(caller.client.models)
    assert type(address) is (VertexAIAddress if vertexai else GeminiAddress), (
        "`gen_ai.provider.name` of Vertex AI is that of the Gemini API"
    )
    assert str(address.base_url).startswith(server.base_url.removesuffix("/v1")), "spans lose `server.address`"


def test_a_client_has_the_models_that_chats_use(serve: Serve) -> None:
    client = Caller(serve(*HEALTHY)).client
    assert generating_models_of(client) is client.models, "`intercept_llm_requests` raises AttributeError"
    assert client.chats.create(model="tiny")._modules is client.models, "`intercept_llm_requests` misses chats"
    assert generating_models_of(MagicMock()) is None
