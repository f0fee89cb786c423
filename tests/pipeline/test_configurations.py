"""The real programs accept every configuration, and none opens a port to other machines."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil
import pytest
import yaml

from stack import build, programs
from stack.programs import CollectorPorts
from tests.helpers.pipeline.tier import TOKEN

COLLECTOR = ("local.yaml", "agent.yaml", "gateway.yaml", "scale-producer.yaml", "scale-consumer.yaml")
JAEGER = ("jaeger.yaml", "jaeger-cassandra.yaml")
CASSANDRA = {"CASSANDRA_USERNAME": "u", "CASSANDRA_PASSWORD": "p"}


def test_all_configurations_are_known_here() -> None:
    assert {file.name for file in build.CONFIGURATIONS.glob("*.yaml")} == {*COLLECTOR, *JAEGER, "builder.yaml"}


@pytest.mark.usefixtures("go_programs")
@pytest.mark.parametrize("name", COLLECTOR)
def test_the_collector_accepts_it(name: str) -> None:
    ended = _validate(build.collector(), name, GATEWAY_TOKEN=TOKEN)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.usefixtures("go_programs")
@pytest.mark.parametrize("name", JAEGER)
def test_jaeger_accepts_it(name: str) -> None:
    ended = _validate(build.jaeger(), name, **CASSANDRA)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.usefixtures("go_programs")
@pytest.mark.parametrize("name", ["agent.yaml", "gateway.yaml", "scale-producer.yaml"])
def test_without_a_token_it_does_not_start(name: str) -> None:
    ended = _validate(build.collector(), name, GATEWAY_TOKEN="")
    assert ended.returncode != 0
    assert "no bearer token provided" in ended.stderr


@pytest.mark.usefixtures("go_programs")
@pytest.mark.parametrize("name", ["local.yaml", "agent.yaml", "gateway.yaml"])
def test_only_the_loopback_interface_is_served(name: str, tmp_path: Path) -> None:
    ports = CollectorPorts.free()
    with programs.collector(name, ports, tmp_path, {"GATEWAY_TOKEN": TOKEN}) as program:
        listening = [
            one.laddr
            for one in psutil.Process(program.pid).net_connections(kind="inet")
            if one.status == psutil.CONN_LISTEN
        ]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert {ports.grpc, ports.http, ports.health, ports.own_metrics} <= {address.port for address in listening}


@pytest.mark.parametrize("name", [*COLLECTOR, *JAEGER])
def test_every_address_is_of_the_loopback_interface_unless_a_variable_says_otherwise(name: str) -> None:
    endpoints = _found(yaml.safe_load((build.CONFIGURATIONS / name).read_text()), {"endpoint", "host"})
    assert endpoints
    for endpoint in endpoints:
        assert endpoint.startswith("${env:")
        assert ":-127.0.0.1" in endpoint or ":-http://127.0.0.1:" in endpoint


@pytest.mark.parametrize(
    ("one", "other", "processors"),
    [
        (
            "gateway.yaml",
            "scale-producer.yaml",
            ("filter/no_trace", "transform/join_pieces", "redaction", "transform/drop_pieces"),
        ),
        (
            "gateway.yaml",
            "scale-consumer.yaml",
            (
                "transform/sampling_reason",
                "filter/with_reason",
                "filter/not_of_share",
                "tail_sampling",
                "filter/without_reason",
                "transform/reason_trace",
            ),
        ),
    ],
)
def test_what_two_configurations_share_is_the_same_in_both(one: str, other: str, processors: tuple[str, ...]) -> None:
    first, second = (yaml.safe_load((build.CONFIGURATIONS / name).read_text())["processors"] for name in (one, other))
    for name in processors:
        assert first[name] == second[name]


def test_every_part_of_the_distribution_is_used() -> None:
    """None that a configuration uses can be missing, or the configuration would not validate."""
    manifest = yaml.safe_load((build.CONFIGURATIONS / "builder.yaml").read_text())
    built = {
        component["gomod"].split()[0].rpartition("/")[2]
        for kind in ("receivers", "processors", "exporters", "connectors", "extensions")
        for component in manifest[kind]
    }
    named = {
        name.partition("/")[0].replace("_", "")
        for file in COLLECTOR
        for kind in ("receivers", "processors", "exporters", "connectors", "extensions")
        for name in yaml.safe_load((build.CONFIGURATIONS / file).read_text()).get(kind, {})
    }
    unused = {module for module in built if not any(module.startswith(_module_of(name)) for name in named)}
    assert unused == set()


def _module_of(name: str) -> str:
    return {"otlpgrpc": "otlpexporter"}.get(name, name)


def _validate(program: Path, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), "validate", "--config", str(build.CONFIGURATIONS / name)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _found(value: object, keys: set[str]) -> list[str]:
    if isinstance(value, dict):
        return [
            found
            for key, inner in value.items()
            for found in ([inner] if key in keys and isinstance(inner, str) else _found(inner, keys))
        ]
    if isinstance(value, list):
        return [found for inner in value for found in _found(inner, keys)]
    return []
