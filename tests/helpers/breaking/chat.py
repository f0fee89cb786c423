"""Scenarios: chat completions, streamed and whole, and every way to read a stream and to leave it."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import logging
from typing import Any

import openai

from otel_llm import (
    intercept_llm_requests,
)
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    chunk,
    completion,
    data,
    text,
    tool_call_chunks,
)
from tests.helpers.breaking.calling import ANSWER, ARGUMENTS, CALLING, streamed, streamed_async
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import REQUEST
from tests.helpers.streams import call, calls, legacy

try:
    import httpx2 as httpx
except ImportError:
    import httpx  # type: ignore[no-redef]  # the same classes under their older name


def stream(run: Run) -> None:
    run.answer(CALLING)
    stream = streamed(run)
    run.see(isinstance(stream, openai.Stream))
    run.see_all(stream)


def stream_async(run: Run) -> None:
    async def play() -> None:
        stream = await streamed_async(run)
        run.see(isinstance(stream, openai.AsyncStream))
        await run.see_all_async(stream)

    run.answer(CALLING)
    run.wait(play())


def whole(run: Run) -> None:
    run.answer([Answer(ANSWER)])
    run.see(run.client.chat.completions.create(**REQUEST))


def executed_tools(run: Run) -> None:
    tool = {"index": 0, "type": "search", "arguments": "{}", "output": "found"}
    last = chunk({"content": "So.", "executed_tools": [tool]}, "stop")
    run.answer([chunk({"reasoning": "hm"}), chunk({"executed_tools": [tool]}), last, DONE])
    run.see_all(streamed(run))


def body_at_once(run: Run) -> None:
    """A transport that has the whole body, as that of a mock."""
    body = "".join(f"data: {json.dumps(step)}\n\n" for step in CALLING if isinstance(step, dict)).encode()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    client = run.client.with_options(http_client=httpx.Client(transport=transport))
    stream = client.chat.completions.create(**REQUEST, stream=True)
    run.see(next(stream))
    stream.response.close()


def whole_async(run: Run) -> None:
    run.answer([Answer(ANSWER)])
    run.see(run.wait(run.async_client.chat.completions.create(**REQUEST)))


def one_by_one(run: Run) -> None:
    run.answer(CALLING)
    stream = streamed(run)
    run.see(next(stream))
    run.see_all(stream)
    run.see(next(stream, "no more"))


def one_by_one_async(run: Run) -> None:
    async def play() -> None:
        stream = await streamed_async(run)
        run.see(await anext(stream))
        await run.see_all_async(stream)
        run.see(await anext(stream, "no more"))

    run.answer(CALLING)
    run.wait(play())


def left_early(run: Run) -> None:
    run.answer(CALLING, CALLING, CALLING)
    with streamed(run) as stream:
        run.see(next(iter(stream)))
    stream = streamed(run)
    run.see(next(iter(stream)))
    stream.close()
    run.see(stream.response.is_closed)
    with run.see_error(), streamed(run) as stream:
        raise LookupError("the application's own")


def left_early_async(run: Run) -> None:
    async def play() -> None:
        async with await streamed_async(run) as stream:
            async for chunk in stream:
                run.see(chunk)
                break
        stream = await streamed_async(run)
        run.see(await anext(stream))
        await stream.close()
        run.see(stream.response.is_closed)
        chunks: Any = aiter(await streamed_async(run))
        run.see(await anext(aiter(chunks)))
        await chunks.aclose()
        run.see(await anext(chunks, "no more"))

    run.answer(CALLING, CALLING, CALLING)
    run.wait(play())


def abandoned(run: Run) -> None:
    run.answer(CALLING)
    stream = streamed(run)
    run.see(next(stream))
    del stream
    gc.collect()


def cancelled(run: Run) -> None:
    async def play() -> None:
        task = asyncio.ensure_future(streamed_async(run))
        await asyncio.sleep(0)
        task.cancel()
        with run.see_error():
            try:
                await task
            except asyncio.CancelledError:
                raise LookupError("cancelled") from None

    run.answer(CALLING)
    run.wait(play())


def abandoned_where_locks_are_held(run: Run) -> None:
    """Within a logging handler, so that the end waits for the next request."""
    run.answer(CALLING, CALLING)
    kept = [streamed(run)]
    run.see(next(kept[0]))

    class Collecting(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            kept.clear()
            gc.collect()

    Collecting().handle(logging.makeLogRecord({}))
    run.see_all(streamed(run))


def within_another(run: Run) -> None:
    """A request that the client makes while it prepares another one."""
    inner = [run.client.copy()]

    def prepare(options: Any) -> Any:
        if inner:
            run.see(inner.pop().chat.completions.create(**REQUEST))
        return options

    run.client._prepare_options = prepare
    run.answer([Answer(ANSWER)], CALLING)
    run.see_all(streamed(run))


def intercepted_too(run: Run) -> None:
    if run.observed:
        intercept_llm_requests(run.client, **run.seen.providers)
    run.answer(CALLING)
    run.see_all(streamed(run))


def logged(run: Run) -> None:
    logger = logging.getLogger("otel_llm")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        run.answer(CALLING, [Answer(completion(text("Hi")))])
        run.see_all(streamed(run))
        run.see(run.client.chat.completions.create(**REQUEST))
    finally:
        logger.setLevel(before)


def never_awaited(run: Run) -> None:
    run.async_client.chat.completions.create(**REQUEST).close()
    run.see("nothing")


def searched(run: Run) -> None:
    run.answer(CALLING)
    run.see(object() in streamed(run))


def copied(run: Run) -> None:
    run.answer(CALLING)
    stream = streamed(run)
    run.see(next(stream))
    run.see_all(copy.copy(stream))


def legacy_calls(run: Run) -> None:
    run.answer([legacy("add_task", ""), legacy(arguments=ARGUMENTS), chunk(finish_reason="function_call"), DONE])
    run.see_all(streamed(run))


def parts(run: Run) -> None:
    """Contents in parts, as where a model of Mistral's reasons."""
    said: list[Any] = [
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": [{"type": "text", "text": "Sure."}]},
        {"content": 42},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
    ]
    run.answer([*map(chunk, said), chunk(finish_reason="stop"), DONE])
    run.see_all(streamed(run))


def surrogates(run: Run) -> None:
    halves = ('{"title": "\ud83d', '\ude00"}')
    call = tool_call_chunks("add_task", halves[0]), tool_call_chunks("", halves[1])[1:]
    run.answer([*map(data, (part for parts in call for part in parts)), chunk(finish_reason="tool_calls"), DONE])
    run.see_all(streamed(run))


def token_in_arguments(run: Run) -> None:
    """One that people write without its brackets, too."""
    called = tool_call_chunks("add_task", '{"title": "a<|im_end|>"}')
    run.answer([*called, chunk(finish_reason="tool_calls"), DONE])
    run.see_all(streamed(run))


def many_deltas(run: Run) -> None:
    """More than a span holds."""
    going_on = [calls(call(0, arguments="a")) for _ in range(20)]
    begun = calls(call(0, "call_1", "add_task", '{"title": "'), *(call(0, arguments="b") for _ in range(200)))
    run.answer([begun, *going_on, calls(call(0, arguments='"}')), chunk(finish_reason="tool_calls"), DONE])
    run.see_all(streamed(run))


def long_arguments(run: Run) -> None:
    """More deltas, and longer ones, than are kept apart until the end."""
    calling = [calls(*(call(n, f"call_{n}", "add_task", "a") for n in range(220)))]
    going_on = [calls(*(call(n, arguments="b") for n in range(220))) for _ in range(4)]
    long = calls(call(0, arguments="c" * 530_000))
    run.answer([*calling, *going_on, long, *going_on, long, chunk(finish_reason="tool_calls"), DONE])
    run.see_all(streamed(run))


def deep_arguments(run: Run) -> None:
    run.answer([*tool_call_chunks("add_task", "[" * 100_000, size=50_000), chunk(finish_reason="length"), DONE])
    run.see_all(streamed(run))


def many_calls(run: Run) -> None:
    run.answer(
        [calls(*(call(n, f"call_{n}", "add_task", "[1") for n in range(270))), chunk(finish_reason="stop"), DONE]
    )
    run.see_all(streamed(run))


def many_choices(run: Run) -> None:
    run.answer([*(chunk(text("a"), "stop", index) for index in range(130)), DONE])
    run.see_all(streamed(run))


def odd_deltas(run: Run) -> None:
    """Without an index, with ids again and again, with a name in pieces."""
    deltas: list[Any] = [
        {"id": "call_1", "function": {"name": "add_task", "arguments": ARGUMENTS}},
        {"function": {"arguments": " "}},
        {"id": "call_2", "function": {"name": "add_", "arguments": ""}},
        {"index": 1, "id": "call_2", "function": {"name": "task", "arguments": "{"}},
        {"index": 1, "function": {"arguments": "}"}},
        {"index": 1, "id": "call_3", "function": {"name": "add_task", "arguments": {"title": "a"}}},
        {"index": 2, "id": "call_4", "function": {"name": "add_task", "arguments": "12"}},
        {"index": 2, "id": "call_5", "function": {"name": "add_task", "arguments": "3"}},
    ]
    chunks = [chunk({"tool_calls": [delta]}) for delta in deltas]
    run.answer([*chunks, chunk({"tool_calls": None, "content": None}, "tool_calls"), chunk(deltas[0]), DONE])
    run.see_all(streamed(run))


SCENARIOS = [
    Scenario.of(stream),
    Scenario.of(stream_async),
    Scenario("a stream, events as log records", stream, options={"events": "span,log"}),
    Scenario("a stream, no arguments", stream, options={"capture_arguments": False}),
    Scenario("a stream, intercepted", stream, by="client"),
    Scenario("a stream, listened to", stream, by="listener"),
    Scenario("a stream, listened to, async", stream_async, by="listener"),
    Scenario.of(whole),
    Scenario.of(whole_async),
    Scenario.of(executed_tools),
    Scenario.of(body_at_once),
    *(
        Scenario.of(play)
        for play in (
            one_by_one,
            one_by_one_async,
            left_early,
            left_early_async,
            abandoned,
            cancelled,
            abandoned_where_locks_are_held,
            within_another,
            intercepted_too,
            logged,
            never_awaited,
            searched,
            copied,
            legacy_calls,
            parts,
            surrogates,
            token_in_arguments,
            many_deltas,
            long_arguments,
            deep_arguments,
            many_calls,
            many_choices,
            odd_deltas,
        )
    ),
]
