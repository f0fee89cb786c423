"""Fixtures that the pipeline tests share: the programs, built or found once, and a server that answers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_llm.demo.scripted_server import ScriptedServer
from stack import build, tools
from tests.helpers.pipeline.live_stack import live_stack  # noqa: F401 - a fixture
from tests.helpers.pipeline.traffic import answer
from tests.helpers.servers import llama  # noqa: F401 - a fixture


def _need(*names: str) -> None:
    """Skip with the reason if a program is missing, or fail if REQUIRE_STACK says that it must be there."""
    for name in names:
        try:
            tools.find(name)
        except tools.MissingToolError as missing:
            if os.environ.get("OTEL_LLM_REQUIRE_STACK"):
                pytest.fail(str(missing))
            pytest.skip(str(missing))


@pytest.fixture(scope="session")
def go_programs() -> None:
    """The collector and Jaeger are built."""
    _need("go")
    build.collector()
    build.jaeger()


@pytest.fixture(scope="session")
def prometheus_programs() -> None:
    """Prometheus and promtool are there."""
    _need("prometheus", "promtool")


@pytest.fixture(scope="session")
def java_programs() -> None:
    """Java and Maven are there."""
    _need("java", "mvn")


@pytest.fixture(scope="session")
def scripted() -> Iterator[str]:
    """The base URL of a server that answers each request by the kind named in it."""
    with ScriptedServer(answer) as server:
        yield server.base_url


@pytest.fixture
def disk_of_the_test(tmp_path: Path) -> Iterator[None]:
    """Queues and stores are large, so they are deleted after each test."""
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
