"""Hugging Face's SDK over HTTP: one span a request, and the same chunks, types and exceptions as without us."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from types import AsyncGeneratorType, GeneratorType
from typing import Any

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient

from otel_llm import HuggingFaceInstrumentor
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
    tool_call_chunks,
    tool_call_delta,
    usage_chunk,
)
from otel_llm.wrappers.huggingface import HUGGING_FACE_METHODS
from tests.helpers.chat_request import MESSAGES
from tests.helpers.huggingface_callers import AsyncCaller, Caller
from tests.helpers.same_in_all_sdks import ends_alike, fails_alike, observes_one_client
from tests.helpers.sdk_fixtures import connecting, instrumenting
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]

ARGUMENTS = '{"title": "a"}'
HEALTHY = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning": "hm"}),
    chunk(text("Su")),
    chunk(text("re.")),
    *tool_call_chunks("add_task", ARGUMENTS),
    chunk({"content": ""}, "tool_calls"),
    usage_chunk(3, 4),
    DONE,
]
LEAKED = f'Sure.<tool_call>\n{{"name": "add_task", "arguments": {ARGUMENTS}}}\n</tool_call>'


connect = connecting(Caller, AsyncCaller)
instrument = instrumenting(HuggingFaceInstrumentor)


def dumped(parts: list[Any]) -> list[Any]:
    return [(type(one), dict(one), repr(one)) for one in parts]


def tells_the_healthy_story(seen: Seen) -> None:
    names = [one.name.removeprefix("otel_llm.") for one in seen.events()]
    assert names[:4] == ["reasoning.started", "text.started", "tool_call.detected", "tool_call.name"]
    assert names[-2:] == ["tool_call.completed", "finish_reason"]
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == ARGUMENTS
    assert (completed.attributes or {})["gen_ai.tool.call.id"] == "call_1"
    assert seen.anomalies == []
    assert seen.attributes["gen_ai.provider.name"] == "huggingface"
    assert seen.attributes["server.address"] == "127.0.0.1"
    assert seen.attributes["gen_ai.request.model"] == "tiny"
    assert (seen.attributes["gen_ai.usage.input_tokens"], seen.attributes["gen_ai.usage.output_tokens"]) == (3, 4)
    seen.encode()


@pytest.mark.parametrize("by_alias", [False, True], ids=["chat_completion", "create"])
async def test_a_stream(connect: Any, serve: Serve, instrument: Callable[..., Seen], by_alias: bool) -> None:
    caller = connect(serve(*HEALTHY))
    caller.by_alias = by_alias
    bare = await caller.read(await caller.chat(stream=True))
    seen = instrument()
    stream = await caller.chat(stream=True)
    assert isinstance(stream, AsyncGeneratorType if isinstance(caller, AsyncCaller) else GeneratorType)
    assert dumped(await caller.read(stream)) == dumped(bare)
    assert seen.outcome == "completed"
    assert seen.attributes["otel_llm.stream.chunk_count"] == len(HEALTHY) - 1
    tells_the_healthy_story(seen)
    HuggingFaceInstrumentor().uninstrument()
    assert type(await caller.chat(stream=True)) in {AsyncGeneratorType, GeneratorType}


async def test_a_whole_response(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add_task", "arguments": ARGUMENTS}}
    caller = connect(
        serve(Answer(completion({"content": "Sure.", "reasoning": "hm", "tool_calls": [call]}, "tool_calls")))
    )
    bare = await caller.chat()
    seen = instrument()
    assert dumped([await caller.chat()]) == dumped([bare])
    assert [one.name for one in seen.events()].count("otel_llm.tool_call.completed") == 1
    assert "otel_llm.reasoning.started" in [one.name for one in seen.events()]
    assert seen.anomalies == []


async def test_positional_arguments_and_the_client_s_model(
    serve: Serve, instrument: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = instrument()
    caller = Caller(serve(Answer(completion(text("Sure.")))))
    # Its model is the URL of the server, and the request has no other one.
    await caller.chat(MESSAGES)
    assert "gen_ai.request.model" not in seen.attributes


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_thoughts_behind_text(connect: Any, serve: Serve, instrument: Callable[..., Seen], field: str) -> None:
    seen = instrument()
    steps = [HEALTHY[0], chunk(text("a")), chunk({"content": "", field: "hm"}), chunk(text("b"), "stop"), DONE]
    caller = connect(serve(*steps))
    await caller.read(await caller.chat(stream=True))
    assert [one.name for one in seen.events()][:2] == ["otel_llm.text.started", "otel_llm.reasoning.started"]


async def test_a_call_in_place_of_a_list(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    """As Text Generation Inference has sent it."""
    (call,) = tool_call_delta(index=0, id="", name="add_task", arguments=ARGUMENTS)["tool_calls"]
    seen = instrument()
    caller = connect(serve(chunk({"tool_calls": call}, "tool_calls"), DONE))
    await caller.read(await caller.chat(stream=True))
    assert seen.anomalies == ["missing_id"]


async def test_several_choices(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    both = {"choices": [{"index": at, "delta": {"content": "x"}, "finish_reason": None} for at in (0, 1)]}
    seen = instrument()
    ends = [chunk({"content": "y"}, "length", index=1), chunk({"content": "y"}, "stop")]
    caller = connect(serve({**chunk(), **both}, *ends, DONE))
    await caller.read(await caller.chat(stream=True, n=2))
    assert seen.attributes["gen_ai.response.finish_reasons"] == ("stop", "length")


@pytest.mark.parametrize(
    ("options", "model", "provider", "address"),
    [
        ({"token": "hf_x"}, None, "huggingface", "router.huggingface.co"),
        ({"token": "hf_x", "provider": "together"}, "m/m", "huggingface", "router.huggingface.co"),
        ({"token": "x", "provider": "fireworks-ai"}, "m/m", "fireworks", None),
        ({"token": "x", "provider": "groq"}, "m/m", "groq", None),
        ({"token": "x", "base_url": "https://api.groq.com/openai/v1"}, None, "groq", "api.groq.com"),
        ({"token": "x"}, "http://vllm:8000", "huggingface", "vllm"),
    ],
)
@pytest.mark.parametrize("kind", [InferenceClient, AsyncInferenceClient])
def test_the_server(kind: Any, options: Any, model: str | None, provider: str, address: str | None) -> None:
    (method,) = HUGGING_FACE_METHODS
    assert method.server is not None
    server = method.server(kind(**options), {"model": model})
    assert (server.provider, server.address) == (provider, address)


async def test_the_request(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    await connect(serve(Answer(completion(text("ok"))))).chat(
        temperature=0.5, top_p=0.9, max_tokens=7, stop=["END"], seed=3, tool_choice="required"
    )
    asked = {name.removeprefix("gen_ai.request."): value for name, value in seen.attributes.items()}
    assert (asked["temperature"], asked["top_p"], asked["max_tokens"], asked["seed"]) == (0.5, 0.9, 7, 3)
    assert asked["stop_sequences"] == ("END",)
    assert seen.anomalies == ["tool_choice_violated"]


async def test_a_result_is_linked_to_its_call(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(HEALTHY, [chunk(text("Done."), "stop"), DONE]))
    await caller.read(await caller.chat(stream=True))
    call = {"id": "call_1", "type": "function", "function": {"name": "add_task", "arguments": ARGUMENTS}}
    turns = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1", "content": "ok"}]
    await caller.read(await caller.chat(stream=True, messages=[*MESSAGES, *turns]))
    first, second = seen.spans
    assert [link.context for link in second.links] == [first.context]


async def test_a_stream_that_is_closed(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY, Sleep(30)))
    stream = await caller.chat(stream=True)
    await caller.read(stream, 2)
    await caller.close_stream(stream)
    assert seen.outcome == "closed"
    assert seen.anomalies == []


async def test_a_stream_that_is_dropped(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    stream = await caller.chat(stream=True)
    await caller.read(stream, 2)
    del stream
    gc.collect()
    await asyncio.sleep(0)
    assert seen.outcome == "abandoned"


@pytest.mark.parametrize(
    "steps",
    [
        [Answer(error_event("no"), status=400)],
        [*HEALTHY[:3], Drop()],
        [*HEALTHY[:3], error_event("overloaded")],
        [*HEALTHY[:3], b"data: {\n\n"],
    ],
    ids=["refused", "dropped", "error", "no JSON"],
)
async def test_errors(connect: Any, serve: Serve, instrument: Callable[..., Seen], steps: Any) -> None:
    caller = connect(serve(*steps))

    async def read() -> None:
        await caller.read(await caller.chat(stream=True))

    await fails_alike(read, instrument, most=60)


HOSTILE: dict[str, Any] = {
    "null delta": {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
    "huge index": {"choices": [{"index": 10**30, "delta": {"content": "x"}}]},
    "negative index": {"choices": [{"index": -1, "delta": {"content": "x"}, "finish_reason": "stop"}]},
    "half a character": {"choices": [{"index": 0, "delta": {"content": "\ud83d"}, "finish_reason": "stop"}]},
    "content in parts": {"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": "x"}]}}]},
    "calls that are text": {"choices": [{"index": 0, "delta": {"tool_calls": "x"}}]},
    "a call without a function": {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}, None]}}]},
    "a choice that is a list": {"choices": [[None]]},
    "a choice that is a text": {"choices": ["x", {"index": 0, "delta": {"content": "x"}}]},
    "a delta that is a number": {"choices": [{"index": 0, "delta": 1.5}]},
    "no choices": {"choices": None},
    "choices that are text": {"choices": "x"},
    "names with a hyphen": {"choices": [{"index": 0, "delta": {"re-asoning": "x", "content": "x"}}]},
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_chunks(connect: Any, serve: Serve, instrument: Callable[..., Seen], name: str) -> None:
    caller = connect(serve(HEALTHY[0], {**chunk(), **HOSTILE[name]}, *HEALTHY[1:]))

    async def read() -> Any:
        return dumped(await caller.read(await caller.chat(stream=True)))

    await ends_alike(read, instrument)


@pytest.mark.parametrize("by_alias", [False, True], ids=["chat_completion", "create"])
async def test_one_client(connect: Any, serve: Serve, seen: Seen, by_alias: bool) -> None:
    server = serve(*HEALTHY)
    caller = connect(server)
    caller.by_alias = by_alias

    async def read(one: Any) -> None:
        await one.read(await one.chat(stream=True))

    await observes_one_client(caller, connect(server), read, seen, tells_the_healthy_story)


def joined(parts: list[Any], place: str = "delta") -> tuple[str, list[list[str]], str]:
    """The text, the calls by name and arguments, and the thoughts. Attributes and items say the same."""
    said, thoughts = "", ""
    calls: dict[int, list[str]] = {}
    for part in parts:
        choice = part.choices[0]
        message, item = getattr(choice, place), dict.get(part, "choices")[0]  # type: ignore[index]
        told = item[place]
        assert told["content"] == message.content
        assert item["finish_reason"] == choice.finish_reason
        assert len(told["tool_calls"] or ()) == len(message.tool_calls or ())
        said += message.content or ""
        thoughts += message.reasoning or ""
        for at, call in enumerate(message.tool_calls or ()):
            known = calls.setdefault(getattr(call, "index", at), ["", ""])
            known[0] += call.function.name or ""
            known[1] += call.function.arguments or ""
    return said, list(calls.values()), thoughts


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_rewriting(connect: Any, serve: Serve, instrument: Callable[..., Seen], size: int) -> None:
    seen = instrument(tool_call_tags="openai")
    leaked = f"<think>hm</think>{LEAKED}"
    pieces = [chunk(text(leaked[at : at + size])) for at in range(0, len(leaked), size)]
    caller = connect(serve(*pieces, chunk({"content": ""}, "stop"), DONE))
    parts = await caller.read(await caller.chat(stream=True))
    assert joined(parts) == ("Sure.", [["add_task", ARGUMENTS]], "hm")
    assert parts[-1].choices[0].finish_reason == "tool_calls"
    assert seen.anomalies == []
    assert len(seen.events("otel_llm.tag_rewrite")) == 1


async def test_rewriting_a_whole_response(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument(tool_call_tags="openai")
    answer = await connect(serve(Answer(completion(text(LEAKED))))).chat()
    assert joined([answer], "message") == ("Sure.", [["add_task", ARGUMENTS]], "")
    assert answer.choices[0].message.tool_calls[0].id
    assert seen.anomalies == []


async def test_rewriting_a_stream_that_only_stops(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    instrument(tool_call_tags="openai")
    caller = connect(serve(chunk(text("Sure.")), chunk(text("<tool_ca")), DONE))
    assert joined(await caller.read(await caller.chat(stream=True))) == ("Sure.<tool_ca", [], "")


@pytest.mark.swallows("tag rewriting")
async def test_a_rewriting_that_fails(
    connect: Any, serve: Serve, instrument: Callable[..., Seen], break_scanner: Callable[[str], None]
) -> None:
    instrument(tool_call_tags="openai")
    caller = connect(serve(chunk(text("Sure. <tool")), chunk(text("_call>x")), chunk(text("y"), "stop"), DONE))
    break_scanner("<tool_call>")
    assert joined(await caller.read(await caller.chat(stream=True))) == ("Sure. <tool_call>xy", [], "")
