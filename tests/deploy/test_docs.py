"""What docs/proxy-deployment.md says can be done."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import anthropic
import openai
import pytest

from otel_llm.proxy.configuration import Configuration

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "proxy-deployment.md").read_text()
URL = re.compile(r"http://127\.0\.0\.1:4321(/[\w/]+)")


def test_the_files_are_there() -> None:
    named = re.findall(r"deploy/proxy[\w./-]*", TEXT)
    assert len(named) > 5
    assert all((ROOT / name).exists() for name in named if "github.com" not in name)


def test_the_container_gets_what_its_settings_want(
    parsed: Callable[[Sequence[str]], argparse.Namespace], read: Callable[[Path, Mapping[str, str]], Configuration]
) -> None:
    (command,) = re.findall(r"^docker run .*?[^\\]\n", TEXT, re.MULTILINE | re.DOTALL)
    words = shlex.split(command.replace("\\\n", " "))
    options = list(pairwise(words))
    environ = {value: "secret" for name, value in options if name == "--env"}
    ((source, target, mode),) = [value.split(":") for name, value in options if name == "--volume"]
    assert (target, mode) == ("/etc/otel-llm/proxy.yaml", "ro")
    configuration = read(ROOT / source, environ)
    (port,) = [value.rpartition(":")[2] for name, value in options if name == "--publish"]
    assert configuration.listen == f"0.0.0.0:{port}"
    (seconds,) = [int(value) for name, value in options if name == "--stop-timeout"]
    assert seconds > configuration.limits.drain_seconds


def test_the_secret_has_what_the_pods_want() -> None:
    deployment = (ROOT / "deploy/proxy/kubernetes/deployment/deployment.yaml").read_text()
    wanted = set(re.findall(r"secretKeyRef:\s+name: otel-llm-proxy\s+key: (\S+)", deployment))
    for text in (TEXT, (ROOT / "deploy/proxy/kubernetes/deployment/kustomization.yaml").read_text()):
        assert set(re.findall(r"--from-literal=([\w-]+)=", text)) == wanted


def test_the_clients_urls_lead_to_servers(read: Callable[[Path, Mapping[str, str]], Configuration]) -> None:
    servers = read(ROOT / "deploy/proxy/proxy.yaml", {"ANTHROPIC_API_KEY": "secret"}).upstreams
    paths = {path for path in URL.findall(TEXT) if path != "/v1"}
    for path in paths:
        calls = "/v1/messages" if path == "/anthropic" else "" if "completions" in path else "/chat/completions"
        found = servers.of_path((path + calls).encode())
        assert found is not None
        assert found[1] == (b"/v1/messages" if path == "/anthropic" else b"/v1/chat/completions")
    assert len(paths) == 3


def test_the_variables_are_read_by_the_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in re.findall(r"`(\w+_BASE_URL)=(http:[^`]+)`", TEXT):
        monkeypatch.setenv(name, value)
    with openai.OpenAI(api_key="k") as client, anthropic.Anthropic(api_key="k") as other:
        assert str(client.base_url) == "http://127.0.0.1:4321/openai/v1/"
        assert str(other.base_url).rstrip("/") == "http://127.0.0.1:4321/anthropic"
