"""The Responses API: the same spans, events, anomalies and proxies as chat completions."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from otel_llm import StreamingToolCallTracker, SyncStreamingToolCallTracker, intercept_llm_requests
from otel_llm.demo.llama_server import WELL_FORMED_CALLS
from otel_llm.demo.scripted_responses import (
    RESPONSE_ID,
    custom_tool_call,
    function_call,
    message,
    reasoning,
    refusal,
    response,
    response_events,
)
from otel_llm.demo.scripted_server import MODEL, Answer, Drop, ScriptedServer, error_event
from otel_llm.protocol.request import read_request
from tests.helpers.callers import RESPONSE_REQUEST, RESPONSE_TOOL, AsyncCaller, SyncCaller
from tests.helpers.sdk_versions import DISCONNECTED, full_name, needs_beta_responses, needs_responses
from tests.helpers.seen import Seen, sum_of_delta_counts

pytestmark = needs_responses

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]
Steps = list[dict[str, Any]]

MILK = '{"title": "buy milk"}'
CALL = function_call("add_task", MILK)
TWO_CALLS = (reasoning("hm"), message("Sure."), CALL, function_call("add_task", '{"title": "b"}', call_id="call_2"))


def of_kind(events: Steps, *kinds: str) -> Steps:
    return [event for event in events if any(kind in event["type"] for kind in kinds)]


def without(events: Steps, *kinds: str) -> Steps:
    return [event for event in events if not any(kind in event["type"] for kind in kinds)]


def without_indexes(events: Steps) -> Steps:
    """In the shape of llama.cpp."""
    return [{name: value for name, value in event.items() if name != "output_index"} for event in events]


def completed(seen: Seen) -> list[tuple[Any, ...]]:
    names = ("otel_llm.tool_call.index", "gen_ai.tool.name", "gen_ai.tool.call.id", "gen_ai.tool.call.arguments")
    events = seen.events("otel_llm.tool_call.completed")
    return [tuple((event.attributes or {}).get(name) for name in names) for event in events]


async def run(connect: Connect, server: ScriptedServer, **kwargs: Any) -> list[Any]:
    caller = connect(server)
    return await caller.read(await caller.respond(stream=True, **kwargs))


# A healthy stream ---------------------------------------------------------------------------------------------


async def test_the_life_of_a_call(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    steps = response_events(*TWO_CALLS)
    events = await run(connect, serve(*steps))
    assert [event.type for event in events] == [step["type"] for step in steps]
    assert instrumented.span.name == "chat tiny"
    assert instrumented.anomalies == []
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "tiny",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": RESPONSE_ID,
        "gen_ai.response.model": MODEL,
        "gen_ai.response.finish_reasons": ("tool_calls",),
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 1,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "openai.api.type": "responses",
        "otel_llm.stream.outcome": "completed",
        "otel_llm.stream.chunk_count": len(steps),
        "otel_llm.stream.tool_call_count": 2,
        "otel_llm.stream.text_only": False,
    }
    assert {name: instrumented.attributes.get(name) for name in expected} == expected
    assert instrumented.attributes["otel_llm.stream.time_to_first_tool_call"] > 0
    assert completed(instrumented) == [
        (2, "add_task", "call_1", MILK),
        (3, "add_task", "call_2", '{"title": "b"}'),
    ]
    names = [event.name for event in instrumented.events()]
    assert names[:4] == [
        "otel_llm.reasoning.started",
        "otel_llm.text.started",
        "otel_llm.tool_call.detected",
        "otel_llm.tool_call.name",
    ]
    assert names[-1] == "otel_llm.finish_reason"
    deltas = sum_of_delta_counts(instrumented.events())
    pieces = [step["output_index"] for step in of_kind(steps, "arguments.delta")]
    assert deltas == {index: 1 + pieces.count(index) for index in (2, 3)}
    instrumented.encode()


async def test_text_alone(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await run(connect, serve(*response_events(message("Hello."))))
    assert instrumented.attributes["otel_llm.stream.text_only"] is True
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert instrumented.anomalies == []


async def test_a_refusal_is_text(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await run(connect, serve(*response_events(refusal("I cannot."))))
    assert len(instrumented.events("otel_llm.text.started")) == 1
    assert instrumented.attributes["otel_llm.stream.text_only"] is True
    assert instrumented.anomalies == []


async def test_a_custom_tool(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    tools = [{"type": "custom", "name": "shell"}]
    await run(connect, serve(*response_events(custom_tool_call("shell", "ls -l | wc"))), tools=tools)
    assert completed(instrumented) == [(0, "shell", "call_1", "ls -l | wc")]
    assert instrumented.anomalies == []


async def test_log_lines(instrumented: Seen, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "otel_llm")
    await run(connect, serve(*response_events(CALL)), tool_choice="auto")
    assert [record.getMessage() for record in caplog.records] == [
        "[LLM REQUEST] stream=True",
        "[OK] Tools: ['add_task']",
        "Tool choice: auto",
        "[LLM STREAM] New tool call detected at index 0",
        "[LLM STREAM] Tool call [0] name: add_task",
        "[LLM STREAM] Finish reason: tool_calls",
        "[LLM STREAM] Tool calls completed: 1",
        f"  [0] add_task(id=call_1) args={MILK}",
    ]


async def test_the_stream_helper_is_one_span(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(*TWO_CALLS)))
    manager = caller.client.responses.stream(**RESPONSE_REQUEST)
    if isinstance(caller, AsyncCaller):
        async with manager as stream:
            last = [event async for event in stream][-1]
            final = await stream.get_final_response()
    else:
        with manager as stream:
            last = list(stream)[-1]
            final = stream.get_final_response()
    assert last.type == "response.completed"
    assert final.output[2].arguments == MILK
    assert instrumented.outcome == "completed"
    assert len(completed(instrumented)) == 2
    assert instrumented.anomalies == []


async def test_the_stream_helper_left_early(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(*TWO_CALLS)))
    manager = caller.client.responses.stream(**RESPONSE_REQUEST)
    if isinstance(caller, AsyncCaller):
        async with manager as stream:
            await anext(stream)
    else:
        with manager as stream:
            next(stream)
    assert instrumented.outcome == "closed"
    assert instrumented.anomalies == []


async def test_responses_that_are_retrieved_later(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    """What the caller gets of them is unchanged, also through the SDK's helper."""
    caller = connect(serve(*response_events(*TWO_CALLS)))
    if "stream" not in inspect.signature(caller.client.responses.retrieve).parameters:
        pytest.skip("this SDK cannot retrieve a stream")

    async def fetched() -> list[Any]:
        # A resource keeps its raw methods, as they were at first.
        responses = caller.client.copy().responses
        stream = await caller.result(responses.retrieve(RESPONSE_ID, stream=True, starting_after=1))
        assert isinstance(stream, caller.stream_class)
        raw = await caller.result(responses.with_raw_response.retrieve(RESPONSE_ID, stream=True))
        parsed = raw.parse()
        manager = responses.stream(response_id=RESPONSE_ID, tools=[RESPONSE_TOOL])
        if isinstance(caller, AsyncCaller):
            async with manager as helper:
                events = [event async for event in helper]
                events.append(await helper.get_final_response())
        else:
            with manager as helper:
                events = [*helper, helper.get_final_response()]
        return [repr(one) for one in (*await caller.read(stream), *await caller.read(parsed), *events)]

    bare = await fetched()
    seen = instrument()
    assert await fetched() == bare
    assert [span.name for span in seen.spans] == ["fetch_response"] * 3
    assert len(bare) > 3 * len(response_events(*TWO_CALLS)) - 3


async def test_types(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(CALL)))
    stream = await caller.respond(stream=True)
    assert isinstance(stream, caller.stream_class)
    assert isinstance(stream, (StreamingToolCallTracker, SyncStreamingToolCallTracker))
    assert stream._tool_calls == {}
    await caller.read(stream)
    assert stream._tool_calls == {0: {"name": "add_task", "arguments": MILK, "id": "call_1"}}


@pytest.mark.parametrize("kind", ["with_raw_response", "with_streaming_response"])
async def test_raw_responses(instrumented: Seen, serve: Serve, connect: Connect, kind: str) -> None:
    caller = connect(serve(*response_events(CALL)))
    create = getattr(caller.client.responses, kind).create
    if kind == "with_raw_response":
        raw = await caller.result(create(**RESPONSE_REQUEST, stream=True))
        await caller.read(raw.parse())
    elif isinstance(caller, AsyncCaller):
        async with create(**RESPONSE_REQUEST, stream=True) as raw:
            await caller.read(await raw.parse())
    else:
        with create(**RESPONSE_REQUEST, stream=True) as raw:
            await caller.read(raw.parse())
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert completed(instrumented) == [(0, "add_task", "call_1", MILK)]
    assert instrumented.outcome == "completed"


async def test_one_client(seen: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(CALL)))
    for _ in range(2):
        intercept_llm_requests(caller.client, **seen.providers)
    await caller.read(await caller.respond(stream=True))
    assert completed(seen) == [(0, "add_task", "call_1", MILK)]


async def test_a_tracker_by_itself(seen: Seen, serve: Serve, connect: Connect) -> None:
    """It recognizes the API by the stream's events."""
    caller = connect(serve(*response_events(CALL)))
    stream = await caller.respond(stream=True)
    with seen.tracer_provider.get_tracer("app").start_as_current_span("turn"):
        kind = StreamingToolCallTracker if isinstance(caller, AsyncCaller) else SyncStreamingToolCallTracker
        await caller.read(kind(stream))
    assert completed(seen) == [(0, "add_task", "call_1", MILK)]
    assert seen.anomalies == []


# Whole responses ----------------------------------------------------------------------------------------------


async def test_a_whole_response(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    answer = await connect(serve(Answer(response(*TWO_CALLS)))).respond()
    assert answer.output[2].arguments == MILK
    assert type(answer) is openai.types.responses.Response
    assert [entry[:3] for entry in completed(instrumented)] == [(2, "add_task", "call_1"), (3, "add_task", "call_2")]
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert instrumented.attributes["gen_ai.usage.output_tokens"] == 4
    assert instrumented.attributes["gen_ai.response.model"] == MODEL
    assert instrumented.outcome is None
    assert instrumented.anomalies == []


class Answered(BaseModel):
    title: str


async def test_parse(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(response(message(MILK)))))
    parsed = await caller.result(caller.client.responses.parse(**RESPONSE_REQUEST, text_format=Answered))
    assert parsed.output_parsed == Answered(title="buy milk")
    assert instrumented.attributes["otel_llm.stream.text_only"] is True
    assert instrumented.attributes["gen_ai.output.type"] == "json"


async def test_a_background_response(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await connect(serve(Answer(response(status="queued")))).respond(background=True)
    assert instrumented.anomalies == []
    assert instrumented.span.status.is_unset


async def test_raw_whole_response(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(response(CALL))))
    raw = await caller.result(caller.client.responses.with_raw_response.create(**RESPONSE_REQUEST))
    assert raw.parse().output[0].arguments == MILK
    assert completed(instrumented) == [(0, "add_task", "call_1", MILK)]


# The beta of the API, with its own classes -----------------------------------------------------------------------


@needs_beta_responses
async def test_beta(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(*TWO_CALLS)))
    create = caller.client.beta.responses.create
    stream = await caller.result(create(**RESPONSE_REQUEST, stream=True, betas=["responses_multi_agent=v1"]))
    assert isinstance(stream, caller.stream_class)
    events = await caller.read(stream)
    assert type(events[0]) is openai.types.beta.BetaResponseCreatedEvent
    assert [entry[:3] for entry in completed(instrumented)] == [(2, "add_task", "call_1"), (3, "add_task", "call_2")]
    assert instrumented.attributes["openai.api.type"] == "responses"
    assert instrumented.outcome == "completed"
    assert instrumented.anomalies == []


@needs_beta_responses
async def test_beta_whole(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(response(CALL))))
    raw = await caller.result(caller.client.beta.responses.with_raw_response.create(**RESPONSE_REQUEST))
    assert raw.parse().output[0].arguments == MILK
    assert completed(instrumented) == [(0, "add_task", "call_1", MILK)]


# Failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("reason", "finish_reason"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), (None, "incomplete")],
)
async def test_an_incomplete_response(
    instrumented: Seen, serve: Serve, connect: Connect, reason: str | None, finish_reason: str, streamed: bool
) -> None:
    fields: dict[str, Any] = {"status": "incomplete", "incomplete_details": {"reason": reason}}
    item = function_call("add_task", '{"title": "bu')
    server = serve(*response_events(item, **fields)) if streamed else serve(Answer(response(item, **fields)))
    caller = connect(server)
    answer = await caller.respond(stream=streamed)
    if streamed:
        await caller.read(answer)
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == (finish_reason,)
    assert instrumented.anomalies == ["truncated"]


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
async def test_a_failed_response(instrumented: Seen, serve: Serve, connect: Connect, streamed: bool) -> None:
    """The OpenAI SDK passes it on like other events, but the request failed."""
    fields: dict[str, Any] = {"status": "failed", "error": {"code": "server_error", "message": "it\ud800 broke"}}
    server = serve(*response_events(**fields)) if streamed else serve(Answer(response(**fields)))
    caller = connect(server)
    answer = await caller.respond(stream=streamed)
    if streamed:
        assert (await caller.read(answer))[-1].type == "response.failed"
    assert not instrumented.span.status.is_ok
    assert instrumented.span.status.description == "it\\ud800 broke"
    assert instrumented.attributes["error.type"] == "server_error"
    assert instrumented.outcome == ("error" if streamed else None)
    assert instrumented.anomalies == []
    instrumented.encode()


async def test_an_error_event(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    error = {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None}
    await run(connect, serve(*response_events(CALL)[:5], error))
    assert instrumented.attributes["error.type"] == "rate_limit_exceeded"
    assert instrumented.outcome == "error"
    assert instrumented.anomalies == []


async def test_an_error_event_before_a_bare_end(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    error = {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None}
    await run(connect, serve(*response_events(CALL)[:5], error, *response_events(status="failed")[-1:]))
    assert instrumented.attributes["error.type"] == "rate_limit_exceeded"


A, B = '{"title": "a"}', '{"title": "b"}'


@pytest.mark.parametrize(
    ("second", "shown"),
    [
        ({"call_id": "call_1", "id": "fc_2"}, ("call_1", ["duplicate_id"])),
        ({"call_id": "call_2", "id": "fc_call_1"}, ("call_2", [])),
    ],
    ids=["call_id", "item_id"],
)
async def test_two_calls_that_share_an_id(
    instrumented: Seen, serve: Serve, connect: Connect, second: dict[str, Any], shown: tuple[str, list[str]]
) -> None:
    call_id, named = shown
    await run(connect, serve(*response_events(function_call("add_task", A), function_call("add_task", B) | second)))
    assert completed(instrumented) == [(0, "add_task", "call_1", A), (1, "add_task", call_id, B)]
    assert instrumented.anomalies == named


async def test_calls_without_an_id_and_without_deltas(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """Only their indexes distinguish them."""
    calls = [function_call("add_task", A), function_call("add_task", B, call_id="call_2")]
    steps = without(response_events(*calls), "arguments")
    for step in steps:
        for item in (step.get("item", {}), *step.get("response", {}).get("output", ())):
            item.pop("call_id", None)
    await run(connect, serve(*steps))
    assert completed(instrumented) == [(0, "add_task", None, A), (1, "add_task", None, B)]
    assert instrumented.anomalies == ["missing_id", "missing_id"]


async def test_whole_items_without_an_index(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    calls = [function_call("add_task", A), function_call("add_task", B, call_id="call_2")]
    await run(connect, serve(*without_indexes(without(response_events(*calls), "arguments", "added"))))
    assert [entry[1:] for entry in completed(instrumented)] == [("add_task", "call_1", A), ("add_task", "call_2", B)]
    assert instrumented.anomalies == ["missing_index"]


@pytest.mark.parametrize(
    ("steps", "raised"),
    [
        ([error_event("overloaded")], openai.APIError),
        ([Drop()], DISCONNECTED),
    ],
    ids=["error", "drop"],
)
async def test_a_stream_that_breaks(
    instrumented: Seen, serve: Serve, connect: Connect, steps: list[Any], raised: type[Exception]
) -> None:
    with pytest.raises(raised) as caught:
        await run(connect, serve(*response_events(CALL)[:5], *steps))
    assert instrumented.outcome == "error"
    assert instrumented.attributes["error.type"] == full_name(caught.value)
    assert instrumented.anomalies == []


async def test_an_http_error(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    with pytest.raises(openai.BadRequestError):
        await connect(serve(Answer(error_event("no"), status=400))).respond()
    assert instrumented.attributes["error.type"] == "openai.BadRequestError"


async def test_a_stream_that_just_ends(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await run(connect, serve(*response_events(CALL)[:-1]))
    assert instrumented.anomalies == ["missing_finish_reason"]


async def test_a_stream_read_in_part(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(CALL)))
    await caller.read_in_block(await caller.respond(stream=True), 4)
    assert instrumented.outcome == "closed"
    assert instrumented.anomalies == []


@pytest.mark.parametrize(
    ("arguments", "anomaly"),
    [
        ('{"title": "bu', "invalid_json"),
        ("{}{}", "arguments_duplicated"),
        ("[]", "arguments_not_object"),
        ("", "empty_arguments"),
        ('{"title": "\\ud83d"}', "invalid_unicode"),
    ],
)
async def test_arguments(instrumented: Seen, serve: Serve, connect: Connect, arguments: str, anomaly: str) -> None:
    await run(connect, serve(*response_events(function_call("add_task", arguments))))
    assert instrumented.anomalies == [anomaly]


async def test_against_the_request(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    items = [function_call("add_task", MILK), function_call("drop_table", "{}", call_id="call_2")]
    choice = {"type": "function", "name": "add_task"}
    await run(connect, serve(*response_events(*items)), tool_choice=choice, parallel_tool_calls=False)
    assert sorted(instrumented.anomalies) == ["parallel_violated", "tool_choice_violated", "unknown_tool"]


async def test_tools_that_the_server_runs(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """Tools that the server runs make no tool calls of the application, and may have any name."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
    started, ended = response_events()[0], response_events(message("Found."))[-1]
    ended["response"]["output"].insert(0, search)
    done = {"type": "response.output_item.done", "output_index": 0, "item": search}
    tools = [{"type": "web_search"}, {"type": "mcp", "server_label": "x", "server_url": "http://x"}, RESPONSE_TOOL]
    await run(connect, serve(started, done, ended), tools=tools, tool_choice={"type": "mcp", "server_label": "x"})
    assert instrumented.attributes["otel_llm.stream.tool_call_count"] == 0
    assert instrumented.attributes["otel_llm.stream.text_only"] is True
    assert instrumented.anomalies == []


# Deviations of servers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "left_out",
    [
        ["arguments.delta"],
        ["arguments.delta", "arguments.done"],
        ["output_item.added"],
        ["output_item.added", "arguments.delta", "arguments.done"],
        ["output_item.added", "output_item.done"],
        ["output_item", "arguments", "content_part", "output_text", "reasoning", "response.created"],
    ],
    ids=lambda kinds: ",".join(kinds),
)
async def test_missing_events(instrumented: Seen, serve: Serve, connect: Connect, left_out: list[str]) -> None:
    await run(connect, serve(*without(response_events(*TWO_CALLS), *left_out)))
    assert completed(instrumented) == [(2, "add_task", "call_1", MILK), (3, "add_task", "call_2", '{"title": "b"}')]
    assert instrumented.anomalies == []
    assert len(instrumented.events("otel_llm.text.started")) == 1
    assert len(instrumented.events("otel_llm.reasoning.started")) == 1


async def test_lost_deltas(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    events = response_events(CALL)
    await run(connect, serve(*events[:5], *of_kind(events, "done", "completed")))
    assert completed(instrumented) == [(0, "add_task", "call_1", MILK)]


async def test_no_indexes(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """Two calls with interleaved deltas are distinguished by their items."""
    events = without_indexes(response_events(*TWO_CALLS))
    deltas = of_kind(events, "arguments.delta")
    first = [delta for delta in deltas if delta["item_id"] == "fc_call_1"]
    second = [delta for delta in deltas if delta["item_id"] == "fc_call_2"]
    turns = [delta for pair in zip(first, second, strict=False) for delta in pair]
    turns += first[len(second) :] + second[len(first) :]
    added = of_kind(events, "item.added")[-2:]
    await run(connect, serve(events[0], *added, *turns, events[-1]))
    assert [entry[1:] for entry in completed(instrumented)] == [
        ("add_task", "call_1", MILK),
        ("add_task", "call_2", '{"title": "b"}'),
    ]
    assert instrumented.anomalies == ["missing_index"]


async def test_two_calls_at_one_index(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    events = response_events(CALL, function_call("add_task", '{"title": "b"}', call_id="call_2"))
    await run(connect, serve(*[event | {"output_index": 0} for event in events]))
    assert [entry[1:] for entry in completed(instrumented)] == [
        ("add_task", "call_1", MILK),
        ("add_task", "call_2", '{"title": "b"}'),
    ]
    assert instrumented.anomalies == ["index_reused"]


async def test_a_call_without_an_id(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await run(connect, serve(*response_events({**CALL, "call_id": None})))
    assert instrumented.anomalies == ["missing_id"]


@pytest.mark.parametrize("value", [None, 1, "x", [], {"type": 3}, {"type": "response.created"}, {"type": "error"}])
async def test_nonsense(instrumented: Seen, serve: Serve, connect: Connect, value: Any) -> None:
    """In place of a response, an item, a delta or an event."""
    events = response_events(*TWO_CALLS)
    spoilt: Steps = []
    for event in events:
        for name in ("item", "response", "delta", "output_index", "arguments"):
            if name in event:
                spoilt.append({**event, name: value})
    caller = connect(serve(*spoilt, *events))
    bare = [step for step in [*spoilt, *events] if step]
    assert len(await caller.read(await caller.respond(stream=True))) == len(bare)
    assert {entry[2] for entry in completed(instrumented)} >= {"call_1", "call_2"}
    instrumented.encode()


@pytest.mark.parametrize("kind", [["function_call"], {"a": 1}, 7])
async def test_an_item_whose_type_is_no_string(instrumented: Seen, serve: Serve, connect: Connect, kind: Any) -> None:
    """The rest of the last event is still read."""
    events = response_events(CALL)
    events[-1]["response"]["output"].insert(0, {"type": kind, "id": "i0"})
    await run(connect, serve(*events))
    assert instrumented.anomalies == []
    assert instrumented.attributes["gen_ai.usage.output_tokens"] == 4
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)


# The request --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "mode", "names"),
    [
        ("required", "required", None),
        ({"type": "function", "name": "a"}, "named", {"a"}),
        ({"type": "custom", "name": "a"}, "named", {"a"}),
        ({"type": "mcp", "server_label": "s", "name": "a"}, "auto", None),
        ({"type": "file_search"}, "auto", None),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "a"}]},
            "required",
            {"a"},
        ),
    ],
)
def test_tool_choices(choice: Any, mode: str, names: set[str] | None) -> None:
    read = read_request({"tool_choice": choice}, "responses").tool_choice
    assert (read.mode, read.names) == (mode, names)


@pytest.mark.parametrize(
    ("tools", "names"),
    [
        ([RESPONSE_TOOL], {"add_task"}),
        ([{"type": "custom", "name": "shell"}], {"shell"}),
        ([RESPONSE_TOOL, {"type": "code_interpreter", "container": {"type": "auto"}}], None),
        ([{"type": "namespace", "name": "crm", "description": "d", "tools": [RESPONSE_TOOL]}], None),
    ],
)
def test_tools(tools: list[Any], names: set[str] | None) -> None:
    assert read_request({"tools": tools}, "responses").tool_names == names


def test_a_stored_prompt_may_bring_tools() -> None:
    assert read_request({"tools": [RESPONSE_TOOL], "prompt": {"id": "p"}}, "responses").tool_names is None


async def test_content(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    seen = instrument()
    history = [
        {"role": "user", "content": "add milk"},
        {"type": "function_call", "call_id": "call_0", "name": "add_task", "arguments": MILK},
        {"type": "function_call_output", "call_id": "call_0", "output": "done"},
    ]
    await run(
        connect,
        serve(*response_events(*TWO_CALLS)),
        input=history,
        instructions="be brief",
        max_output_tokens=9,
        reasoning={"effort": "low"},
        previous_response_id="resp_0",
    )
    sent = json.loads(seen.attributes["gen_ai.input.messages"])
    assert [entry["role"] for entry in sent] == ["user", "assistant", "tool"]
    instructions = json.loads(seen.attributes["gen_ai.system_instructions"])
    assert instructions == [{"type": "text", "content": "be brief"}]
    assert sent[1]["parts"][0]["arguments"] == {"title": "buy milk"}
    assert sent[2]["parts"][0]["id"] == "call_0"
    (answered,) = json.loads(seen.attributes["gen_ai.output.messages"])
    assert [part["type"] for part in answered["parts"]] == ["reasoning", "text", "tool_call", "tool_call"]
    assert [answered["parts"][0]["content"], answered["parts"][1]["content"]] == ["hm", "Sure."]
    assert seen.attributes["gen_ai.request.max_tokens"] == 9
    assert seen.attributes["gen_ai.request.reasoning.level"] == "low"
    assert seen.attributes["gen_ai.request.previous_response.id"] == "resp_0"


# A real server ------------------------------------------------------------------------------------------------


async def test_llama_cpp(instrumented: Seen, llama: str, connect: Connect) -> None:
    """Its events have no output index, which is the only anomaly."""
    caller = connect(SimpleNamespace(base_url=llama), timeout=60)
    titles = {"type": "string", "enum": ["buy milk", "write code"]}
    parameters = {"type": "object", "required": ["title"], "properties": {"title": titles}}
    events = await caller.read(
        await caller.respond(
            stream=True,
            tools=[RESPONSE_TOOL | {"parameters": parameters}],
            tool_choice="required",
            max_output_tokens=400,
            extra_body={"logit_bias": WELL_FORMED_CALLS, "seed": 3},
        )
    )
    calls = [item for item in events[-1].response.output if item.type == "function_call"]
    assert calls
    made = [(call.name, call.call_id, call.arguments[:200]) for call in calls]
    assert [entry[1:] for entry in completed(instrumented)] == made
    assert set(instrumented.anomalies) <= {"missing_index", "duplicate_call", "truncated"}
    assert instrumented.attributes["gen_ai.usage.output_tokens"] > 0
