"""Each syntax, written token by token by a real llama.cpp server under a grammar, and read through the OpenAI SDK."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from otel_llm import intercept_llm_requests
from tests.helpers.callers import AsyncCaller, SyncCaller
from tests.helpers.sdk_versions import httpx
from tests.helpers.seen import Seen
from tests.helpers.written_calls import FAMILIES, Call, tools_for
from tests.tags.test_stage import calls_by_index, read_all, reasons, text_in

CALLS = [
    Call("add_task", {"title": 'buy "milk" now'}),
    Call("list_files", {"path": "src/main", "depth": 3}),
]


def grammar(text: str) -> str:
    """A GBNF grammar for exactly this text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'root ::= "{escaped}"'


def written(name: str) -> tuple[list[Call], str]:
    family = FAMILIES[name]
    calls = CALLS[: family.most_calls]
    return calls, family.write(calls)


def without_tools(request: httpx.Request) -> httpx.Request:
    """The request without its tools: llama.cpp takes a grammar or tools, not both."""
    body = json.loads(request.content)
    body.pop("tools", None)
    headers = {name: value for name, value in request.headers.items() if name != "content-length"}
    return httpx.Request(request.method, request.url, headers=headers, json=body, extensions=request.extensions)


class SyncTransport(httpx.HTTPTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(without_tools(request))


class AsyncTransport(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await super().handle_async_request(without_tools(request))


# A syntax does not depend on the kind of client, and each request takes a good part of a second.
_FEW = random.Random(4).sample(sorted(FAMILIES), 6)


@pytest.fixture(params=["sync", "async"])
async def caller(llama: str, request: pytest.FixtureRequest) -> AsyncIterator[SyncCaller]:
    if request.param == "sync":
        caller = SyncCaller(llama, timeout=60, http_client=httpx.Client(transport=SyncTransport(), timeout=60))
    else:
        caller = AsyncCaller(llama, timeout=60, http_client=httpx.AsyncClient(transport=AsyncTransport(), timeout=60))
    yield caller
    await caller.close_client()


async def generate(caller: SyncCaller, text: str, **request: Any) -> list[Any]:
    """Have the model write exactly this text."""
    messages = request.pop("messages", [{"role": "user", "content": "go"}])
    return await read_all(caller, messages=messages, max_tokens=2000, extra_body={"grammar": grammar(text)}, **request)


@pytest.mark.parametrize(
    ("name", "caller"),
    [*((name, "sync") for name in FAMILIES), *((name, "async") for name in _FEW)],
    indirect=["caller"],
)
async def test_real_tool_calls(name: str, instrument: Callable[..., Seen], caller: SyncCaller) -> None:
    seen = instrument(tool_call_tags="openai")
    calls, text = written(name)
    # A model of its own: what one model shows of its thoughts is remembered.
    chunks = await generate(caller, text, tools=tools_for(calls), model=name)
    found = calls_by_index(chunks)
    assert [(tool, json.loads(arguments)) for tool, arguments in found.values()] == [tuple(call) for call in calls]
    assert "tool_call" not in text_in(chunks)
    assert reasons(chunks) == ["tool_calls"]
    assert len(seen.events("otel_llm.tag_rewrite")) == len(calls)
    # Calls are rewritten; the thoughts beside them stay in the text, which is an anomaly of its own.
    assert set(seen.anomalies) <= {"reasoning_leak"}


@pytest.mark.parametrize("name", _FEW)
async def test_custom_tags(name: str, instrument: Callable[..., Seen], caller: SyncCaller) -> None:
    instrument(tool_call_tags="ojlk,dfsd")
    calls, text = written(name)
    shown = text_in(await generate(caller, f"Sure.\n{text}", tools=tools_for(calls)))
    bodies = [part.partition("</dfsd>")[0] for part in shown.split("<ojlk>")[1:]]
    assert len(bodies) == len(calls)
    assert all(call.name in body for call, body in zip(calls, bodies, strict=True))
    assert all(isinstance(json.loads(body), dict) for body in bodies)


async def test_an_agent_loop(seen: Seen, caller: SyncCaller) -> None:
    """The agent gets tool calls, executes them and sends the results back. It knows nothing of tags."""
    intercept_llm_requests(caller.client, tool_call_tags="openai", **seen.providers)
    tools = tools_for(CALLS)
    _, text = written("qwen3_coder")
    messages: list[Any] = [{"role": "user", "content": "add a task"}]
    chunks = await generate(caller, f"Let me see.\n{text}", messages=messages, tools=tools)
    ids = [delta.id for chunk in chunks for one in chunk.choices for delta in one.delta.tool_calls or () if delta.id]
    asked = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, (name, arguments) in zip(ids, calls_by_index(chunks).values(), strict=True)
    ]
    assert reasons(chunks) == ["tool_calls"]
    executed: dict[str, Callable[..., Any]] = {
        "add_task": lambda title: f"added {title}",
        "list_files": lambda path, depth: [path] * depth,
    }
    messages.append({"role": "assistant", "content": text_in(chunks), "tool_calls": asked})
    for call in asked:
        function = call["function"]
        result = executed[function["name"]](**json.loads(function["arguments"]))
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)})
    answer = await generate(caller, "Done: it is on your list.", messages=messages, tools=tools)
    assert text_in(answer) == "Done: it is on your list."
    assert reasons(answer) == ["stop"]
    assert len(seen.spans) == 2
