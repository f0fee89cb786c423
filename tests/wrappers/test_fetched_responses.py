"""Responses that were made before, over HTTP: `retrieve`, `cancel` and `compact` of the Responses API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as OfficialInstrumentor

from otel_llm import OpenAIInstrumentor, intercept_llm_requests
from otel_llm.demo.scripted_responses import (
    RESPONSE_ID,
    function_call,
    message,
    reasoning,
    response,
    response_events,
)
from otel_llm.demo.scripted_server import MODEL, Answer, ScriptedServer, error_event
from otel_llm.testing import watch_streams
from tests.helpers.callers import RESPONSE_TOOL, SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

pytestmark = needs_responses
Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

MILK = '{"title": "buy milk"}'
ITEMS = (
    reasoning("hm"),
    message("Sure."),
    function_call("add_task", MILK),
    function_call("now", "{}", call_id="call_2"),
)
EVENTS = response_events(*ITEMS, tools=[RESPONSE_TOOL])
WHOLE = response(*ITEMS, tools=[RESPONSE_TOOL])


async def fetch(caller: SyncCaller, response_id: str = RESPONSE_ID, **kwargs: Any) -> Any:
    return await caller.result(caller.client.responses.retrieve(response_id, **kwargs))


def calls_completed(seen: Seen, number: int = -1) -> list[Any]:
    events = [event for event in seen.spans[number].events if event.name == "otel_llm.tool_call.completed"]
    told = [dict(event.attributes or {}) for event in events]
    return [(one["gen_ai.tool.name"], one["gen_ai.tool.call.arguments"]) for one in told]


def count_of(seen: Seen, name: str) -> int:
    return sum(value for _, value in seen.metric(name))


async def test_a_whole_response(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(Answer(WHOLE)))
    bare = await fetch(caller)
    seen = instrument()
    fetched = await fetch(caller)
    assert (type(fetched), fetched.to_dict()) == (type(bare), bare.to_dict())
    assert seen.span.name == "fetch_response"
    attributes = seen.attributes
    assert attributes["gen_ai.operation.name"] == "fetch_response"
    assert attributes["gen_ai.response.id"] == RESPONSE_ID
    assert attributes["gen_ai.response.model"] == MODEL
    assert attributes["gen_ai.response.status"] == "completed"
    assert attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert attributes["openai.api.type"] == "responses"
    assert not any("usage" in name for name in attributes)
    assert seen.metric("gen_ai.client.token.usage") == []
    assert calls_completed(seen) == [("add_task", MILK), ("now", "{}")]
    assert {labels["gen_ai.tool.name"] for labels, _ in seen.metric("otel_llm.tool_call.count")} == {
        "add_task",
        "_OTHER",
    }
    assert seen.anomalies == []
    seen.encode()


async def test_a_stream(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(*EVENTS))
    bare = await caller.read(await fetch(caller, stream=True))
    seen = instrument()
    stream = await fetch(caller, stream=True)
    assert isinstance(stream, caller.stream_class)
    assert [(type(one), one.to_dict()) for one in await caller.read(stream)] == [
        (type(one), one.to_dict()) for one in bare
    ]
    names = {event.name for event in seen.events()}
    assert {"otel_llm.text.started", "otel_llm.reasoning.started", "otel_llm.tool_call.arguments.delta"} <= names
    assert calls_completed(seen) == [("add_task", MILK), ("now", "{}")]
    assert (seen.outcome, seen.anomalies) == ("completed", [])
    assert seen.attributes["gen_ai.request.stream"] is True
    assert "gen_ai.request.stream_cursor" not in seen.attributes
    assert not any("usage" in name for name in seen.attributes)
    assert count_of(seen, "otel_llm.stream.count") == 1
    seen.encode()


@pytest.mark.parametrize("position", range(1, len(EVENTS) - 1))
async def test_a_stream_that_resumes(serve: Serve, instrument: Callable[..., Seen], position: int) -> None:
    """Wherever it resumes, a call of which the rest comes is whole, and nothing is accused."""
    seen = instrument()
    with openai.OpenAI(api_key="unused", base_url=serve(*EVENTS[position + 1 :]).base_url) as client:
        assert list(client.responses.retrieve(RESPONSE_ID, stream=True, starting_after=position))
    assert sorted(calls_completed(seen)) == [("add_task", MILK), ("now", "{}")]
    assert (seen.outcome, seen.anomalies) == ("completed", [])
    assert seen.attributes["gen_ai.request.stream_cursor"] == str(position)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_attributes_of_the_official_instrumentation(
    connect: Connect,
    serve: Serve,
    instrument: Callable[..., Seen],
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    whole = response(message("Sure."), tools=[RESPONSE_TOOL], instructions="Be brief.", service_tier="default")
    events = response_events(message("Sure."), tools=[RESPONSE_TOOL], instructions="Be brief.", service_tier="default")
    caller = connect(serve(*(events if stream else [Answer(whole)])))

    async def run() -> None:
        arguments: dict[str, Any] = {"stream": True, "starting_after": 0} if stream else {}
        fetched = await fetch(caller, **arguments)
        if stream:
            await caller.read(fetched)

    official, seen = Seen(), instrument()
    await run()
    OpenAIInstrumentor().uninstrument()
    OfficialInstrumentor().instrument(**official.providers, skip_dep_check=True)
    try:
        await run()
    finally:
        OfficialInstrumentor().uninstrument()
    ours = {name: value for name, value in seen.attributes.items() if not name.startswith("otel_llm.")}
    expected = official.attributes
    if stream:
        # In the conventions since.
        assert ours.pop("gen_ai.request.stream") is True
    for attributes in (ours, expected):
        for name in [
            name for name in attributes if "messages" in name or "instructions" in name or "definitions" in name
        ]:
            attributes[name] = json.loads(attributes[name])
    assert ours == expected


async def test_the_same_response_is_counted_once(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(EVENTS, [Answer(WHOLE)], EVENTS))
    await caller.read(await caller.respond(stream=True))
    await fetch(caller)
    await caller.read(await fetch(caller, stream=True))
    assert [calls_completed(instrumented, number) for number in range(3)] == [[("add_task", MILK), ("now", "{}")]] * 3
    assert count_of(instrumented, "otel_llm.tool_call.count") == 2
    # `now` is no declared tool of the request.
    assert count_of(instrumented, "otel_llm.anomaly.count") == 1
    ((_, (count, _)), *_) = instrumented.metric("gen_ai.client.token.usage")
    assert count == 1


async def test_polling(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    """Half of a response is no broken one, and its calls count when it is whole."""
    begun = {**function_call("add_task", '{"title": "bu'), "status": "in_progress"}
    states = [
        response(status="queued"),
        response(begun, status="in_progress"),
        WHOLE,
        WHOLE,
    ]
    caller = connect(serve(*([Answer(state)] for state in states)))
    for _ in states:
        await fetch(caller)
    told = [(span.attributes or {})["gen_ai.response.status"] for span in instrumented.spans]
    assert told == ["queued", "in_progress", "completed", "completed"]
    assert "gen_ai.response.finish_reasons" not in (instrumented.spans[1].attributes or {})
    assert [event.name for span in instrumented.spans for event in span.events if "anomaly" in event.name] == []
    assert calls_completed(instrumented, 1) == []
    assert count_of(instrumented, "otel_llm.tool_call.count") == 2


async def test_a_call_is_linked_to_the_request_that_made_it(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    items = (function_call("add_task", MILK),)
    caller = connect(serve(response_events(*items), [Answer(response(*items))], [Answer(response(message("Done.")))]))
    await caller.read(await caller.respond(stream=True))
    await fetch(caller)
    result = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
    await caller.respond(input=[result], previous_response_id=RESPONSE_ID)
    created, _, answered = instrumented.spans
    assert [link.context for link in answered.links] == [created.context]
    assert [event for event in answered.events if event.name == "otel_llm.anomaly"] == []


async def test_a_call_that_only_a_fetch_has_shown(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    whole = response(function_call("add_task", MILK))
    caller = connect(serve([Answer(whole)], [Answer(whole)], [Answer(response(message("Done.")))]))
    await fetch(caller)
    await fetch(caller)
    result = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
    await caller.respond(input=[result], previous_response_id=RESPONSE_ID)
    first, _, answered = instrumented.spans
    assert [link.context for link in answered.links] == [first.context]


@pytest.mark.parametrize("status", ["failed", "cancelled", "incomplete"])
async def test_how_the_response_ended_is_no_failure_of_the_fetch(
    connect: Connect, serve: Serve, instrumented: Seen, status: str
) -> None:
    fields = {
        "failed": {"error": {"code": "server_error", "message": "no"}},
        "incomplete": {"incomplete_details": {"reason": "max_output_tokens"}},
        "cancelled": {},
    }[status]
    await fetch(connect(serve(Answer(response(message("Su"), status=status, **fields)))))
    assert instrumented.span.status.is_unset
    assert instrumented.attributes["gen_ai.response.status"] == status
    expected = "length" if status == "incomplete" else "error"
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == (expected,)
    assert instrumented.anomalies == []


async def test_a_failed_response_as_a_stream(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(*response_events(status="failed", error={"code": "server_error", "message": "no"})))
    await caller.read(await fetch(caller, stream=True))
    assert (instrumented.outcome, instrumented.attributes["gen_ai.response.status"]) == ("completed", "failed")
    assert instrumented.span.status.is_unset


async def test_refused(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(Answer(error_event("no such response"), status=404)))
    with pytest.raises(openai.NotFoundError):
        await fetch(caller)
    assert instrumented.attributes["error.type"] == "openai.NotFoundError"
    assert instrumented.attributes["gen_ai.response.id"] == RESPONSE_ID


async def test_without_an_id(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(Answer(WHOLE)))
    with pytest.raises(ValueError, match="response_id"):
        await fetch(caller, "")
    with pytest.raises(TypeError):
        await caller.result(caller.client.responses.retrieve())
    assert instrumented.spans == []


async def test_closed_early(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(*EVENTS))
    await caller.read_in_block(await fetch(caller, stream=True), 5)
    assert (instrumented.outcome, instrumented.anomalies) == ("closed", [])
    assert instrumented.attributes["gen_ai.response.status"] == "in_progress"


async def test_raw(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve([Answer(WHOLE)], EVENTS))
    raw = await caller.result(caller.client.responses.with_raw_response.retrieve(response_id=RESPONSE_ID))
    assert raw.http_response.status_code == 200
    raw = await caller.result(caller.client.responses.with_raw_response.retrieve(RESPONSE_ID, stream=True))
    await caller.read(await caller.result(raw.parse()) if hasattr(raw.parse(), "__await__") else raw.parse())
    assert [calls_completed(instrumented, number) for number in range(2)] == [[("add_task", MILK), ("now", "{}")]] * 2


async def test_the_helper(serve: Serve, instrumented: Seen) -> None:
    with (
        openai.OpenAI(api_key="unused", base_url=serve(*EVENTS).base_url) as client,
        client.responses.stream(response_id=RESPONSE_ID) as stream,
    ):
        assert [event.type for event in stream]
    assert instrumented.span.name == "fetch_response"
    assert calls_completed(instrumented) == [("add_task", MILK), ("now", "{}")]


async def test_cancel(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    begun = {**function_call("add_task", '{"title": "bu'), "status": "incomplete"}
    caller = connect(serve(Answer(response(begun, status="cancelled"))))
    await caller.result(caller.client.responses.cancel(RESPONSE_ID))
    assert instrumented.span.name == "fetch_response"
    assert instrumented.attributes["gen_ai.response.status"] == "cancelled"
    assert instrumented.anomalies == []
    assert instrumented.metric("otel_llm.tool_call.count") == []


async def test_compact(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    asked = {"type": "message", "id": "msg_1", "role": "user", "status": "completed", "content": []}
    whole = {
        "id": "resp_compacted",
        "object": "response.compaction",
        "created_at": 1,
        "output": [asked, {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}],
        "usage": response()["usage"],
    }
    caller = connect(serve(Answer(whole)))
    if not hasattr(type(caller.client.responses), "compact"):
        pytest.skip("this SDK compacts nothing")
    compacted = await caller.result(caller.client.responses.compact(model="tiny", input="a long talk"))
    assert compacted.id == "resp_compacted"
    assert instrumented.span.name == "chat tiny"
    assert instrumented.attributes["gen_ai.conversation.compacted"] is True
    assert instrumented.attributes["gen_ai.response.id"] == "resp_compacted"
    assert instrumented.attributes["gen_ai.usage.input_tokens"] == 3
    assert "gen_ai.response.finish_reasons" not in instrumented.attributes
    assert instrumented.anomalies == []
    instrumented.encode()


async def test_one_client(connect: Connect, serve: Serve, seen: Seen) -> None:
    caller = connect(serve([Answer(WHOLE)], EVENTS))
    intercept_llm_requests(caller.client, **seen.providers)
    await fetch(caller)
    await caller.read(await fetch(caller, stream=True))
    assert [span.name for span in seen.spans] == ["fetch_response"] * 2


async def test_in_a_test(connect: Connect, serve: Serve) -> None:
    caller = connect(serve(*EVENTS))
    with watch_streams() as streams:
        await caller.read(await fetch(caller, stream=True))
    (stream,) = streams
    assert [call.name for call in stream.tool_calls] == ["add_task", "now"]


async def test_tags_do_not_apply(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    text = '<tool_call>{"name": "add_task", "arguments": {}}</tool_call>'
    seen = instrument(tool_call_tags="openai")
    fetched = await fetch(connect(serve(Answer(response(message(text))))))
    assert fetched.output_text == text
    assert seen.events("otel_llm.tag_rewrite") == []


@pytest.mark.parametrize(
    "steps",
    [
        [{"type": "response.output_item.done", "output_index": 10**30, "item": None}],
        [{"type": "response.output_text.delta", "output_index": 3, "delta": 5}],
        [{"type": "response.output_item.added", "output_index": "x", "item": {"type": "function_call"}}],
        [{"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "\ud800"}],
    ],
)
async def test_nonsense(connect: Connect, serve: Serve, instrumented: Seen, steps: list[Any]) -> None:
    caller = connect(serve(*steps, EVENTS[-1]))
    await caller.read(await fetch(caller, stream=True, starting_after=1))
    assert instrumented.outcome == "completed"
    instrumented.encode()
