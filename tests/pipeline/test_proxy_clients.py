"""Agents on Node.js and in Go have the same outcome through the proxy as without it, and calls in text become real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_llm.demo.scripted_server import ScriptedServer
from stack import cache, tools
from tests.helpers import agent_runs
from tests.helpers.agent_runs import OUTCOME
from tests.helpers.proxying import RunningProxy, proxying

CLIENTS = Path(__file__).parents[1] / "helpers" / "clients"
NODE_AGENTS = ["openai_chat", "openai_responses", "anthropic_messages", "ai_sdk", "langchain"]
CHAT_AGENTS = ["openai_chat", "ai_sdk", "langchain", "go_openai"]


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(agent_runs.answer) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: ScriptedServer) -> Iterator[RunningProxy]:
    with proxying(server.base_url) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """The folder of the agents on Node.js, with their packages."""
    program("node"), program("npm")

    def install(folder: Path) -> None:
        for source in ("package.json", ".npmrc"):
            shutil.copy(CLIENTS / "node" / source, folder)
        ended = subprocess.run(
            [program("npm"), "install", "--loglevel=error"], cwd=folder, capture_output=True, text=True, timeout=600
        )
        if ended.returncode:
            raise cache.BuildError(ended.stderr)

    return cache.built("proxy-clients-node", (CLIENTS / "node" / "package.json").read_text(), install)


@pytest.fixture(scope="session")
def go_agent() -> Path:
    """The agent on go-openai, built."""
    sources = [CLIENTS / "go" / name for name in ("go.mod", "go.sum", "main.go")]

    def build(folder: Path) -> None:
        for source in sources:
            shutil.copy(source, folder)
        command = [program("go"), "build", "-o", "agent", "."]
        env = {**os.environ, "GOFLAGS": "-buildvcs=false"}
        ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
        if ended.returncode:
            raise cache.BuildError(ended.stderr)

    program("go")
    return cache.built("proxy-clients-go", "".join(source.read_text() for source in sources), build) / "agent"


def program(name: str) -> str:
    try:
        return str(tools.find(name))
    except tools.MissingToolError as missing:
        if os.environ.get("OTEL_LLM_REQUIRE_STACK"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command of an agent, which wants the URL of a server behind it."""
    if request.param == "go_openai":
        return [str(request.getfixturevalue("go_agent"))]
    packages = request.getfixturevalue("node_packages")
    for source in (CLIENTS / "node").glob("*.mjs"):
        shutil.copy(source, tmp_path)
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    return [program("node"), str(tmp_path / f"{request.param}.mjs")]


def outcome(agent: list[str], url: str) -> Any:
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    ended = subprocess.run([*agent, url], env=env, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("agent", [*NODE_AGENTS, "go_openai"], indirect=True)
def test_the_same_outcome_as_without(agent: list[str], server: ScriptedServer, proxy: RunningProxy) -> None:
    first = len(server.requests)
    assert outcome(agent, server.base_url.removesuffix("/v1")) == OUTCOME
    second = len(server.requests)
    seen = proxy.seen
    assert seen is not None
    seen._spans.clear()
    assert outcome(agent, proxy.url) == OUTCOME
    assert agent_runs.asked(server, second) == agent_runs.asked(server, first)[: second - first]
    proxy.settle()
    calling, finishing = seen.spans
    assert (calling.attributes or {})["otel_llm.stream.tool_call_count"] == 1
    assert [link.context.span_id for link in finishing.links] == [calling.context.span_id]


@pytest.mark.parametrize("agent", CHAT_AGENTS, indirect=True)
def test_calls_in_text_become_real(agent: list[str]) -> None:
    with ScriptedServer(agent_runs.answer_in_text) as server, proxying(server.base_url, tags="openai") as proxy:
        assert outcome(agent, server.base_url.removesuffix("/v1"))["calls"] == []
        assert outcome(agent, proxy.url) == OUTCOME
