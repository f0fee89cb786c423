"""Text completions over HTTP: a span of the conventions with the events of a stream, and the chunks as without us."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from cerebras.cloud.sdk import Cerebras

from otel_llm import CerebrasInstrumentor, intercept_llm_requests
from otel_llm.demo.scripted_server import DONE, MODEL, Answer, Drop, ScriptedServer, Sleep, error_event
from otel_llm.testing import watch_streams
from tests.helpers.callers import SyncCaller
from tests.helpers.sdk_versions import DISCONNECTED
from tests.helpers.seen import Seen
from tests.helpers.text_completions import REQUEST, USAGE, completion, pieces, text_choice

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

HEALTHY = pieces("Once", " upon", " a time")


async def complete(caller: SyncCaller, **kwargs: Any) -> Any:
    return await caller.result(caller.client.completions.create(**{**REQUEST, **kwargs}))


def tells_the_story(seen: Seen) -> None:
    assert seen.span.name == "text_completion tiny"
    attributes = seen.attributes
    assert attributes["gen_ai.operation.name"] == "text_completion"
    assert attributes["gen_ai.response.model"] == MODEL
    assert attributes["gen_ai.response.id"] == "cmpl-scripted"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (3, 4)
    assert attributes["otel_llm.stream.text_only"] is True
    names = [event.name.removeprefix("otel_llm.") for event in seen.events()]
    assert names == ["text.started", "finish_reason"]
    assert seen.anomalies == []
    seen.encode()


async def test_a_stream(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(*HEALTHY))
    bare = await caller.read(await complete(caller, stream=True))
    seen = instrument()
    stream = await complete(caller, stream=True, temperature=0.5, stop="\n", max_tokens=9, n=1)
    assert isinstance(stream, caller.stream_class)
    chunks = await caller.read(stream)
    assert [(type(one), one.model_dump()) for one in chunks] == [(type(one), one.model_dump()) for one in bare]
    tells_the_story(seen)
    assert seen.outcome == "completed"
    assert seen.attributes["otel_llm.stream.chunk_count"] == len(chunks)
    assert seen.attributes["gen_ai.request.stream"] is True
    assert seen.attributes["gen_ai.request.temperature"] == 0.5
    assert seen.attributes["gen_ai.request.stop_sequences"] == ("\n",)
    assert seen.attributes["gen_ai.request.max_tokens"] == 9
    ((labels, count),) = seen.metric("otel_llm.stream.count")
    assert (labels["otel_llm.stream.outcome"], count) == ("completed", 1)


async def test_a_whole_response(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(Answer(completion(text_choice("Once upon a time", "stop"), usage=USAGE))))
    assert (await complete(caller)).choices[0].text == "Once upon a time"
    tells_the_story(instrumented)


async def test_a_raw_response(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(Answer(completion(text_choice("Once upon a time", "stop"), usage=USAGE))))
    await caller.result(caller.client.completions.with_raw_response.create(**REQUEST))
    tells_the_story(instrumented)


def test_bytes(serve: Serve, instrumented: Seen) -> None:
    with (
        openai.OpenAI(api_key="unused", base_url=serve(*HEALTHY).base_url) as client,
        client.completions.with_streaming_response.create(**REQUEST, stream=True) as raw,
    ):
        assert b"Once" in b"".join(raw.iter_bytes())
    tells_the_story(instrumented)


async def test_several_choices(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    steps = [completion(text_choice(word, index=index)) for index, word in [(0, "a"), (1, "b"), (0, "c"), (1, "d")]]
    ends = [completion(text_choice("", "length", 0), text_choice("", "stop", 1)), DONE]
    caller = connect(serve(*steps, *ends))
    await caller.read(await complete(caller, prompt=["x", "y"], stream=True))
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("length", "stop")
    started = instrumented.events("otel_llm.text.started")
    assert [dict(event.attributes or {})["otel_llm.choice.index"] for event in started] == [0, 1]
    assert instrumented.anomalies == []


async def test_content(
    connect: Connect, serve: Serve, instrument: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    caller, seen = connect(serve(*HEALTHY)), instrument()
    await caller.read(await complete(caller, stream=True))
    (asked,) = json.loads(seen.attributes["gen_ai.input.messages"])
    (answered,) = json.loads(seen.attributes["gen_ai.output.messages"])
    assert (asked["role"], asked["parts"][0]["content"]) == ("user", "Once upon")
    assert answered["parts"][0]["content"] == "Once upon a time"


@pytest.mark.parametrize(
    ("steps", "request_", "anomalies"),
    [
        ([*HEALTHY[:3], DONE], {}, ["missing_finish_reason"]),
        (pieces(), {}, ["empty_response"]),
        (pieces(), {"stop": ["\n"]}, []),
        (pieces(), {"suffix": "."}, []),
        (pieces(finish_reason="length"), {"max_tokens": 0}, []),
        (pieces("<think>hm</think>"), {}, []),
        (pieces("A tale.</s>"), {}, []),
        (pieces('<tool_call>{"name": "f", "arguments": {}}</tool_call>'), {}, []),
        ([*HEALTHY[:4], DONE], {"stream_options": {"include_usage": True}}, ["missing_usage"]),
        ([HEALTHY[0], Sleep(0.05), *HEALTHY[1:]], {}, ["stalled"]),
        (pieces("caf\ufffd"), {}, ["replacement_character"]),
        (pieces("Ha! " * 600, finish_reason="length"), {}, ["repetition"]),
    ],
)
async def test_anomalies(
    connect: Connect,
    serve: Serve,
    instrument: Callable[..., Seen],
    steps: list[Any],
    request_: dict[str, Any],
    anomalies: list[str],
) -> None:
    caller, seen = connect(serve(*steps)), instrument(stall_seconds=0.04)
    await caller.read(await complete(caller, stream=True, **request_))
    assert [one for one in seen.anomalies if one != "stalled" or "stalled" in anomalies] == anomalies


async def test_refused(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(Answer(error_event("no such model"), status=404)))
    with pytest.raises(openai.NotFoundError):
        await complete(caller, stream=True)
    assert instrumented.attributes["error.type"] == "openai.NotFoundError"


async def test_dropped(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(*HEALTHY[:2], Drop()))
    with pytest.raises(DISCONNECTED):
        await caller.read(await complete(caller, stream=True))
    assert instrumented.outcome == "error"


async def test_an_error_in_the_stream(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(*HEALTHY[:2], error_event("overloaded")))
    with pytest.raises(openai.APIError, match="overloaded"):
        await caller.read(await complete(caller, stream=True))
    assert instrumented.outcome == "error"


async def test_closed_early(connect: Connect, serve: Serve, instrumented: Seen) -> None:
    caller = connect(serve(*HEALTHY))
    await caller.read_in_block(await complete(caller, stream=True), 2)
    assert (instrumented.outcome, instrumented.anomalies) == ("closed", [])


def test_dropped_by_the_caller(serve: Serve, instrumented: Seen) -> None:
    with openai.OpenAI(api_key="unused", base_url=serve(*HEALTHY).base_url) as client:
        stream = client.completions.create(**REQUEST, stream=True)
        next(iter(stream))
        del stream
        gc.collect()
        assert instrumented.outcome in {"abandoned", "closed"}


@pytest.mark.parametrize(
    "steps",
    [
        [{"choices": [None]}, {"choices": None}, {"choices": [{}]}, {}],
        [completion(text_choice(5)), completion(text_choice(["x"])), completion(text_choice({"a": 1}))],
        [completion(text_choice("x", index=2**70)), completion(text_choice("y", index="z"))],
        [completion(text_choice("x", finish_reason=7)), completion(text_choice("\ud800"))],
    ],
)
async def test_nonsense(connect: Connect, serve: Serve, instrumented: Seen, steps: list[Any]) -> None:
    caller = connect(serve(*HEALTHY[:1], *steps, DONE))
    await caller.read(await complete(caller, stream=True))
    assert instrumented.outcome == "completed"
    instrumented.encode()


async def test_one_client(connect: Connect, serve: Serve, seen: Seen) -> None:
    caller = connect(serve(*HEALTHY))
    intercept_llm_requests(caller.client, **seen.providers)
    await caller.read(await complete(caller, stream=True))
    tells_the_story(seen)


async def test_in_a_test(connect: Connect, serve: Serve) -> None:
    caller = connect(serve(*HEALTHY))
    with watch_streams() as streams:
        await caller.read(await complete(caller, stream=True))
    (stream,) = streams
    assert (stream.text, stream.finish_reason, stream.anomalies) == ("Once upon a time", "stop", [])


def test_tags_do_not_apply(serve: Serve, instrument: Callable[..., Seen]) -> None:
    text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    seen = instrument(tool_call_tags="openai")
    with openai.OpenAI(api_key="unused", base_url=serve(*pieces(text)).base_url) as client:
        assert (
            "".join(one.choices[0].text for one in client.completions.create(**REQUEST, stream=True) if one.choices)
            == text
        )
    assert seen.events("otel_llm.tag_rewrite") == []


def test_cerebras(serve: Serve, seen: Seen) -> None:
    CerebrasInstrumentor().instrument(**seen.providers)
    fingerprint = {"system_fingerprint": "fp_1"}
    steps = [{**one, **fingerprint} if isinstance(one, dict) else one for one in HEALTHY]
    base_url = serve(*steps).base_url.removesuffix("/v1")
    try:
        with Cerebras(api_key="unused", base_url=base_url, warm_tcp_connection=False) as client:
            for _ in client.completions.create(**REQUEST, stream=True):
                pass
    finally:
        CerebrasInstrumentor().uninstrument()
    tells_the_story(seen)
    assert seen.attributes["gen_ai.provider.name"] == "cerebras"
