"""Tool calls are rewritten in what every SDK makes of a response, whichever way the application takes it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest

from otel_llm.demo.scripted_server import Answer, ScriptedServer, completion
from otel_llm.tags.sdk_classes import tool_call_delta, whole_tool_call
from otel_llm.tags.writers import CallDelta
from tests.helpers.callers import REQUEST
from tests.helpers.sdks import SDK
from tests.helpers.seen import Seen
from tests.helpers.streams import ends, says

Serve = Callable[..., ScriptedServer]

ARGUMENTS = '{"title": "buy milk"}'
BODY = f'{{"name": "add_task", "arguments": {ARGUMENTS}}}'
TEXT = f"Sure.\n<tool_call>\n{BODY}\n</tool_call>\nDone."
LEFT = "Sure.\n\nDone."


@pytest.fixture(params=["openai", "groq", "cerebras"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
async def sdk(name: str, request: pytest.FixtureRequest) -> AsyncIterator[SDK]:
    made = SDK(name, asynchronous=request.param)
    yield made
    await made.close()


def streamed(text: str, size: int) -> list[Any]:
    chunks = [*(says(text[start : start + size]) for start in range(0, len(text), size)), ends("stop")]
    # Without this field, the SDK of Cerebras takes a chunk for something else.
    return [{**chunk, "system_fingerprint": "x"} for chunk in chunks]


def whole(text: str = TEXT) -> Answer:
    return Answer(completion({"role": "assistant", "content": text}, "stop", system_fingerprint="x"))


def joined(chunks: list[Any]) -> tuple[str, list[tuple[str, str]], list[str]]:
    """The text, the calls by name and arguments, and the finish reasons."""
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        for delta in chunk.choices[0].delta.tool_calls or ():
            call = calls.setdefault(delta.index, ["", ""])
            call[0] += delta.function.name or ""
            call[1] += delta.function.arguments or ""
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason]
    return text, [(name, arguments) for name, arguments in calls.values()], reasons


def in_message(response: Any) -> tuple[str, list[tuple[str, str]], list[str]]:
    (choice,) = response.choices
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    return choice.message.content or "", calls, [choice.finish_reason]


REWRITTEN = (LEFT, [("add_task", ARGUMENTS)], ["tool_calls"])


async def created(sdk: SDK, server: ScriptedServer, **kwargs: Any) -> Any:
    return await sdk.result(sdk.client(server).chat.completions.create(**REQUEST, **kwargs))


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
async def test_a_stream(sdk: SDK, seen: Seen, serve: Serve, size: int) -> None:
    sdk.instrumentor.instrument(**seen.providers, tool_call_tags="openai")
    chunks = await sdk.read(await created(sdk, serve(*streamed(TEXT, size)), stream=True))
    assert joined(chunks) == REWRITTEN
    deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls or ()]
    assert {type(delta) for delta in deltas} == {type(tool_call_delta(chunks[0].choices[0].delta, CallDelta(0)))}
    assert all(type(delta).__module__.startswith(sdk.package.__name__) for delta in deltas)
    assert seen.anomalies == []
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1


async def test_what_a_chunk_says_when_it_is_written_down(sdk: SDK, seen: Seen, serve: Serve) -> None:
    """Fields that were put in are fields that are set, as the SDKs' own helpers want it."""
    sdk.instrumentor.instrument(**seen.providers, tool_call_tags="openai")
    chunks = await sdk.read(await created(sdk, serve(*streamed(TEXT, 5)), stream=True))
    said = "".join(
        call["function"]["arguments"]
        for chunk in chunks
        for call in chunk.to_dict()["choices"][0]["delta"].get("tool_calls") or ()
    )
    assert said == ARGUMENTS
    for chunk in chunks:
        assert type(chunk).model_validate(chunk.to_dict()) == chunk


async def test_a_whole_response(sdk: SDK, seen: Seen, serve: Serve) -> None:
    sdk.instrumentor.instrument(**seen.providers, tool_call_tags="openai")
    response = await created(sdk, serve(whole()))
    assert in_message(response) == REWRITTEN
    (call,) = response.choices[0].message.tool_calls
    assert type(call).__module__.startswith(sdk.package.__name__)
    assert call.id
    assert call.type == "function"
    assert seen.anomalies == []


async def test_a_raw_response(sdk: SDK, seen: Seen, serve: Serve) -> None:
    sdk.instrumentor.instrument(**seen.providers, tool_call_tags="openai")
    create = sdk.client(serve(whole())).chat.completions.with_raw_response.create
    raw = await sdk.result(create(**REQUEST))
    assert len(seen.spans) == 1
    parsed = raw.parse()
    response = await parsed if hasattr(parsed, "__await__") else parsed
    assert in_message(response) == REWRITTEN
    assert seen.anomalies == []
    assert len(seen.events("otel_llm.tag_rewrite")) == 1
    assert int(raw.headers["content-length"]) == len(raw.http_response.content)


@pytest.mark.parametrize("read", ["parse", "read", "json", "text", "iter_bytes", "iter_lines"])
async def test_a_response_that_is_still_to_be_read(sdk: SDK, seen: Seen, serve: Serve, read: str) -> None:
    sdk.instrumentor.instrument(**seen.providers, tool_call_tags="openai")
    create = sdk.client(serve(whole())).chat.completions.with_streaming_response.create
    if sdk.asynchronous:
        async with create(**REQUEST) as raw:
            assert "content-length" not in raw.headers
            found = getattr(raw, read)()
            got: Any = [part async for part in found] if read.startswith("iter") else await found
    else:
        with create(**REQUEST) as raw:
            got = getattr(raw, read)()
            got = list(got) if read.startswith("iter") else got
    if read != "parse":
        if read.startswith("iter"):
            got = (b"" if read == "iter_bytes" else "").join(got)
        value = got if read == "json" else json.loads(got)
        (call,) = value["choices"][0]["message"]["tool_calls"]
        assert call["function"] == {"name": "add_task", "arguments": ARGUMENTS}
        assert value["choices"][0]["message"]["content"] == LEFT
        assert value["choices"][0]["finish_reason"] == "tool_calls"
    else:
        assert in_message(got) == REWRITTEN
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1
    assert seen.anomalies == []


@pytest.mark.parametrize("is_own", [False, True], ids=["the SDK's", "of the caller"])
@pytest.mark.parametrize("kind", ["with_raw_response", "with_streaming_response"])
async def test_a_stream_of_a_class(sdk: SDK, seen: Seen, serve: Serve, kind: str, is_own: bool) -> None:
    base = getattr(sdk.package, "BaseModel", openai.BaseModel)

    class MyDelta(base):  # type: ignore[misc, valid-type]
        content: str | None = None

    class MyChoice(base):  # type: ignore[misc, valid-type]
        delta: MyDelta

    class MyChunk(base):  # type: ignore[misc, valid-type]
        choices: list[MyChoice]

    sdk.instrumentor.instrument(**seen.providers, tool_call_tags="openai")
    create = getattr(sdk.client(serve(*streamed(TEXT, 5))).chat.completions, kind).create
    wanted = {"to": sdk.stream_class[MyChunk]} if is_own else {}

    async def read(raw: Any) -> list[Any]:
        parsed = raw.parse(**wanted)
        return await sdk.read(await parsed if hasattr(parsed, "__await__") else parsed)

    if kind == "with_raw_response":
        chunks = await read(await sdk.result(create(**REQUEST, stream=True)))
    elif sdk.asynchronous:
        async with create(**REQUEST, stream=True) as raw:
            chunks = await read(raw)
    else:
        with create(**REQUEST, stream=True) as raw:
            chunks = await read(raw)
    assert {type(chunk) is MyChunk for chunk in chunks} == {is_own}
    said = [chunk.to_dict()["choices"][0] for chunk in chunks]
    assert "".join(one["delta"].get("content") or "" for one in said) == LEFT
    calls = [call["function"] for one in said for call in one["delta"].get("tool_calls") or ()]
    assert "".join(call.get("arguments", "") for call in calls) == ARGUMENTS
    assert said[-1]["finish_reason"] == "tool_calls"
    assert seen.anomalies == []
    assert len(seen.events("otel_llm.tag_rewrite")) == 1


@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.swallows("tag rewriting")
async def test_an_sdk_without_a_class_for_calls(
    sdk: SDK, seen: Seen, serve: Serve, monkeypatch: pytest.MonkeyPatch, is_streamed: bool
) -> None:
    def breaks(*_: object) -> object:
        raise LookupError("no such class")

    sdk.instrumentor.instrument(**seen.providers, tool_call_tags="openai")
    monkeypatch.setattr("otel_llm.tags.stage.tool_call_delta", breaks)
    monkeypatch.setattr("otel_llm.tags.stage.whole_tool_call", breaks)
    if is_streamed:
        chunks = await sdk.read(await created(sdk, serve(*streamed(TEXT, 4)), stream=True))
        assert joined(chunks) == (TEXT, [], ["stop"])
    else:
        assert in_message(await created(sdk, serve(whole()))) == (TEXT, [], ["stop"])


def test_models_without_room_for_calls() -> None:
    class Delta(openai.BaseModel):
        content: str | None = None

    with pytest.raises(LookupError):
        tool_call_delta(Delta(content="x"), CallDelta(0, "call_1", "f"))
    with pytest.raises(LookupError):
        whole_tool_call(Delta(content="x"), CallDelta(0, "call_1", "f"))
