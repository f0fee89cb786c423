"""Agents on real clients have the same outcome through the proxy as without it.

Those that need Node.js or Go: tests/pipeline/test_proxy_clients.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import anthropic
import openai
import pytest

from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, text
from tests.helpers import agent_runs
from tests.helpers.agent_runs import NAME, OUTCOME, QUESTION, SCHEMA, execute
from tests.helpers.proxying import RunningProxy, proxying
from tests.helpers.sdk_versions import HAS_RESPONSES

Outcome: TypeAlias = dict[str, list[Any]]
Agent: TypeAlias = Callable[[str], Outcome]

OPTIONS: dict[str, Any] = {"api_key": "k", "max_retries": 0, "timeout": 20}
MOST_TURNS = 5
TOOLS: Any = [{"type": "function", "function": {"name": NAME, "parameters": SCHEMA}}]


def openai_chat(root: str) -> Outcome:
    out: Outcome = {"texts": [], "calls": [], "results": []}
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    with openai.OpenAI(base_url=f"{root}/v1", **OPTIONS) as client:
        while len(out["texts"]) < MOST_TURNS:
            content = ""
            calls: dict[int, dict[str, str]] = {}
            stream: Any = client.chat.completions.create(model="m", messages=messages, tools=TOOLS, stream=True)
            for event in stream:
                delta = event.choices[0].delta
                content += delta.content or ""
                for piece in delta.tool_calls or ():
                    call = calls.setdefault(piece.index, {"id": piece.id, "arguments": ""})
                    call["arguments"] += piece.function.arguments or ""
            out["texts"].append(content)
            if not calls:
                break
            made = [
                {"id": call["id"], "type": "function", "function": {"name": NAME, "arguments": call["arguments"]}}
                for call in calls.values()
            ]
            messages.append({"role": "assistant", "content": content, "tool_calls": made})
            messages += [
                {"role": "tool", "tool_call_id": call["id"], "content": called(out, call["arguments"])}
                for call in calls.values()
            ]
    return out


def openai_responses(root: str) -> Outcome:
    out: Outcome = {"texts": [], "calls": [], "results": []}
    inputs: list[Any] = [{"role": "user", "content": QUESTION}]
    tool: Any = {"type": "function", "name": NAME, "parameters": SCHEMA, "strict": False}
    with openai.OpenAI(base_url=f"{root}/v1", **OPTIONS) as client:
        while len(out["texts"]) < MOST_TURNS:
            said, calls = "", []
            stream: Any = client.responses.create(model="m", input=inputs, tools=[tool], stream=True)
            for event in stream:
                if event.type == "response.output_text.delta":
                    said += event.delta
                elif event.type == "response.output_item.done" and event.item.type == "function_call":
                    calls.append(event.item)
            out["texts"].append(said)
            if not calls:
                break
            for call in calls:
                inputs.append(
                    {"type": "function_call", "call_id": call.call_id, "name": NAME, "arguments": call.arguments}
                )
                inputs.append(
                    {"type": "function_call_output", "call_id": call.call_id, "output": called(out, call.arguments)}
                )
    return out


def anthropic_messages(root: str) -> Outcome:
    out: Outcome = {"texts": [], "calls": [], "results": []}
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    tool: Any = {"name": NAME, "input_schema": SCHEMA}
    with anthropic.Anthropic(base_url=root, **OPTIONS) as client:
        while len(out["texts"]) < MOST_TURNS:
            with client.messages.stream(model="m", max_tokens=100, messages=messages, tools=[tool]) as stream:
                message = stream.get_final_message()
            out["texts"].append("".join(block.text for block in message.content if block.type == "text"))
            if message.stop_reason != "tool_use":
                break
            messages.append({"role": "assistant", "content": message.content})
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": called(out, json.dumps(block.input))}
                for block in message.content
                if block.type == "tool_use"
            ]
            messages.append({"role": "user", "content": results})
    return out


def curl_chat(root: str) -> Outcome:
    """A shell script's way: the events as text."""
    out: Outcome = {"texts": [], "calls": [], "results": []}
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    while len(out["texts"]) < MOST_TURNS:
        body = json.dumps({"model": "m", "messages": messages, "tools": TOOLS, "stream": True})
        events = curl(f"{root}/v1/chat/completions", "-d", body).decode().split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events[:-2]]
        out["texts"].append("".join(delta.get("content") or "" for delta in deltas))
        pieces = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        if not pieces:
            break
        arguments = "".join(piece["function"].get("arguments", "") for piece in pieces)
        call = {"id": pieces[0]["id"], "type": "function", "function": {"name": NAME, "arguments": arguments}}
        messages.append({"role": "assistant", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": called(out, arguments)})
    return out


def called(out: Outcome, arguments: str) -> str:
    """Execute a call, and note it."""
    out["calls"].append(json.loads(arguments))
    result = execute(out["calls"][-1])
    out["results"].append(result)
    return result


def curl(url: str, *options: str) -> bytes:
    command = ["curl", "--no-buffer", "--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "20"]
    command += ["-H", "Content-Type: application/json", *options, url]
    return subprocess.run(command, check=True, capture_output=True, timeout=30).stdout


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on the PATH")
needs_responses = pytest.mark.skipif(not HAS_RESPONSES, reason="this openai has no Responses API")
AGENTS = [
    openai_chat,
    pytest.param(openai_responses, marks=needs_responses),
    anthropic_messages,
    pytest.param(curl_chat, marks=needs_curl),
]


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(agent_runs.answer) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: ScriptedServer) -> Iterator[RunningProxy]:
    with proxying(server.base_url) as proxy:
        yield proxy


@pytest.mark.parametrize("agent", AGENTS)
def test_the_same_outcome_as_without(agent: Agent, server: ScriptedServer, proxy: RunningProxy) -> None:
    seen = proxy.seen
    assert seen is not None
    first = len(server.requests)
    assert agent(server.base_url.removesuffix("/v1")) == OUTCOME
    second = len(server.requests)
    seen._spans.clear()
    assert agent(proxy.url) == OUTCOME
    assert agent_runs.asked(server, second) == agent_runs.asked(server, first)[: second - first]
    proxy.settle()
    calling, finishing = seen.spans
    assert (calling.attributes or {})["otel_llm.stream.tool_call_count"] == 1
    # The request with the result leads back to the one that made the call.
    assert [link.context.span_id for link in finishing.links] == [calling.context.span_id]


@pytest.mark.parametrize("agent", [openai_chat, pytest.param(curl_chat, marks=needs_curl)])
def test_calls_in_text_become_real_for_any_client(agent: Agent) -> None:
    with ScriptedServer(agent_runs.answer_in_text) as server, proxying(server.base_url, tags="openai") as proxy:
        without = agent(server.base_url.removesuffix("/v1"))
        assert without["calls"] == []
        assert agent(proxy.url) == OUTCOME


@needs_curl
def test_curl_gets_each_chunk_as_it_comes() -> None:
    first_is_read = threading.Event()

    def script(_body: Any) -> Iterator[Any]:
        yield chunk(text("one"))
        yield chunk(text("two" if first_is_read.wait(15) else "the first was held back"))
        yield DONE

    with ScriptedServer(script) as server, proxying(server.base_url) as proxy:
        command = ["curl", "--no-buffer", "--silent", "--noproxy", "*", "--max-time", "20", "-d", '{"model": "m"}']
        with subprocess.Popen([*command, f"{proxy.url}/v1/chat/completions"], stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert b'"one"' in running.stdout.readline()
            first_is_read.set()
            assert b'"two"' in running.stdout.read()
