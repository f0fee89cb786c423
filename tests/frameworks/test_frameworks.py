"""Frameworks over the SDK, each in an environment of its own: `nox -s frameworks`, a part of `make test-all`."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Callable
from typing import Any

import pytest

from otel_llm.demo.llama_server import WELL_FORMED_CALLS
from otel_llm.demo.scripted_gemini import call_part, responses, text_part
from otel_llm.demo.scripted_responses import function_call, message, response_events
from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, text, tool_call_chunks, usage_chunk
from tests.frameworks.under_opentelemetry import Run, run_bare, run_instrumented

MILK = '{"title": "buy milk"}'
CHAT = [
    [
        *tool_call_chunks("add_task", MILK, id="call_1", index=0),
        *tool_call_chunks("list_tasks", "{}", id="call_2", index=1),
        chunk(finish_reason="tool_calls"),
        usage_chunk(140, 31),
        DONE,
    ],
    [*(chunk(text(word)) for word in ("It ", "is ", "done.")), chunk(finish_reason="stop"), usage_chunk(9, 3), DONE],
]
RESPONSES = [
    response_events(function_call("add_task", MILK), function_call("list_tasks", "{}", call_id="call_2")),
    response_events(message("It is done.")),
]
# The answer of agents that give it by a tool.
FINAL_ANSWER = [
    CHAT[0],
    [
        *tool_call_chunks("final_answer", '{"answer": "It is done."}', id="call_3"),
        chunk(finish_reason="tool_calls"),
        usage_chunk(160, 12),
        DONE,
    ],
]
GEMINI = [
    responses([call_part("add_task", {"title": "buy milk"}, id="call_1"), call_part("list_tasks", {}, id="call_2")]),
    responses(*([text_part(word)] for word in ("It ", "is ", "done."))),
]
SCRIPTS: dict[str, Any] = {"chat": CHAT, "responses": RESPONSES}


def needs(package: str) -> pytest.MarkDecorator:
    top = package.partition(".")[0]
    missing = importlib.util.find_spec(top) is None or importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is tried in an environment of its own (make test-all)")


@pytest.fixture
def both() -> Callable[..., tuple[Run, Run, list[Any]]]:
    """`both(app, script, *arguments)`: the application without and with instrumentation, and the latter's requests."""

    def run(app: str, script: Any, *arguments: str) -> tuple[Run, Run, list[Any]]:
        with ScriptedServer(script) as server:
            bare = run_bare(app, server.base_url, *arguments)
            asked_bare = [request.body for request in server.requests]
        with ScriptedServer(script) as server:
            watched = run_instrumented(app, server.base_url, *arguments)
            asked = [request.body for request in server.requests]
        assert asked == asked_bare
        assert without_chance(watched.told) == without_chance(bare.told)
        return bare, watched, asked

    return run


def without_chance(told: Any) -> Any:
    """What an application tells, but for the times in it."""
    told = copy.deepcopy(told)
    pending = [told]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            for name in ("created_at", "completed_at", "timestamp"):
                if value.get(name) is not None:
                    value[name] = 0
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return told


def assert_a_conversation(watched: Run, asked: list[Any], name: str = "chat tiny") -> None:
    """Two requests, two spans: two calls, then the answer; the second is linked to the first."""
    assert len(watched.spans) == len(asked) == 2
    first, second = watched.spans
    assert first.name == second.name == name
    assert watched.events(0).count("otel_llm.tool_call.completed") == 2
    assert watched.events(1).count("otel_llm.text.started") == 1
    assert watched.attribute(0, "otel_llm.stream.outcome") == "completed"
    assert watched.anomalies == []
    assert [link.span_id for link in second.links] == [first.span_id] * 2
    assert all(span.status.code == 0 for span in watched.spans)


def assert_below_the_application(watched: Run) -> None:
    """Where a framework makes no spans, those of the requests are the children of the application's own."""
    assert [span.name for span in watched.others] == ["app"]
    assert [watched.above(span) for span in watched.spans] == [["app"]] * len(watched.spans)


def tool_spans(watched: Run) -> dict[str, list[str]]:
    """The framework's spans of tools, each there once, and what is around them."""
    tools = [span for span in watched.others if span.name.startswith("execute_tool")]
    assert len({span.name for span in tools}) == len(tools)
    return {span.name: watched.above(span) for span in tools}


@needs("agents")
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_openai_agents(both: Callable[..., tuple[Run, Run, list[Any]]], api: str) -> None:
    bare, watched, asked = both("openai_agents.py", SCRIPTS[api], api)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert sum(told.get("name") == "tool_output" for told in bare.told) == 2
    assert_a_conversation(watched, asked)


@needs("agents")
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_openai_agents_with_a_real_server(llama: str, api: str) -> None:
    """llama.cpp over a model of noise, led to a few calls first and to one sentence then."""
    calls = {"tool_choice": "required", "max_tokens": 400, "extra_body": {"logit_bias": WELL_FORMED_CALLS, "seed": 3}}
    answer = {"extra_body": {"grammar": 'root ::= "It is done."'}}
    arguments = (llama, api, json.dumps(calls), json.dumps(answer))
    bare = run_bare("openai_agents.py", *arguments)
    watched = run_instrumented("openai_agents.py", *arguments)
    assert watched.told[-1]["answer"] == "It is done."
    assert [told.get("name") for told in watched.told] == [told.get("name") for told in bare.told]
    called = [told.get("name") for told in watched.told].count("tool_called")
    assert called
    assert len(watched.spans) == 2
    assert watched.events(0).count("otel_llm.tool_call.completed") == called
    assert len(watched.spans[1].links) == called
    assert watched.attribute(1, "otel_llm.stream.text_only") is True


@needs("langchain_openai")
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_langchain(both: Callable[..., tuple[Run, Run, list[Any]]], api: str, way: str) -> None:
    bare, watched, asked = both("langchain_loop.py", SCRIPTS[api], api, way)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked)


@needs("instructor")
def test_instructor(both: Callable[..., tuple[Run, Run, list[Any]]]) -> None:
    def script(body: Any) -> list[Any]:
        # It calls its tool something of its own.
        name = body["tools"][0]["function"]["name"]
        return [*tool_call_chunks(name, MILK), chunk(finish_reason="tool_calls"), DONE]

    bare, watched, asked = both("instructor_partial.py", script)
    assert bare.told[-1] == {"tasks": ["buy milk"]}
    assert len(watched.spans) == len(asked) == 1
    assert watched.events(0).count("otel_llm.tool_call.completed") == 1
    assert watched.anomalies == []


@needs("pydantic_ai")
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_pydantic_ai(both: Callable[..., tuple[Run, Run, list[Any]]], api: str) -> None:
    bare, watched, asked = both("pydantic_ai_agent.py", SCRIPTS[api], api)
    assert {"answer": "It is done.", "tasks": ["buy milk"]} in bare.told
    assert_a_conversation(watched, asked)


@needs("litellm")
@pytest.mark.parametrize("way", ["sync", "async"])
def test_litellm(both: Callable[..., tuple[Run, Run, list[Any]]], way: str) -> None:
    bare, watched, asked = both("litellm_loop.py", CHAT, way)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked)


@needs("langgraph")
@pytest.mark.parametrize("way", ["sync", "async"])
def test_langgraph(both: Callable[..., tuple[Run, Run, list[Any]]], way: str) -> None:
    bare, watched, asked = both("langgraph_graph.py", CHAT, way)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked)
    assert_below_the_application(watched)


@needs("llama_index")
def test_llama_index(both: Callable[..., tuple[Run, Run, list[Any]]]) -> None:
    bare, watched, asked = both("llama_index_agent.py", CHAT)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked)
    assert_below_the_application(watched)
    # It asks for usage only if told so; the page in docs says how.
    assert [request["stream_options"] for request in asked] == [{"include_usage": True}] * 2


@needs("crewai")
def test_crewai(both: Callable[..., tuple[Run, Run, list[Any]]]) -> None:
    bare, watched, asked = both("crewai_crew.py", CHAT)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked)
    # It works in a thread of its own, where its spans for its maker's server stay.
    assert_below_the_application(watched)


@needs("smolagents")
def test_smolagents(both: Callable[..., tuple[Run, Run, list[Any]]]) -> None:
    bare, watched, asked = both("smolagents_agent.py", FINAL_ANSWER)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert len(watched.spans) == len(asked) == 2
    assert [watched.events(position).count("otel_llm.tool_call.completed") for position in (0, 1)] == [2, 1]
    assert watched.anomalies == []
    # It sends calls and results as text of the conversation, so there is nothing to link.
    assert [message["role"] for message in asked[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert not watched.spans[1].links
    assert_below_the_application(watched)


@needs("agno")
@pytest.mark.parametrize("way", ["sync", "async"])
def test_agno(both: Callable[..., tuple[Run, Run, list[Any]]], way: str) -> None:
    bare, watched, asked = both("agno_agent.py", CHAT, way)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked)
    assert_below_the_application(watched)


@needs("strands")
def test_strands_agents(both: Callable[..., tuple[Run, Run, list[Any]]]) -> None:
    bare, watched, asked = both("strands_agent.py", CHAT)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked)
    cycle = ["execute_event_loop_cycle", "invoke_agent Strands Agents", "app"]
    assert [watched.above(span) for span in watched.spans] == [["chat", *cycle]] * 2
    assert tool_spans(watched) == {"execute_tool add_task": cycle, "execute_tool list_tasks": cycle}


@needs("google.adk")
@pytest.mark.parametrize("sdk", ["litellm", "gemini"])
def test_google_adk(both: Callable[..., tuple[Run, Run, list[Any]]], sdk: str) -> None:
    bare, watched, asked = both("google_adk_agent.py", {"litellm": CHAT, "gemini": GEMINI}[sdk], sdk)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked, {"litellm": "chat tiny", "gemini": "generate_content tiny"}[sdk])
    request = {"litellm": "generate_content openai/tiny", "gemini": "generate_content tiny"}[sdk]
    agent = ["invoke_agent keeper", "invoke_workflow keeper", "app"]
    assert [watched.above(span) for span in watched.spans] == [[request, *agent]] * 2
    # It makes another one where several tools ran.
    named = dict.fromkeys(["execute_tool add_task", "execute_tool list_tasks", "execute_tool (merged)"], agent)
    assert tool_spans(watched) == named


@needs("semantic_kernel")
def test_semantic_kernel(both: Callable[..., tuple[Run, Run, list[Any]]]) -> None:
    names = ["Tasks-add_task", "Tasks-list_tasks"]
    calls = [
        *tool_call_chunks(names[0], MILK, id="call_1", index=0),
        *tool_call_chunks(names[1], "{}", id="call_2", index=1),
        *CHAT[0][-3:],
    ]
    bare, watched, asked = both("semantic_kernel_agent.py", [calls, CHAT[1]])
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked)
    loop = ["AutoFunctionInvocationLoop", "app"]
    assert [watched.above(span) for span in watched.spans] == [loop] * 2
    assert tool_spans(watched) == {f"execute_tool {name}": loop for name in names}


@needs("autogen_agentchat")
def test_autogen(both: Callable[..., tuple[Run, Run, list[Any]]]) -> None:
    bare, watched, asked = both("autogen_agent.py", CHAT)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked)
    # It asks for usage only if told so; the page in docs says how.
    assert [request["stream_options"] for request in asked] == [{"include_usage": True}] * 2
    agent = ["invoke_agent keeper", "app"]
    assert [watched.above(span) for span in watched.spans] == [agent] * 2
    assert tool_spans(watched) == {"execute_tool add_task": agent, "execute_tool list_tasks": agent}


@needs("agent_framework")
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_agent_framework(both: Callable[..., tuple[Run, Run, list[Any]]], api: str) -> None:
    bare, watched, asked = both("agent_framework_agent.py", SCRIPTS[api], api)
    assert bare.told[-1] == {"answer": "It is done.", "tasks": ["buy milk"]}
    assert_a_conversation(watched, asked)
    agent = ["invoke_agent keeper", "app"]
    assert [watched.above(span) for span in watched.spans] == [["chat tiny", *agent]] * 2
    assert tool_spans(watched) == {"execute_tool add_task": agent, "execute_tool list_tasks": agent}
