"""Anthropic's SDK over HTTP: one span a message, and the same events, types and exceptions as without us."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from otel_llm import AnthropicInstrumentor, intercept_llm_requests
from otel_llm.demo.scripted_converse import event as event_message
from otel_llm.demo.scripted_messages import (
    event,
    event_values,
    message,
    message_events,
    text_block,
    thinking,
    tool_use,
)
from otel_llm.demo.scripted_server import Answer, Drop, ScriptedServer, Sleep
from tests.helpers.anthropic_callers import MESSAGES, REQUEST, AsyncCaller, Caller
from tests.helpers.same_in_all_sdks import tells_of_a_cancelled_task
from tests.helpers.sdk_fixtures import connecting, instrumenting
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]

BLOCKS = (thinking("hm"), text_block("Sure."), tool_use("add_task", {"title": "a"}))
HEALTHY = message_events(*BLOCKS)
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


connect = connecting(Caller, AsyncCaller, close="close_client")
instrument = instrumenting(AnthropicInstrumentor)


def dumped(events: list[Any]) -> list[Any]:
    return [(type(one), one.model_dump()) for one in events]


def tells_the_healthy_story(seen: Seen, *, index: int = 2) -> None:
    names = [one.name.removeprefix("otel_llm.") for one in seen.events()]
    assert names[:4] == ["reasoning.started", "text.started", "tool_call.detected", "tool_call.name"]
    assert names[-2:] == ["tool_call.completed", "finish_reason"]
    (completed,) = seen.events("otel_llm.tool_call.completed")
    attributes = dict(completed.attributes or {})
    assert attributes["gen_ai.tool.call.arguments"] == '{"title": "a"}'
    assert attributes["gen_ai.tool.call.id"] == "toolu_1"
    assert attributes["otel_llm.tool_call.index"] == index
    assert seen.anomalies == []
    assert seen.attributes["gen_ai.provider.name"] == "anthropic"
    assert seen.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert (seen.attributes["gen_ai.usage.input_tokens"], seen.attributes["gen_ai.usage.output_tokens"]) == (3, 4)
    seen.encode()


@pytest.mark.parametrize("beta", [False, True], ids=["messages", "beta"])
async def test_a_stream(connect: Any, serve: Serve, instrument: Callable[..., Seen], beta: bool) -> None:
    caller = connect(serve(*HEALTHY))
    caller.beta = beta
    bare = await caller.read(await caller.create(stream=True))
    seen = instrument()
    stream = await caller.create(stream=True)
    # Before 1.0 the class of streams accepts only its own objects, and no proxy.
    assert isinstance(stream, caller.stream_class) or type(caller.stream_class) is not type
    assert dumped(await caller.read(stream)) == dumped(bare)
    assert seen.outcome == "completed"
    tells_the_healthy_story(seen)
    AnthropicInstrumentor().uninstrument()
    assert type(await caller.create(stream=True)) is caller.stream_class


@pytest.mark.parametrize("beta", [False, True], ids=["messages", "beta"])
async def test_the_helper(connect: Any, serve: Serve, instrument: Callable[..., Seen], beta: bool) -> None:
    caller = connect(serve(*HEALTHY))
    caller.beta = beta
    bare, bare_message = await caller.helper()
    seen = instrument()
    events, final = await caller.helper()
    assert dumped(events) == dumped(bare)
    assert final == bare_message
    assert seen.outcome == "completed"
    tells_the_healthy_story(seen)


async def test_the_helper_s_texts(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    assert "".join(await connect(serve(*HEALTHY)).texts()) == "Sure."
    tells_the_healthy_story(seen)


async def test_a_helper_that_is_left_early(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    await connect(serve(*HEALTHY)).helper(count=3)
    assert seen.outcome == "closed"
    assert seen.anomalies == []


async def test_a_helper_that_is_never_entered(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    manager = caller.messages.stream(**REQUEST)
    assert type(manager).__name__.endswith("MessageStreamManager")
    if isinstance(caller, AsyncCaller):
        with pytest.warns(RuntimeWarning, match=r"Async\w+\.\w+' was never awaited"):
            del manager
    assert seen.spans == []


async def test_a_whole_message(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    answer = await connect(serve(Answer(message(*BLOCKS)))).create()
    assert answer.content[2].input == {"title": "a"}
    assert [one.name for one in seen.events()].count("otel_llm.tool_call.completed") == 1
    tells_the_healthy_story_of_a_message(seen)


def tells_the_healthy_story_of_a_message(seen: Seen) -> None:
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == '{"title": "a"}'
    assert seen.anomalies == []
    assert "otel_llm.stream.outcome" not in seen.attributes


async def test_raw_responses(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    raw = await caller.result(caller.messages.with_raw_response.create(**REQUEST, stream=True))
    assert raw.status_code == 200
    parsed = raw.parse()
    await caller.read(await parsed if hasattr(parsed, "__await__") else parsed)
    tells_the_healthy_story(seen)


async def test_bytes(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    manager = caller.messages.with_streaming_response.create(**REQUEST, stream=True)
    if isinstance(caller, AsyncCaller):
        async with manager as response:
            received = b"".join([piece async for piece in response.iter_bytes()])
    else:
        with manager as response:
            received = b"".join(response.iter_bytes())
    assert received == b"".join(HEALTHY)
    tells_the_healthy_story(seen)


async def test_an_error_in_the_stream(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(*HEALTHY[:5], event(ERROR)))
    with pytest.raises(anthropic.APIStatusError) as bare:
        await caller.read(await caller.create(stream=True))
    seen = instrument()
    with pytest.raises(type(bare.value)) as raised:
        await caller.read(await caller.create(stream=True))
    assert str(raised.value) == str(bare.value)
    assert seen.outcome == "error"
    assert not seen.span.status.is_ok


HOSTILE: dict[str, dict[str, Any]] = {
    "a null block": {"type": "content_block_start", "index": 0, "content_block": None},
    "no delta": {"type": "content_block_delta", "index": 2},
    "an unknown event": {"type": "content_block_glow", "index": 0},
    "a type that is a list": {"type": ["content_block_delta"]},
    "a huge index": {"type": "content_block_start", "index": 2**70, "content_block": {"type": "tool_use", "name": "x"}},
    "half a character": {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "\ud800"}},
    "text that is a number": {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": 5}},
    "a message that is a text": {"type": "message_start", "message": "x"},
    "usage that is a list": {"type": "message_delta", "delta": {"stop_reason": 5}, "usage": [None]},
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_events(connect: Any, serve: Serve, instrument: Callable[..., Seen], name: str) -> None:
    """Whatever the SDK makes of them: an event, or an error."""
    caller = connect(serve(*HEALTHY[:4], event(HOSTILE[name]), *HEALTHY[4:]))

    async def play() -> Any:
        try:
            read = await caller.read(await caller.create(stream=True))
        except Exception as error:
            return type(error), str(error)
        return [(type(one), repr(one)) for one in read]

    bare = await play()
    seen = instrument()
    assert await play() == bare
    assert len(seen.spans) == 1
    seen.encode()


async def test_a_dropped_connection(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY[:8], Drop()))
    with pytest.raises(Exception, match=r"peer|closed|incomplete|Connection"):
        await caller.read(await caller.create(stream=True))
    assert seen.outcome == "error"


async def test_a_refused_request(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    with pytest.raises(anthropic.BadRequestError):
        await connect(serve(Answer({"type": "error", "error": {"type": "x", "message": "no"}}, status=400))).create()
    assert not seen.span.status.is_ok
    assert seen.attributes["error.type"] == "anthropic.BadRequestError"


async def test_a_stream_that_is_closed(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY, Sleep(5)))
    stream = await caller.create(stream=True)
    await caller.read(stream, 4)
    await caller.close(stream)
    assert seen.outcome == "closed"
    # The first event says how long the input is; how long the answer would have been, nobody knows.
    assert seen.attributes["gen_ai.usage.input_tokens"] == 3
    assert "gen_ai.usage.output_tokens" not in seen.attributes


async def test_a_task_that_is_cancelled(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = AsyncCaller(serve(*HEALTHY[:6], Sleep(30)))
    await tells_of_a_cancelled_task(lambda: caller.create(stream=True), seen)
    await caller.close_client()


async def test_a_result_is_linked_to_its_call(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(HEALTHY, message_events(text_block("Done."))))
    await caller.read(await caller.create(stream=True))
    call = tool_use("add_task", {"title": "a"})
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "ok"}]}
    turns = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    await caller.read(await caller.create(stream=True, messages=[*MESSAGES, *turns]))
    first, second = seen.spans
    (link,) = second.links
    assert link.context == first.context
    assert dict(link.attributes or {}) == {"gen_ai.tool.call.id": "toolu_1", "gen_ai.tool.name": "add_task"}


@pytest.mark.parametrize("beta", [False, True], ids=["messages", "beta"])
async def test_one_client(connect: Any, serve: Serve, seen: Seen, beta: bool) -> None:
    server = serve(*HEALTHY)
    caller = connect(server)
    assert intercept_llm_requests(caller.client, **seen.providers) is caller.client
    assert intercept_llm_requests(caller.client) is caller.client
    caller.beta = beta
    await caller.helper()
    tells_the_healthy_story(seen)
    caller.client = caller.client.with_options(timeout=5)
    await caller.helper()
    assert len(seen.spans) == 2
    await connect(server).helper()
    assert len(seen.spans) == 2


async def test_the_request(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    await connect(serve(Answer(message(text_block("ok"))))).create(
        stop_sequences=["END"],
        system="Be brief.",
        # Later versions of the SDK have no arguments for the first three.
        extra_body={"temperature": 0.5, "top_k": 3, "top_p": 0.9, "max_tokens": 7},
    )
    asked = {name.removeprefix("gen_ai.request."): value for name, value in seen.attributes.items()}
    assert asked["temperature"] == 0.5
    assert (asked["top_k"], asked["top_p"], asked["max_tokens"]) == (3, 0.9, 7)
    assert asked["stop_sequences"] == ("END",)


@pytest.mark.parametrize(
    ("choice", "blocks", "anomalies"),
    [
        ({"type": "any"}, (text_block("no"),), ["tool_choice_violated"]),
        ({"type": "tool", "name": "add_task"}, BLOCKS, []),
        ({"type": "tool", "name": "other"}, BLOCKS, ["tool_choice_violated"]),
        ({"type": "none"}, BLOCKS, ["tool_choice_violated"]),
        ({"type": "auto"}, (text_block("no"),), []),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            (*BLOCKS, tool_use("add_task", {"title": "b"}, call_id="toolu_2")),
            ["parallel_violated"],
        ),
    ],
)
async def test_the_tool_choice(
    serve: Serve, instrument: Callable[..., Seen], choice: Any, blocks: Any, anomalies: list[str]
) -> None:
    seen = instrument()
    caller = Caller(serve(*message_events(*blocks)))
    await caller.read(await caller.create(stream=True, tool_choice=choice))
    await caller.close_client()
    assert seen.anomalies == anomalies


async def test_a_task_of_the_tool_runner(serve: Serve, instrument: Callable[..., Seen]) -> None:
    """It has a span a request, and its second request may leave to the server what it said before."""
    tool = pytest.importorskip("anthropic").__dict__.get("beta_tool")
    if tool is None:
        pytest.skip("this SDK has no runner of tools")
    seen = instrument()

    @tool  # type: ignore[untyped-decorator]
    def add_task(title: str) -> str:
        """Add a task."""
        return title

    answers = [[Answer(message(tool_use("add_task", {"title": "a"})))], [Answer(message(text_block("Done.")))]]
    caller = Caller(serve(*answers))
    asked = {name: REQUEST[name] for name in ("model", "max_tokens", "messages")}
    final = caller.client.beta.messages.tool_runner(**asked, tools=[add_task]).until_done()
    await caller.close_client()
    assert final.content[0].text == "Done."
    first, second = seen.spans
    assert [link.context for link in second.links] == [first.context]
    assert [dict(span.attributes or {})["otel_llm.stream.anomaly_count"] for span in seen.spans] == [0, 0]


async def test_a_conversation_that_the_server_holds(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = Caller(serve(HEALTHY, message_events(text_block("Done."))))
    caller.beta = True
    await caller.read(await caller.create(stream=True, extra_body={"thread": {"type": "create"}}))
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
    going_on = {"thread": {"type": "continue", "previous_message_id": "msg_scripted"}}
    answered = [{"role": "user", "content": [result]}]
    await caller.read(await caller.create(stream=True, extra_body=going_on, messages=answered))
    await caller.close_client()
    first, second = seen.spans
    assert [link.context for link in second.links] == [first.context]
    assert [dict(span.attributes or {})["otel_llm.stream.anomaly_count"] for span in seen.spans] == [0, 0]


async def test_what_makes_no_message_has_no_span(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = Caller(serve(Answer({"input_tokens": 3})))
    assert caller.client.messages.count_tokens(model="m", messages=MESSAGES).input_tokens == 3
    await caller.close_client()
    assert seen.spans == []


async def test_vertex_ai(serve: Serve, instrument: Callable[..., Seen]) -> None:
    """Of its beta resources, which have copies of the methods, too."""
    seen = instrument()
    server = serve(*HEALTHY)
    client: Any = anthropic.AnthropicVertex(region="r", project_id="p", access_token="x", base_url=server.base_url)
    with client:
        for messages in (client.messages, client.beta.messages):
            assert list(messages.create(**REQUEST, stream=True))
            with messages.stream(**REQUEST) as stream:
                assert stream.get_final_message().content[2].input == {"title": "a"}
    assert [dict(span.attributes or {})["gen_ai.provider.name"] for span in seen.spans] == ["gcp.vertex_ai"] * 4


async def test_bedrock(serve: Serve, instrument: Callable[..., Seen]) -> None:
    """Its streams come in AWS's encoding, and its beta resources are classes of their own."""
    pytest.importorskip("botocore")
    seen = instrument()
    values = event_values(*BLOCKS)
    wrapped = [{"bytes": base64.b64encode(json.dumps(value).encode()).decode()} for value in values]
    server = serve(*(event_message({"chunk": one}) for one in wrapped))
    client: Any = anthropic.AnthropicBedrock(
        aws_access_key="unused",
        aws_secret_key="unused",
        aws_region="us-east-1",
        base_url=server.base_url.removesuffix("/v1"),
    )
    requests = 0
    with client:
        for messages in (client.messages, client.beta.messages):
            assert list(messages.create(**REQUEST, stream=True))
            with messages.with_streaming_response.create(**REQUEST, stream=True) as response:
                assert b"".join(response.iter_bytes()).startswith(b"\0")
            requests += 2
            # Old versions of the SDK have no helper here.
            if hasattr(messages, "stream"):
                with messages.stream(**REQUEST) as stream:
                    assert stream.get_final_message().content[2].input == {"title": "a"}
                requests += 1
    assert len(seen.spans) == requests
    for span in seen.spans:
        told = dict(span.attributes or {})
        assert told["gen_ai.provider.name"] == "aws.bedrock"
        assert (told["otel_llm.stream.tool_call_count"], told["otel_llm.stream.anomaly_count"]) == (1, 0)


def told_by(span: Any) -> dict[str, Any]:
    return {name: value for name, value in span.attributes.items() if "time_to" not in name}


@pytest.mark.parametrize("content", [False, True], ids=["metadata", "content"])
@pytest.mark.parametrize("helper", [False, True], ids=["stream", "helper"])
async def test_the_sdk_s_own_span(
    connect: Any, serve: Serve, instrument: Callable[..., Seen], helper: bool, content: bool
) -> None:
    """It is a child of ours, and says what it says without ours."""
    pytest.importorskip("anthropic._tracing")
    seen = instrument()
    options = {"tracer_provider": seen.providers["tracer_provider"]}
    if content:
        options["traces"] = {"content_mode": "content"}
    caller = connect(serve(*HEALTHY), open_telemetry=options)

    async def play() -> None:
        if helper:
            await caller.helper()
        else:
            await caller.read(await caller.create(stream=True))

    await play()
    own, ours = sorted(seen.spans, key=lambda span: span.name)
    assert (own.name, ours.name) == ("anthropic.messages.create", "chat tiny")
    assert own.parent is not None
    assert own.parent.span_id == ours.context.span_id
    assert own.status.is_ok
    AnthropicInstrumentor().uninstrument()
    await play()
    assert told_by(seen.spans[-1]) == told_by(own)


async def test_text_is_not_rewritten(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument(tool_call_tags="openai")
    leaked = '<tool_call>\n{"name": "add_task", "arguments": {"title": "a"}}\n</tool_call>'
    assert "".join(await connect(serve(*message_events(text_block(leaked)))).texts()) == leaked
    assert seen.anomalies == ["text_leak"]
