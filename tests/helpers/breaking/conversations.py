"""Scenarios: messages and results of calls, recorded where the application opted in, and spans for tools."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import pytest

from otel_llm import intercept_llm_requests, tool_execution, traced_tool
from otel_llm.demo.scripted_responses import RESPONSE_ID, function_call, message, response, response_events
from otel_llm.demo.scripted_server import DONE, Answer, chunk, completion, text, tool_call_chunks
from otel_llm.telemetry import provider
from otel_llm.telemetry.call_links import RecentCalls
from tests.helpers.breaking.calling import ANSWER, CALLING, ITEMS, streamed
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import ADD_TASK, REQUEST, RESPONSE_REQUEST, RESPONSE_TOOL
from tests.helpers.sdk_versions import HAS_RESPONSES, known

CAPTURING = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT"}
DEEP: Any = "x"
for _ in range(40):
    DEEP = {"a": [DEEP, 1]}
CALL: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "add_task", "arguments": "{}"}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "name": "me",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,cGl4ZWw="}},
            {"type": "image_url", "image_url": {"url": "data:image/svg+xml,pi%78el"}},
            {"type": "input_audio", "input_audio": {"data": "cGl4ZWw=", "format": "wav"}},
            {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}},
            {"type": "file", "file": {"file_data": "cGl4ZWw=", "filename": "a.pdf"}},
        ],
    },
    {"role": "assistant", "content": "hm", "reasoning_content": "hm", "tool_calls": [CALL]},
    {"role": "assistant", "content": None, "function_call": {"name": "add_task", "arguments": '{"a": 1e400}'}},
    {"role": "function", "name": "add_task", "content": "done"},
    {"role": "assistant", "tool_calls": [CALL | {"id": "call_2"}, CALL | {"id": "call_3"}]},
    {"role": "tool", "tool_call_id": "call_2", "content": '{"done": true}'},
    {"role": "tool", "tool_call_id": "call_2", "content": "again"},
    {"role": "tool", "tool_call_id": "call_9", "content": "of no call"},
]
OPTIONS: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "seed": 1,
    "max_tokens": 10,
    "max_completion_tokens": 10,
    "n": 2,
    "stop": ["a"],
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "service_tier": "auto",
    "tool_choice": {"type": "function", "function": {"name": "add_task"}},
    "tools": [ADD_TASK, {"type": "custom", "custom": {"name": "write"}}],
    "parallel_tool_calls": False,
}


def captured(run: Run) -> None:
    run.answer([Answer(ANSWER)])
    request = known({**REQUEST, **OPTIONS, "messages": MESSAGES})
    run.see(run.client.chat.completions.create(**request))


def captured_stream(run: Run) -> None:
    run.answer(CALLING)
    run.see_all(streamed(run, messages=MESSAGES))


def deep_values(run: Run) -> None:
    """Values deeper than what can be sent."""
    deep = {"type": "function", "function": {"name": "deep", "parameters": DEEP}}
    run.answer([Answer(completion(text("ok")))])
    run.see(run.client.chat.completions.create(**{**REQUEST, "tools": [deep]}))


def answers(run: Run) -> None:
    """A call, and the request that brings its result."""
    called = [*tool_call_chunks("add_task", "{}", id="call_7"), chunk(finish_reason="tool_calls"), DONE]
    run.answer(called, [Answer(completion(text("ok")))], [Answer(completion(text("ok")))])
    run.see_all(streamed(run))
    result = {"role": "tool", "tool_call_id": "call_7", "content": "ok"}
    messages: list[Any] = [*REQUEST["messages"], {"role": "assistant", "tool_calls": [CALL | {"id": "call_7"}]}, result]
    run.see(run.client.chat.completions.create(**{**REQUEST, "messages": messages}))
    unanswered: list[Any] = [*messages[:2], {"role": "user", "content": "well?"}]
    run.see(run.client.chat.completions.create(**{**REQUEST, "messages": unanswered}))


def ids_used_again(run: Run) -> None:
    """More calls of one id than are remembered."""
    called = [*tool_call_chunks("add_task", "{}", id="call_0"), chunk(finish_reason="tool_calls"), DONE]
    run.answer(*[called] * 10)
    for _ in range(10):
        run.see_all(streamed(run))


def responses(run: Run) -> None:
    first = response_events(function_call("add_task", "{}"))
    run.answer(first, [Answer(response(message("ok")))], [Answer(response(*ITEMS))])
    run.see_all(run.client.responses.create(**RESPONSE_REQUEST, stream=True))
    output = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
    follow: dict[str, Any] = {"model": "tiny", "tools": [RESPONSE_TOOL]}
    run.see(run.client.responses.create(**follow, input=[output], previous_response_id=RESPONSE_ID))
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "call_1", "name": "add_task", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "write", "input": "x"},
        {"type": "computer_call", "call_id": "call_3", "action": {"type": "click"}},
        {"type": "local_shell_call", "id": "lsh_4", "call_id": "call_4", "action": {"command": ["ls"]}},
        {"type": "item_reference", "id": "x"},
        {"type": "compaction", "encrypted_content": "x"},
        output,
        {"type": "local_shell_call_output", "id": "lsh_4", "output": "a.py"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "x"}]},
        {
            "type": "computer_call_output",
            "call_id": "call_3",
            "output": {"type": "computer_screenshot", "file_id": "1"},
        },
    ]
    more: dict[str, Any] = {
        "instructions": "Be brief.",
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "text"}},
        "max_output_tokens": 100,
        "conversation": {"id": "conv_1"},
        "prompt": {"id": "p"},
    }
    run.see(run.client.responses.create(**follow, **more, input=items))


def odd_requests(run: Run) -> None:
    """Messages that are mappings, huge numbers, and schemas that cannot be used."""
    schemas: list[dict[str, Any]] = [
        {"type": "object", "properties": {"a": {"type": "number"}}},
        {"$ref": "https://127.0.0.1:1/elsewhere"},
        {"type": "nonsense"},
    ]
    tools = [
        {"type": "function", "function": {"name": f"tool_{n}", "parameters": one}} for n, one in enumerate(schemas)
    ]
    numbers = f'{{"a": 1e99999999999999999999, "b": {2**70}}}'
    called = [part for n in range(3) for part in tool_call_chunks(f"tool_{n}", numbers, id=f"call_{n}", index=n)]
    run.answer([*called, chunk(finish_reason="tool_calls"), DONE])
    messages: list[Any] = [MappingProxyType({"role": "user", "content": "hi"})]
    nan = CALL | {"function": {"name": "add_task", "arguments": f'{{"a": NaN, "b": {2**70}}}'}}
    messages += [{"role": "assistant", "tool_calls": [nan]}, {"role": "tool", "tool_call_id": "call_1", "content": "x"}]
    run.see_all(streamed(run, tools=tools, messages=messages))


def no_validator(run: Run) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "jsonschema_rs", None)
        run.answer([*tool_call_chunks("add_task", "{}"), chunk(finish_reason="tool_calls"), DONE])
        run.see_all(streamed(run))


def forgotten_calls(run: Run) -> None:
    """More calls without a result than are remembered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecentCalls.__init__, "__defaults__", (2,))
        if run.observed:
            intercept_llm_requests(run.client, **run.seen.providers)
    called = [part for n in range(3) for part in tool_call_chunks("add_task", "{}", id=f"call_{n}", index=n)]
    run.answer([*called, chunk(finish_reason="tool_calls"), DONE])
    run.see_all(streamed(run))


# Tools --------------------------------------------------------------------------------------------------------


def tools(run: Run) -> None:
    def traced(function: Any, **options: Any) -> Any:
        return traced_tool(function, **options) if run.observed else function

    def add_task(title: str, count: int = 1) -> dict[str, Any]:
        return {"added": title, "count": count, "deep": DEEP}

    def steps(count: int) -> Iterator[int]:
        yield from range(count)

    def failing() -> None:
        raise LookupError("no such task")

    run.see(traced(add_task)("milk", count=2))
    run.see(traced(add_task, name="other")(title="milk"))
    run.see(list(traced(steps)(3)))
    with run.see_error():
        traced(failing)()
    with run.see_error():
        traced(add_task)()
    with run.see_error():
        generator = traced(steps)(3)
        next(generator)
        generator.throw(LookupError("from the reader"))


def tools_async(run: Run) -> None:
    def traced(function: Any) -> Any:
        return traced_tool(function) if run.observed else function

    async def add_task(title: str) -> str:
        await asyncio.sleep(0)
        return title

    async def steps(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    def later(title: str) -> Any:
        return add_task(title)

    async def play() -> None:
        run.see(await traced(add_task)("milk"))
        run.see([number async for number in traced(steps)(3)])
        run.see(await traced(later)("milk"))

    run.wait(play())


def executions(run: Run) -> None:
    """By hand, and linked to the request that made the call."""
    called = [*tool_call_chunks("add_task", "{}", id="call_8"), chunk(finish_reason="tool_calls"), DONE]
    run.answer(called)
    run.see_all(streamed(run))
    if run.observed:
        with tool_execution("add_task", call_id="call_8", arguments={"title": "a"}) as execution:
            execution.result = "done"
    run.see("done")


def refused_by_the_provider(run: Run) -> None:
    """Ids and a name that this server takes, and the provider that it stands for does not."""
    run.answer([chunk(text("Done.")), chunk(finish_reason="stop"), DONE])
    image = [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    messages = [
        MESSAGES[0],
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": image},
    ]
    tools = [{"type": "function", "function": {"name": "tasks.add"}}]
    with patch.dict(provider._PROVIDER_BY_HOST, {"127.0.0.1": "mistral_ai"}):
        run.see_all(streamed(run, messages=messages, tools=tools))


def called_again(run: Run) -> None:
    """A call whose result is an image, made twice."""
    run.answer([*tool_call_chunks("add_task", "{}", id="call_9"), chunk(finish_reason="tool_calls"), DONE])
    image = [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    turn = [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1", "content": image}]
    run.see_all(streamed(run, messages=[MESSAGES[0], *turn, *turn]))


SCENARIOS = [
    Scenario.of(refused_by_the_provider),
    Scenario.of(called_again),
    Scenario("content captured", captured, environment=CAPTURING),
    Scenario("content captured, stream", captured_stream, environment=CAPTURING),
    Scenario("content captured, redacted", captured_stream, environment=CAPTURING, options={"redact": str.upper}),
    Scenario(
        "few events, anomalies as errors", captured_stream, options={"anomaly_status": "error", "delta_events": 1}
    ),
    Scenario("tools, redacted", tools, environment=CAPTURING, options={"redact": str.upper}),
    Scenario("content captured, events as log records", captured, environment=CAPTURING, options={"events": "log"}),
    Scenario("a request with all options", captured),
    Scenario("deep values", deep_values, environment=CAPTURING),
    Scenario("results of calls", answers),
    Scenario("odd requests", odd_requests),
    Scenario("no validator", no_validator),
    Scenario("forgotten calls", forgotten_calls, by="itself"),
    Scenario("odd requests, captured", odd_requests, environment=CAPTURING),
    Scenario("ids used again", ids_used_again),
    Scenario("tools", tools, environment=CAPTURING),
    Scenario("tools without content", tools),
    Scenario("tools, async", tools_async, environment=CAPTURING),
    Scenario("tools of an intercepted client", executions, by="client"),
    Scenario("tools of a request", executions, environment=CAPTURING),
]
if HAS_RESPONSES:
    SCENARIOS += [
        Scenario("results in a response", responses),
        Scenario("results in a response, captured", responses, environment=CAPTURING),
        Scenario("results in a response, listened to", responses, by="listener"),
    ]
