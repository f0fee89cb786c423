"""Anomalies of a conversation, over HTTP: loops, ids given again, and what the provider of a request refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from otel_llm import StreamingToolCallTracker
from otel_llm.demo.scripted_responses import function_call, response_events
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, text, tool_call_chunks
from otel_llm.testing import Streams
from tests.helpers.callers import REQUEST, SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]
TITLE = '{"title": "milk"}'
USER = {"role": "user", "content": "add milk"}
CALLING = [*tool_call_chunks("add_task", TITLE, id="call_9"), chunk(finish_reason="tool_calls"), DONE]


def turn(call_id: str, result: str = "no such list") -> list[dict[str, Any]]:
    function = {"name": "add_task", "arguments": '{"title":"milk"}'}
    made = {"id": call_id, "type": "function", "function": function}
    return [
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": call_id, "content": result},
    ]


LOOP = [USER, *turn("call_1"), *turn("call_2")]


async def test_a_loop(
    instrumented: Seen, caplog: pytest.LogCaptureFixture, serve: Serve, connect: Connect, llm_streams: Streams
) -> None:
    caplog.set_level("INFO", "otel_llm")
    caller = connect(serve(*CALLING))
    stream = await caller.stream(messages=LOOP)
    await caller.read(stream)
    assert instrumented.anomalies == ["repeated_call"]
    assert instrumented.attributes["otel_llm.conversation.repeated_calls"] == 3
    line = "repeated_call (add_task in 3 turns in a row, with the same arguments and the same result)"
    assert f"[LLM STREAM] Anomaly: {line}" in caplog.messages
    assert [anomaly.type for anomaly in stream.anomalies] == ["repeated_call"]
    assert llm_streams.anomalies == ["repeated_call"]
    assert llm_streams[0].repeated_calls == 3


async def test_two_turns_are_counted_and_no_loop(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*CALLING))
    await caller.read(await caller.stream(messages=LOOP[:3]))
    assert instrumented.anomalies == []
    assert instrumented.attributes["otel_llm.conversation.repeated_calls"] == 2


async def test_a_request_of_its_own_says_nothing_of_turns(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*CALLING))
    await caller.read(await caller.stream())
    assert "otel_llm.conversation.repeated_calls" not in instrumented.attributes


async def test_the_option(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(loop_turns=2, log=False)
    caller = connect(serve(*CALLING))
    await caller.read(await caller.stream(messages=LOOP[:3]))
    assert seen.anomalies == ["repeated_call"]


async def test_the_variable(
    monkeypatch: pytest.MonkeyPatch, instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    monkeypatch.setenv("OTEL_LLM_LOOP_TURNS", "4")
    seen = instrument(log=False)
    caller = connect(serve(*CALLING))
    await caller.read(await caller.stream(messages=LOOP))
    assert seen.anomalies == []


async def test_messages_that_are_an_iterator(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    server = serve(*CALLING)
    caller = connect(server)
    await caller.read(await caller.stream(messages=iter(LOOP)))
    assert instrumented.anomalies == []
    assert server.requests[0].body["messages"] == LOOP


async def test_an_id_of_an_earlier_call(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*CALLING))
    await caller.read(await caller.stream(messages=[USER, *turn("call_9", "ok"), USER]))
    assert instrumented.anomalies == ["id_reused"]


async def test_a_tracker_by_itself_does_not_know_the_conversation(serve: Serve) -> None:
    server = serve(*CALLING)
    async with openai.AsyncOpenAI(api_key="unused", base_url=server.base_url) as client:
        request: Any = {**REQUEST, "messages": LOOP}
        tracker = StreamingToolCallTracker(await client.chat.completions.create(stream=True, **request))
        async for _ in tracker:
            pass
    assert tracker.anomalies == []


@needs_responses
@pytest.mark.parametrize("observed", ["instrumented", "watched"])
async def test_a_loop_of_responses_that_continue_from_one_another(
    observed: str, request: pytest.FixtureRequest, serve: Serve, connect: Connect
) -> None:
    """The server holds the conversation: each request has only the result of the call before."""
    seen: Any = request.getfixturevalue("instrumented" if observed == "instrumented" else "llm_streams")
    scripts = []
    for number in range(5):
        made = function_call("add_task", TITLE, call_id="call_3" if number == 4 else f"call_{number}")
        events = response_events(made)
        for event in events:
            if "response" in event:
                event["response"]["id"] = f"resp_{number}"
        scripts.append(events)
    caller = connect(serve(*scripts))
    for number in range(5):
        before: dict[str, Any] = {}
        if number:
            output = {"type": "function_call_output", "call_id": f"call_{number - 1}", "output": "no such list"}
            before = {"previous_response_id": f"resp_{number - 1}", "input": [output]}
        await caller.read(await caller.respond(stream=True, **before))
    expected = [[], [], ["repeated_call"], ["repeated_call"], ["id_reused", "repeated_call"]]
    if observed == "watched":
        assert [sorted(stream.anomalies) for stream in seen] == expected
        assert [stream.repeated_calls for stream in seen] == [0, 2, 3, 4, 5]
    else:
        attributes = [span.attributes for span in seen.spans]
        assert [one.get("otel_llm.conversation.repeated_calls", 0) for one in attributes] == [0, 2, 3, 4, 5]
        points = seen.metric("otel_llm.anomaly.count")
        counted = {attributes["otel_llm.anomaly.type"]: count for attributes, count in points}
        assert counted == {"repeated_call": 3, "id_reused": 1}


# -- what a provider refuses --


def azure(server: ScriptedServer) -> Any:
    return openai.AzureOpenAI(api_key="unused", api_version="v", base_url=server.base_url, max_retries=0)


def test_a_name_that_the_provider_then_refuses(instrument: Callable[..., Seen], serve: Serve) -> None:
    seen = instrument(log=False)
    error = {"error": {"message": "Invalid 'tools[0].function.name'", "type": "invalid_request_error", "code": None}}
    tools: Any = [{"type": "function", "function": {"name": "tasks.add"}}]
    with azure(serve(Answer(error, status=400))) as client, pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="tiny", messages=[USER], tools=tools, stream=True)
    assert seen.anomalies == ["unacceptable_name"]
    assert seen.span.status.is_ok is False
    assert seen.attributes["error.type"]
    (event,) = seen.events("otel_llm.anomaly")
    assert "tasks.add" in str((event.attributes or {})["otel_llm.anomaly.detail"])


async def test_a_server_that_is_only_presumed(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    tools = [{"type": "function", "function": {"name": "tasks.add"}}]
    caller = connect(serve(chunk(text("Hi")), chunk(finish_reason="stop"), DONE))
    await caller.read(await caller.stream(tools=tools, messages=LOOP))
    assert instrumented.anomalies == []
