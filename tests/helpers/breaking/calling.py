"""What a model says that calls tools, and the request for it as a stream."""

from __future__ import annotations

from typing import Any

from otel_llm.demo.scripted_responses import (
    custom_tool_call,
    function_call,
    message,
    reasoning,
    refusal,
    response_events,
)
from otel_llm.demo.scripted_server import (
    DONE,
    chunk,
    comment,
    completion,
    text,
    tool_call_chunks,
    usage_chunk,
)
from tests.helpers.breaking.world import Run
from tests.helpers.callers import REQUEST

ARGUMENTS = '{"title": "a"}'
CALLING: list[Any] = [
    comment(),
    chunk({"role": "assistant", "content": ""}, system_fingerprint="b1234-0abc"),
    chunk({"reasoning_content": "hm"}),
    chunk({"reasoning_content": "hm"}),
    chunk(text("Sure.")),
    chunk(text(" Yes.")),
    *tool_call_chunks("add_task", ARGUMENTS),
    *tool_call_chunks("unknown", '{"title', id="call_2", index=1),
    chunk(finish_reason="tool_calls"),
    usage_chunk(3, 4),
    DONE,
]
ANSWER = completion(
    {
        "content": "Hello",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "add_task", "arguments": ARGUMENTS}}],
    },
    "tool_calls",
)
ITEMS = (
    reasoning("hm"),
    message("Sure."),
    refusal("No."),
    function_call("add_task", ARGUMENTS),
    custom_tool_call("write", "anything", call_id="call_2"),
)
EVENTS = response_events(*ITEMS)


def streamed(run: Run, **kwargs: Any) -> Any:
    return run.client.chat.completions.create(**{**REQUEST, "stream": True, **kwargs})


async def streamed_async(run: Run, **kwargs: Any) -> Any:
    return await run.async_client.chat.completions.create(**{**REQUEST, "stream": True, **kwargs})
