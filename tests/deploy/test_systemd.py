"""The unit for systemd is one that systemd takes, and starts a proxy that exists."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from otel_llm.proxy.configuration import Configuration
from tests.helpers.deployed import OTEL_VARIABLES, SECONDS_TO_END

PROGRAM = "/opt/otel-llm/bin/otel-llm"
HARDENED = {
    "DynamicUser": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "ProtectHome": "yes",
    "ProtectSystem": "strict",
    "CapabilityBoundingSet": "",
    "SystemCallFilter": "@system-service",
}


@pytest.fixture
def unit(folder: Path) -> Path:
    return folder / "otel-llm-proxy.service"


@pytest.fixture
def settings(unit: Path) -> dict[str, list[str]]:
    """The values of each setting."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def environ(folder: Path) -> dict[str, str]:
    lines = (folder / "proxy.env").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on the PATH")
def test_systemd_takes_it(unit: Path, tmp_path: Path) -> None:
    # Only that the program is not installed here is no fault of the unit.
    there = tmp_path / unit.name
    there.write_text(unit.read_text().replace(PROGRAM, sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(there)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    about_it = [line for line in ended.stderr.splitlines() if unit.name in line]
    assert about_it == []


def test_it_starts_and_reloads_the_proxy(
    settings: dict[str, list[str]], parsed: Callable[[Sequence[str]], argparse.Namespace]
) -> None:
    check, reload = settings["ExecReload"]
    for command in (*settings["ExecStart"], check):
        program, *arguments = shlex.split(command)
        assert program == PROGRAM
        assert parsed(arguments).config == Path("/etc/otel-llm/proxy.yaml")
    assert parsed(shlex.split(check)[1:]).check
    assert reload == "/bin/kill -HUP $MAINPID"
    assert settings["EnvironmentFile"] == ["/etc/otel-llm/proxy.env"]


def test_streams_may_finish(
    settings: dict[str, list[str]],
    folder: Path,
    environ: dict[str, str],
    read: Callable[[Path, Mapping[str, str]], Configuration],
) -> None:
    limits = read(folder / "proxy.yaml", environ).limits
    (seconds,) = settings["TimeoutStopSec"]
    assert int(seconds) >= limits.drain_seconds + SECONDS_TO_END
    assert settings["KillSignal"] == ["SIGTERM"]
    # With `control-group` the workers would get the signal twice, and the second one ends their streams.
    assert settings["KillMode"] == ["mixed"]
    (files,) = settings["LimitNOFILE"]
    assert int(files) > 2 * limits.connections


def test_it_may_do_little(settings: dict[str, list[str]]) -> None:
    assert {name: settings[name][0] for name in HARDENED} == HARDENED


def test_all_variables_mean_something(environ: dict[str, str]) -> None:
    assert {name for name in environ if name.startswith("OTEL_")} <= OTEL_VARIABLES


def test_it_listens_on_this_machine_only(
    folder: Path, environ: dict[str, str], read: Callable[[Path, Mapping[str, str]], Configuration]
) -> None:
    configuration = read(folder / "proxy.yaml", environ)
    assert configuration.listen == "127.0.0.1:4321"
    assert [server.prefix for server in configuration.upstreams.servers] == ["openai", "anthropic", "vllm"]
