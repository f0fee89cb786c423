"""Mistral's SDK over HTTP: one span a request, and the same events, types and exceptions as without us."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from otel_llm import MistralInstrumentor, intercept_llm_requests
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    ScriptedServer,
    Sleep,
    chunk,
    completion,
    error_event,
    text,
    tool_call_delta,
)
from otel_llm.wrappers import other_instrumentations
from tests.helpers.chat_request import MESSAGES, REQUEST
from tests.helpers.mistral_callers import AsyncCaller, Caller, client_at
from tests.helpers.same_in_all_sdks import (
    ends_alike,
    fails_alike,
    observes_one_client,
    tells_of_a_cancelled_task,
    tells_of_each_thread,
)
from tests.helpers.sdk_fixtures import connecting, instrumenting
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]

ID = "D681PevKs"
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
CALLED = {"index": 0, "id": ID, "type": "function", "function": {"name": "add_task", "arguments": '{"title": "a"}'}}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
HEALTHY = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": [THOUGHT]}),
    chunk(text("Su")),
    chunk(text("re.")),
    chunk({"content": "", "tool_calls": [CALLED]}, "tool_calls", usage=USAGE),
    DONE,
]
# As the API sends arguments that are long.
IN_PIECES = [
    chunk({"role": "assistant", "content": ""}),
    chunk(tool_call_delta(index=0, id=ID, name="add_task", arguments='{"ti')),
    chunk(tool_call_delta(index=0, id="null", name="", arguments='tle": ')),
    chunk(tool_call_delta(index=0, id="null", name="", arguments='"a"}')),
    chunk(text(""), "tool_calls", usage=USAGE),
    DONE,
]
LEAKED = 'Sure.<tool_call>\n{"name": "add_task", "arguments": {"title": "a"}}\n</tool_call>'


connect = connecting(Caller, AsyncCaller)
instrument = instrumenting(MistralInstrumentor)


def dumped(events: list[Any]) -> list[Any]:
    return [(type(one), one.model_dump()) for one in events]


def tells_the_healthy_story(seen: Seen) -> None:
    names = [one.name.removeprefix("otel_llm.") for one in seen.events()]
    assert names[-2:] == ["tool_call.completed", "finish_reason"]
    (completed,) = seen.events("otel_llm.tool_call.completed")
    attributes = dict(completed.attributes or {})
    assert attributes["gen_ai.tool.call.arguments"] == '{"title": "a"}'
    assert attributes["gen_ai.tool.call.id"] == ID
    assert seen.anomalies == []
    assert seen.attributes["gen_ai.provider.name"] == "mistral_ai"
    assert seen.attributes["server.address"] == "127.0.0.1"
    assert seen.attributes["gen_ai.request.model"] == "tiny"
    assert seen.attributes["gen_ai.response.id"] == "chatcmpl-scripted"
    assert (seen.attributes["gen_ai.usage.input_tokens"], seen.attributes["gen_ai.usage.output_tokens"]) == (3, 4)
    seen.encode()


@pytest.mark.parametrize("steps", [HEALTHY, IN_PIECES], ids=["whole call", "pieces"])
async def test_a_stream(connect: Any, serve: Serve, instrument: Callable[..., Seen], steps: Any) -> None:
    caller = connect(serve(*steps))
    bare_stream = await caller.stream()
    bare = await caller.read(bare_stream)
    seen = instrument()
    stream = await caller.stream()
    assert isinstance(stream, type(bare_stream))
    assert stream.response.status_code == 200
    assert dumped(await caller.read(stream)) == dumped(bare)
    assert seen.outcome == "completed"
    assert seen.attributes["otel_llm.stream.chunk_count"] == len(steps) - 1
    tells_the_healthy_story(seen)
    MistralInstrumentor().uninstrument()
    assert type(await caller.stream()) is type(bare_stream)


async def test_what_is_seen_of_thoughts_and_text(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    await caller.read_in_block(await caller.stream())
    names = [one.name.removeprefix("otel_llm.") for one in seen.events()]
    assert names[:4] == ["reasoning.started", "text.started", "tool_call.detected", "tool_call.name"]
    assert seen.outcome == "completed"
    tells_the_healthy_story(seen)


async def test_a_whole_response(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    whole = completion({"content": [THOUGHT], "tool_calls": [CALLED]}, "tool_calls", usage=USAGE)
    caller = connect(serve(Answer(whole)))
    bare = await caller.complete()
    seen = instrument()
    assert dumped([await caller.complete()]) == dumped([bare])
    assert "otel_llm.stream.outcome" not in seen.attributes
    tells_the_healthy_story(seen)


async def test_several_choices_and_calls(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    other = {**CALLED, "index": 1, "id": "aaaaaaaaa", "function": {"name": "add_task", "arguments": {"title": "b"}}}
    both = {"choices": [{"index": at, "delta": {"content": "x"}, "finish_reason": None} for at in (0, 1)]}
    ends = [chunk({"tool_calls": [CALLED, other]}, "tool_calls"), chunk(text("y"), "stop", index=1)]
    seen = instrument()
    caller = connect(serve({**chunk(), **both}, *ends, DONE))
    await caller.read(await caller.stream(n=2))
    assert seen.attributes["gen_ai.response.finish_reasons"] == ("tool_calls", "stop")
    completed = [dict(one.attributes or {}) for one in seen.events("otel_llm.tool_call.completed")]
    assert [one["gen_ai.tool.call.arguments"] for one in completed] == ['{"title": "a"}', '{"title": "b"}']
    # The API streams arguments as text.
    assert seen.anomalies == ["arguments_not_string"]


async def test_what_the_sdk_fills_in_was_not_sent(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    call = {"function": {"name": "add_task", "arguments": '{"title": "a"}'}}
    seen = instrument()
    caller = connect(serve(chunk({"tool_calls": [call]}, "tool_calls"), DONE))
    (event,) = await caller.read(await caller.stream())
    assert event.data.choices[0].delta.tool_calls[0].id == "null"
    assert seen.anomalies == ["missing_index", "missing_id"]


class Task(BaseModel):
    title: str


async def test_parse(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve([Answer(completion(text('{"title": "a"}')))], [chunk(text('{"title": "a"}'), "stop"), DONE]))
    parsed = await caller.parse(Task)
    assert parsed.choices[0].message.parsed == Task(title="a")
    await caller.read(await caller.parse_stream(Task))
    assert len(seen.spans) == 2
    assert {(span.attributes or {})["gen_ai.output.type"] for span in seen.spans} == {"json"}


async def test_a_stream_that_is_left_early(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY, Sleep(30)))
    await caller.read_in_block(await caller.stream(), 2)
    assert seen.outcome == "closed"
    assert seen.anomalies == []


async def test_a_stream_that_is_dropped(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    await caller.read(await caller.stream(), 2)
    gc.collect()
    assert seen.outcome == "abandoned"


async def test_a_task_that_is_cancelled(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = AsyncCaller(serve(*HEALTHY[:3], Sleep(30)))
    await tells_of_a_cancelled_task(lambda: caller.stream(), seen)
    await caller.close()


@pytest.mark.parametrize(
    "steps",
    [
        [Answer(error_event("no"), status=400)],
        [Answer({"detail": []}, status=422)],
        [*HEALTHY[:3], Drop()],
        [*HEALTHY[:3], {"object": "error", "message": "overloaded"}],
        [*HEALTHY[:3], chunk({"tool_calls": [{"id": "x"}]})],
        [*HEALTHY[:3], b"data: {\n\n"],
    ],
    ids=["refused", "invalid", "dropped", "error", "no function", "no JSON"],
)
async def test_errors(connect: Any, serve: Serve, instrument: Callable[..., Seen], steps: Any) -> None:
    caller = connect(serve(*steps))

    async def read() -> None:
        await caller.read(await caller.stream())

    await fails_alike(read, instrument)


HOSTILE: dict[str, Any] = {
    "null delta": {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
    "huge index": {"choices": [{"index": 0, "delta": {"tool_calls": [{**CALLED, "index": 10**30}]}}]},
    "negative index": {"choices": [{"index": -1, "delta": {"content": "x"}, "finish_reason": "stop"}]},
    "half a character": {"choices": [{"index": 0, "delta": {"content": "\ud83d"}, "finish_reason": "stop"}]},
    "unknown part": {"choices": [{"index": 0, "delta": {"content": [{"type": "?", "x": 1}]}, "finish_reason": "?"}]},
    "no choices": {"choices": []},
    "null usage": {"usage": {"prompt_tokens": None}},
    "null id": {"id": None},
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_events(connect: Any, serve: Serve, instrument: Callable[..., Seen], name: str) -> None:
    """Whatever the SDK makes of them: an event, or an error."""
    caller = connect(serve(HEALTHY[0], {**chunk(), **HOSTILE[name]}, *HEALTHY[1:]))

    async def read() -> Any:
        return dumped(await caller.read(await caller.stream()))

    await ends_alike(read, instrument)


async def test_a_result_is_linked_to_its_call(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(HEALTHY, [chunk(text("Done."), "stop"), DONE]))
    events = await caller.read(await caller.stream())
    said = events[-1].data.choices[0].delta.tool_calls
    turns = [
        {"role": "assistant", "content": "", "tool_calls": said},
        {"role": "tool", "name": "add_task", "content": "ok", "tool_call_id": said[0].id},
    ]
    await caller.read(await caller.stream(messages=[*MESSAGES, *turns]))
    first, second = seen.spans
    (link,) = second.links
    assert link.context == first.context
    assert dict(link.attributes or {}) == {"gen_ai.tool.call.id": ID, "gen_ai.tool.name": "add_task"}


async def test_the_request(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    await connect(serve(Answer(completion(text("ok"))))).complete(
        temperature=0.5, top_p=0.9, max_tokens=7, stop=["END"], random_seed=3, tool_choice="none"
    )
    asked = {name.removeprefix("gen_ai.request."): value for name, value in seen.attributes.items()}
    assert (asked["temperature"], asked["top_p"], asked["max_tokens"], asked["seed"]) == (0.5, 0.9, 7, 3)
    assert asked["stop_sequences"] == ("END",)


@pytest.mark.parametrize(
    ("choice", "delta", "anomalies"),
    [
        ("any", text("no"), ["tool_choice_violated"]),
        ("required", {"tool_calls": [CALLED]}, []),
        ({"type": "function", "function": {"name": "other"}}, {"tool_calls": [CALLED]}, ["tool_choice_violated"]),
        ("none", {"tool_calls": [CALLED]}, ["tool_choice_violated"]),
        ("auto", text("no"), []),
    ],
)
async def test_the_tool_choice(
    serve: Serve, instrument: Callable[..., Seen], choice: Any, delta: Any, anomalies: list[str]
) -> None:
    seen = instrument()
    reason = "tool_calls" if "tool_calls" in delta else "stop"
    caller = Caller(serve(chunk(delta, reason, usage=USAGE), DONE))
    await caller.read(await caller.stream(tool_choice=choice))
    await caller.close()
    assert seen.anomalies == anomalies


async def test_ids_and_names_that_mistral_refuses(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = Caller(serve(chunk(text("Done."), "stop", usage=USAGE), DONE))
    call = {"id": "call_1", "function": {"name": "add_task", "arguments": "{}"}}
    turns = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "add_task", "content": "ok", "tool_call_id": "call_1"},
    ]
    await caller.read(await caller.stream(messages=[*MESSAGES, *turns]))
    await caller.close()
    assert seen.anomalies == ["unacceptable_id"]


async def test_one_client(connect: Any, serve: Serve, seen: Seen) -> None:
    server = serve(*HEALTHY)
    caller = connect(server)

    async def read(one: Any) -> None:
        await one.read(await one.stream())

    await observes_one_client(caller, connect(server), read, seen, tells_the_healthy_story)


async def test_a_client_of_an_instrumented_sdk(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    intercept_llm_requests(caller.client, **seen.providers)
    await caller.read(await caller.stream())
    tells_the_healthy_story(seen)


async def test_the_server_of_one_request(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    server = serve(*HEALTHY)
    caller = connect(server)
    caller.client.chat.sdk_configuration.server_url = "http://localhost:9"
    await caller.read(await caller.stream(server_url=server.base_url.removesuffix("/v1")))
    tells_the_healthy_story(seen)


def rewritten(events: list[Any]) -> tuple[str, list[tuple[str, str]], set[str]]:
    """The text, the calls by name and arguments, and their ids."""
    said, ids = "", set()
    calls: dict[int, tuple[str, str]] = {}
    for event in events:
        delta = event.data.choices[0].delta
        said += delta.content or ""
        for call in delta.tool_calls or ():
            name, arguments = calls.get(call.index, ("", ""))
            calls[call.index] = (name + call.function.name, arguments + call.function.arguments)
            ids.add(call.id)
    return said, list(calls.values()), ids - {"null"}


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_rewriting(connect: Any, serve: Serve, instrument: Callable[..., Seen], size: int) -> None:
    seen = instrument(tool_call_tags="openai")
    pieces = [chunk(text(LEAKED[at : at + size])) for at in range(0, len(LEAKED), size)]
    caller = connect(serve(*pieces, chunk(text(""), "stop"), DONE))
    events = await caller.read(await caller.stream())
    said, calls, ids = rewritten(events)
    assert (said, calls) == ("Sure.", [("add_task", '{"title": "a"}')])
    # Its API refuses others when they come back.
    (call_id,) = ids
    assert len(call_id) == 9
    assert call_id.isalnum()
    assert events[-1].data.choices[0].finish_reason == "tool_calls"
    assert seen.anomalies == []
    assert len(seen.events("otel_llm.tag_rewrite")) == 1
    assert all(type(event).model_validate(event.model_dump()) == event for event in events)


async def test_rewriting_a_stream_that_only_stops(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    instrument(tool_call_tags="openai")
    caller = connect(serve(chunk(text("Sure.")), chunk(text("<tool_ca")), DONE))
    events = await caller.read(await caller.stream())
    assert rewritten(events) == ("Sure.<tool_ca", [], set())
    assert len({type(event) for event in events}) == 1


async def test_rewriting_a_whole_response(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument(tool_call_tags="openai")
    answer = await connect(serve(Answer(completion(text(LEAKED))))).complete()
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert (choice.message.content, choice.finish_reason) == ("Sure.", "tool_calls")
    assert (call.function.name, call.function.arguments) == ("add_task", '{"title": "a"}')
    assert len(call.id) == 9
    assert seen.anomalies == []


async def test_rewriting_text_in_parts(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    """Thoughts stay where they are."""
    instrument(tool_call_tags="openai")
    steps = [chunk({"content": [THOUGHT, {"type": "text", "text": LEAKED}]}), chunk(text(""), "stop"), DONE]
    caller = connect(serve(*steps))
    first, _last = await caller.read(await caller.stream())
    thought, left = first.data.choices[0].delta.content
    assert (thought.thinking[0].text, left.text) == ("hm", "Sure.")
    (call,) = first.data.choices[0].delta.tool_calls
    assert call.function.arguments == '{"title": "a"}'


async def test_thoughts_in_the_text_stay_there(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    instrument(tool_call_tags="openai")
    caller = connect(serve(chunk(text("<think>hm</think>Sure."), "stop"), DONE))
    assert rewritten(await caller.read(await caller.stream()))[0] == "<think>hm</think>Sure."


@pytest.mark.swallows("tag rewriting")
async def test_a_rewriting_that_fails(
    connect: Any, serve: Serve, instrument: Callable[..., Seen], break_scanner: Callable[[str], None]
) -> None:
    instrument(tool_call_tags="openai")
    caller = connect(serve(chunk(text("Sure. <tool")), chunk(text("_call>x")), chunk(text("y"), "stop"), DONE))
    break_scanner("<tool_call>")
    events = await caller.read(await caller.stream())
    assert rewritten(events) == ("Sure. <tool_call>xy", [], set())


def test_streams_in_threads(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    with client_at(serve(*HEALTHY)) as client:
        tells_of_each_thread(lambda: list(client.chat.stream(**REQUEST)), seen)


def test_the_sdk_s_own_spans_are_warned_of(
    serve: Serve, instrument: Callable[..., Seen], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure = pytest.importorskip("mistralai.extra.observability").__dict__.get("configure_telemetry")
    if configure is None:
        pytest.skip("this SDK has no tracing that an application switches on")
    seen = instrument(log=False)
    other_instrumentations.forget()
    server = serve([Answer(completion(text("ok")))], [Answer(completion(text("ok")))])
    with client_at(server) as client:
        configure(client, seen.providers["tracer_provider"])
        for _ in range(2):
            client.chat.complete(**REQUEST)
    assert len(seen.spans) == 4
    (warning,) = [one.getMessage() for one in caplog.records if one.name == "otel_llm"]
    assert "mistralai traces requests itself" in warning
