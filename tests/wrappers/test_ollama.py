"""Ollama's SDK over HTTP: one span a request, and the same responses, types and exceptions as without us."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from types import AsyncGeneratorType, GeneratorType
from typing import Any

import ollama
import pytest

from otel_llm import OllamaInstrumentor, intercept_llm_requests
from otel_llm.demo.scripted_ollama import answer_lines, call, line, response, says
from otel_llm.demo.scripted_server import Answer, Drop, ScriptedServer, Sleep
from tests.helpers.chat_request import MESSAGES, REQUEST
from tests.helpers.ollama_callers import AsyncCaller, Caller, client_at
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

CALLED = call("add_task", {"title": "a"})
PIECES = (says(thinking="hm"), says("Su"), says("re."), says(calls=[CALLED]))
HEALTHY = answer_lines(*PIECES)
LEAKED = 'Sure.<tool_call>\n{"name": "add_task", "arguments": {"title": "a"}}\n</tool_call>'


connect = connecting(Caller, AsyncCaller)
instrument = instrumenting(OllamaInstrumentor)


def dumped(parts: list[Any]) -> list[Any]:
    return [(type(one), one.model_dump()) for one in parts]


def tells_the_healthy_story(seen: Seen) -> None:
    names = [one.name.removeprefix("otel_llm.") for one in seen.events()]
    assert names[:4] == ["reasoning.started", "text.started", "tool_call.detected", "tool_call.name"]
    assert names[-2:] == ["tool_call.completed", "finish_reason"]
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == '{"title": "a"}'
    assert seen.anomalies == []
    assert seen.attributes["gen_ai.provider.name"] == "ollama"
    assert seen.attributes["server.address"] == "127.0.0.1"
    assert seen.attributes["gen_ai.request.model"] == "tiny"
    assert seen.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert seen.attributes["otel_llm.api"] == "ollama"
    assert (seen.attributes["gen_ai.usage.input_tokens"], seen.attributes["gen_ai.usage.output_tokens"]) == (3, 4)
    seen.encode()


async def test_a_stream(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(*HEALTHY))
    bare = await caller.read(await caller.chat(stream=True))
    seen = instrument()
    stream = await caller.chat(stream=True)
    assert isinstance(stream, AsyncGeneratorType if isinstance(caller, AsyncCaller) else GeneratorType)
    assert dumped(await caller.read(stream)) == dumped(bare)
    assert seen.outcome == "completed"
    assert seen.attributes["otel_llm.stream.chunk_count"] == len(HEALTHY)
    tells_the_healthy_story(seen)
    OllamaInstrumentor().uninstrument()
    assert type(await caller.chat(stream=True)) in {AsyncGeneratorType, GeneratorType}


async def test_a_whole_response(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(Answer(response(says("Sure.", thinking="hm", calls=[CALLED])))))
    bare = await caller.chat()
    seen = instrument()
    assert dumped([await caller.chat()]) == dumped([bare])
    assert "otel_llm.stream.outcome" not in seen.attributes
    assert len(seen.events("otel_llm.tool_call.completed")) == 1
    assert seen.anomalies == []


async def test_positional_arguments(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(Answer(response(says("Sure.")))))
    await caller.chat("tiny", MESSAGES)
    assert seen.attributes["gen_ai.request.model"] == "tiny"


def test_a_function_that_was_imported_before(
    serve: Serve, instrument: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_at(serve(Answer(response(says("Sure.")))))
    of_module: Any = ollama.chat
    monkeypatch.setattr(of_module.__self__, "_client", client._client)
    seen = instrument()
    of_module("tiny", MESSAGES)
    ollama.chat("tiny", MESSAGES)
    client._client.close()
    assert [span.name for span in seen.spans] == ["chat tiny"] * 2


async def test_the_request(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    options = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "num_predict": 7, "stop": ["END"], "seed": 3, "num_ctx": 9}
    await connect(serve(Answer(response(says("{}"))))).chat(options=options, format="json", think=True)
    asked = {name.removeprefix("gen_ai.request."): value for name, value in seen.attributes.items()}
    assert (asked["temperature"], asked["top_p"], asked["top_k"]) == (0.5, 0.9, 3)
    assert (asked["max_tokens"], asked["seed"], asked["stop_sequences"]) == (7, 3, ("END",))
    assert seen.attributes["gen_ai.output.type"] == "json"
    assert seen.anomalies == []


async def test_a_tool_that_is_a_function(serve: Serve, instrument: Callable[..., Seen]) -> None:
    def add_task(title: str) -> str:
        """Add a task.

        Args:
          title: what to do
        """
        return title

    seen = instrument()
    caller = Caller(serve(*answer_lines(says(calls=[call("add_task", {"name": 1}), call("other", {})]))))
    await caller.read(await caller.chat(stream=True, tools=[add_task]))
    await caller.close()
    assert seen.anomalies == ["schema_violation", "unknown_tool"]


@pytest.mark.parametrize(
    ("results", "anomalies"),
    [
        ([("add_task", "ok"), ("now", "9:00")], []),
        ([("now", "9:00"), ("add_task", "ok")], []),
        ([(None, "ok"), (None, "9:00")], []),
        ([("add_task", "ok")], ["unanswered_call"]),
        ([("add_task", "ok"), ("now", "9:00"), ("now", "9:01")], ["result_without_call"]),
    ],
)
async def test_results_without_ids(
    serve: Serve, instrument: Callable[..., Seen], results: list[tuple[str | None, str]], anomalies: list[str]
) -> None:
    seen = instrument()
    caller = Caller(serve(*answer_lines(says("Done."))))
    called = says(calls=[CALLED, call("now", {})])
    told = [{"role": "tool", "content": text, **({"tool_name": name} if name else {})} for name, text in results]
    await caller.read(await caller.chat(stream=True, messages=[*MESSAGES, called, *told]))
    await caller.close()
    assert seen.anomalies == anomalies


async def test_a_result_without_an_id_is_linked_to_its_call(
    connect: Any, serve: Serve, instrument: Callable[..., Seen]
) -> None:
    seen = instrument()
    caller = connect(serve(answer_lines(says(calls=[CALLED, CALLED])), answer_lines(says("Done."))))
    await caller.read(await caller.chat(stream=True))
    results = [{"role": "tool", "content": text, "tool_name": "add_task"} for text in ("ok", "no")]
    await caller.read(await caller.chat(stream=True, messages=[*MESSAGES, says(calls=[CALLED, CALLED]), *results]))
    first, second = seen.spans
    assert [link.context for link in second.links] == [first.context] * 2
    assert [dict(link.attributes or {}) for link in second.links] == [{"gen_ai.tool.name": "add_task"}] * 2


async def test_a_loop(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = Caller(serve(*answer_lines(says(calls=[CALLED]))))
    turn = [says(calls=[CALLED]), {"role": "tool", "content": "ok", "tool_name": "add_task"}]
    await caller.read(await caller.chat(stream=True, messages=[*MESSAGES, *turn, *turn]))
    await caller.close()
    assert seen.anomalies == ["repeated_call"]


async def test_what_is_no_chat_has_no_span(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    generated = {"model": "tiny", "response": "x", "done": True}
    client = client_at(serve([Answer(generated)], [Answer({"embeddings": [[1.0]]})]))
    assert client.generate("tiny", "x").response == "x"
    assert client.embed("tiny", "x").embeddings == [[1.0]]
    client._client.close()
    assert seen.spans == []


async def test_a_request_that_loads_the_model(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    await connect(serve(Answer(response(says(), reason="load")))).chat(messages=[])
    assert seen.anomalies == []


async def test_a_stream_that_is_closed(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY, Sleep(30)))
    stream = await caller.chat(stream=True)
    await caller.read(stream, 2)
    await caller.close_stream(stream)
    assert seen.outcome == "closed"
    assert seen.anomalies == []


@pytest.mark.parametrize("count", [0, 2])
async def test_a_stream_that_is_dropped(
    connect: Any, serve: Serve, instrument: Callable[..., Seen], count: int
) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    stream = await caller.chat(stream=True)
    if count:
        await caller.read(stream, count)
    del stream
    gc.collect()
    await asyncio.sleep(0)
    assert seen.outcome == "abandoned"


async def test_a_task_that_is_cancelled(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = AsyncCaller(serve(*HEALTHY[:2], Sleep(30)))
    await tells_of_a_cancelled_task(lambda: caller.chat(stream=True), seen)
    await caller.close()


@pytest.mark.parametrize(
    "steps",
    [
        [Answer({"error": "model 'tiny' not found"}, status=404)],
        [*HEALTHY[:2], Drop()],
        [*HEALTHY[:2], line({"error": "out of memory"})],
        [*HEALTHY[:2], line(response(says(calls=[{"function": {"name": "x", "arguments": "{}"}}]), done=False))],
        [*HEALTHY[:2], b"{\n"],
        [*HEALTHY[:2], line([])],
    ],
    ids=["refused", "dropped", "error", "text", "no JSON", "no object"],
)
async def test_errors(connect: Any, serve: Serve, instrument: Callable[..., Seen], steps: Any) -> None:
    caller = connect(serve(*steps))

    async def read() -> None:
        await caller.read(await caller.chat(stream=True))

    await fails_alike(read, instrument)


HOSTILE: dict[str, Any] = {
    "null message": {"message": None},
    "null content": {"message": {"role": "assistant", "content": None}},
    "half a character": {"message": says("\ud83d", thinking="\udc00")},
    "null calls": {"message": says("x", calls=[])},
    "a call without a name": {"message": says(calls=[{"function": {"name": "", "arguments": {}}}])},
    "counts": {"prompt_eval_count": -1, "eval_count": 10**30},
    "no model": {"model": None, "done": None},
    "unknown field": {"new": {"x": [1]}, "message": {**says("x"), "new": 1}},
    "done twice": {"done": True, "done_reason": "?"},
    "deep arguments": {"message": says(calls=[call("add_task", {"title": [[[[{}]]]]})])},
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_lines(connect: Any, serve: Serve, instrument: Callable[..., Seen], name: str) -> None:
    caller = connect(serve(HEALTHY[0], line({**response(says("x"), done=False), **HOSTILE[name]}), *HEALTHY[1:]))

    async def read() -> Any:
        return dumped(await caller.read(await caller.chat(stream=True)))

    await ends_alike(read, instrument)


async def test_one_client(connect: Any, serve: Serve, seen: Seen) -> None:
    server = serve(*HEALTHY)
    caller = connect(server)

    async def read(one: Any) -> None:
        await one.read(await one.chat(stream=True))

    await observes_one_client(caller, connect(server), read, seen, tells_the_healthy_story)


async def test_a_client_of_an_instrumented_sdk(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    caller = connect(serve(*HEALTHY))
    intercept_llm_requests(caller.client, **seen.providers)
    await caller.read(await caller.chat(stream=True))
    tells_the_healthy_story(seen)


def streamed(text: str, size: int, **fields: Any) -> list[bytes]:
    return answer_lines(*(says(text[at : at + size]) for at in range(0, len(text), size)), **fields)


def joined(parts: list[Any]) -> tuple[str, list[tuple[str, Any]], str]:
    said = "".join(part.message.content or "" for part in parts)
    calls = [(one.function.name, one.function.arguments) for part in parts for one in part.message.tool_calls or ()]
    return said, calls, "".join(part.message.thinking or "" for part in parts)


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_rewriting(connect: Any, serve: Serve, instrument: Callable[..., Seen], size: int) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*streamed(f"<think>hm</think>{LEAKED}{LEAKED.replace('Sure.', '')}", size)))
    parts = await caller.read(await caller.chat(stream=True))
    assert joined(parts) == ("Sure.", [("add_task", {"title": "a"})] * 2, "hm")
    assert type(parts[-1]) is ollama.ChatResponse
    assert seen.anomalies == ["duplicate_call"]
    assert len(seen.events("otel_llm.tag_rewrite")) == 2
    assert all(type(part).model_validate(part.model_dump()) == part for part in parts)


async def test_rewriting_into_tags(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    instrument(tool_call_tags="<call>")
    caller = connect(serve(*streamed(LEAKED, 5)))
    parts = await caller.read(await caller.chat(stream=True))
    assert joined(parts)[:2] == ('Sure.<call>{"name": "add_task", "arguments": {"title": "a"}}</call>', [])


async def test_rewriting_a_whole_response(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument(tool_call_tags="openai")
    answer = await connect(serve(Answer(response(says(LEAKED))))).chat()
    assert joined([answer]) == ("Sure.", [("add_task", {"title": "a"})], "")
    assert seen.anomalies == []
    assert seen.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)


@pytest.mark.parametrize("is_done", [True, False], ids=["at its limit", "broken off"])
async def test_a_call_that_is_cut_off_is_never_executed(
    connect: Any, serve: Serve, instrument: Callable[..., Seen], is_done: bool
) -> None:
    instrument(tool_call_tags="openai")
    lines = streamed(LEAKED[: LEAKED.index('"a"') + 2], 5, reason="length")
    caller = connect(serve(*(lines if is_done else lines[:-1])))
    said, calls, _ = joined(await caller.read(await caller.chat(stream=True)))
    assert calls == []
    assert said == 'Sure.{"name": "add_task", "arguments": {"title": "a'


async def test_arguments_that_are_no_object(connect: Any, serve: Serve, instrument: Callable[..., Seen]) -> None:
    instrument(tool_call_tags="openai")
    leaked = '<tool_call>\n{"name": "add_task", "arguments": [1]}\n</tool_call>'
    answer = await connect(serve(Answer(response(says(leaked))))).chat()
    assert joined([answer])[1] == []
    assert "[1]" in answer.message.content


@pytest.mark.parametrize("marker", ["<tool_call>", 'tle"'])
@pytest.mark.swallows("tag rewriting")
async def test_a_rewriting_that_fails(
    connect: Any, serve: Serve, instrument: Callable[..., Seen], break_scanner: Callable[[str], None], marker: str
) -> None:
    instrument(tool_call_tags="openai")
    before, _, behind = LEAKED.partition(marker)
    caller = connect(serve(*answer_lines(says(before), says(marker + behind))))
    break_scanner(marker)
    assert joined(await caller.read(await caller.chat(stream=True))) == (LEAKED, [], "")


def test_streams_in_threads(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    client = client_at(serve(*HEALTHY))
    tells_of_each_thread(lambda: list(client.chat(**REQUEST, stream=True)), seen)
    client._client.close()
