"""The image has what it is built from, is not root's, and starts a proxy that exists."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.helpers.deployed import host_of
from tests.helpers.proxying import proxying

ROOT = Path(__file__).parents[2]


@pytest.fixture
def steps(folder: Path) -> list[tuple[str, str]]:
    """The instructions of the file, with their arguments."""
    text = re.sub(r"^#.*\n", "", (folder / "Containerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    pairs = (line.strip().partition(" ") for line in text.splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in pairs]


def last(steps: list[tuple[str, str]], name: str) -> str:
    return [rest for step, rest in steps if step == name][-1]


def test_it_is_built_from_an_official_image(steps: list[tuple[str, str]]) -> None:
    images = [rest.split()[0] for step, rest in steps if step == "FROM"]
    assert len(images) == 2
    assert set(images) == {"python:3.13-slim"}
    assert not any(host_of(image) for image in images)


def test_it_is_not_roots(steps: list[tuple[str, str]]) -> None:
    user, _, group = last(steps, "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_what_it_is_built_from_is_there(steps: list[tuple[str, str]], folder: Path) -> None:
    kept = [line[1:] for line in (folder / "Containerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    copied = [shlex.split(rest)[:-1] for step, rest in steps if step == "COPY" and "--from=" not in rest]
    sources = [source for sources in copied for source in sources]
    assert sorted(sources) == sorted(kept)
    assert all((ROOT / source).exists() for source in sources)
    # What the build backend reads.
    project = (ROOT / "pyproject.toml").read_text()
    for setting in ("readme", "license-files"):
        (named,) = re.findall(rf'^{setting} = \[?"([^"]+)"', project, re.MULTILINE)
        assert any(fnmatch(named, source) for source in sources)


def test_it_installs_what_the_proxy_needs(steps: list[tuple[str, str]]) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    (extra,) = re.findall(r"/source\[(\w+)\]", last(steps, "RUN"))
    assert extra == "proxy"
    assert re.search(rf"^{extra} = \[$", project, re.MULTILINE)


def test_it_starts_the_proxy(
    steps: list[tuple[str, str]], parsed: Callable[[Sequence[str]], argparse.Namespace]
) -> None:
    command: list[str] = json.loads(last(steps, "ENTRYPOINT")) + json.loads(last(steps, "CMD"))
    assert command[0] == "otel-llm"
    assert parsed(command[1:]).config == Path("/etc/otel-llm/proxy.yaml")
    assert last(steps, "STOPSIGNAL") == "SIGTERM"


def test_its_health_is_asked_where_the_proxy_answers(
    steps: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    (command,) = re.findall(r"CMD (\[.*\])$", last(steps, "HEALTHCHECK"))
    program, option, code = json.loads(command)
    assert (program, option) == ("python", "-c")
    assert f":{last(steps, 'EXPOSE')}/" in code
    token = {"token_env": "TOKEN", "environ": {"TOKEN": "secret"}}
    with proxying("http://127.0.0.1:1/v1", observed=False, **token) as proxy:  # type: ignore[arg-type]
        exec(code.replace(":4321/", f":{proxy.port}/"))
        with pytest.raises(OSError, match="401"):
            exec(code.replace(":4321/healthz", f":{proxy.port}/v1/models"))
