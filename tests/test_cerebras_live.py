"""The seed's tests against the real Cerebras API. They run where CEREBRAS_API_KEY is set."""

from __future__ import annotations

import logging
import os
from typing import Any

import openai
import pytest

from tests.helpers.callers import ADD_TASK
from tests.helpers.seen import Seen

KEY = os.environ.get("CEREBRAS_API_KEY")
MODEL = "llama-3.3-70b"

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not KEY, reason="CEREBRAS_API_KEY is not set: nothing was sent to Cerebras"),
]


async def chat_with_tools(prompt: str) -> None:
    client = openai.AsyncOpenAI(api_key=KEY, base_url="https://api.cerebras.ai/v1", timeout=60)
    tools: Any = [ADD_TASK]
    stream = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": prompt}], tools=tools, stream=True
    )
    async for _ in stream:
        pass
    await client.close()


async def lines_of(prompt: str, caplog: pytest.LogCaptureFixture) -> str:
    caplog.set_level(logging.INFO, "otel_llm")
    await chat_with_tools(prompt)
    return "\n".join(record.getMessage() for record in caplog.records)


async def test_one_call(instrumented: Seen, caplog: pytest.LogCaptureFixture) -> None:
    lines = await lines_of("create a task with title 'test'", caplog)
    assert "[LLM STREAM] New tool call detected" in lines
    assert "[LLM STREAM] Tool call [0] name: add_task" in lines
    assert "[LLM STREAM] Finish reason: tool_calls" in lines
    assert instrumented.attributes["gen_ai.provider.name"] == "cerebras"
    assert instrumented.anomalies == []


async def test_three_calls(instrumented: Seen, caplog: pytest.LogCaptureFixture) -> None:
    lines = await lines_of("create 3 tasks, titled a, b and c, with three parallel tool calls", caplog)
    assert "[LLM STREAM] Tool calls completed: 3" in lines
    assert instrumented.attributes["otel_llm.stream.tool_call_count"] == 3


async def test_text(instrumented: Seen, caplog: pytest.LogCaptureFixture) -> None:
    lines = await lines_of("hello", caplog)
    assert "[LLM STREAM] Text content started" in lines
    assert "[LLM STREAM] Response was text-only" in lines
    assert instrumented.attributes["otel_llm.stream.text_only"] is True
