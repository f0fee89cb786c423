"""compose.yaml, checked without a container engine: against the Compose schema, with everything it refers to."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from stack import build

ROOT: Final = Path(__file__).parents[2]
FILE: Final = ROOT / "compose.yaml"
SERVICES: Final[dict[str, dict[str, Any]]] = yaml.safe_load(FILE.read_text())["services"]
# It mounts the configurations that are tested, which take their addresses from the environment.
CONFIGURED: Final = {"collector": "local.yaml", "jaeger": "jaeger.yaml"}

_VARIABLE: Final = re.compile(r"\$\{env:(\w+)(?::-([^}]*))?\}")


def mounts(service: str) -> dict[str, Path]:
    """The files and folders of this repository in the container, by their path there."""
    parted = (volume.split(":") for volume in SERVICES[service]["volumes"])
    return {inside: ROOT / outside for outside, inside, *_ in parted if outside.startswith(".")}


def test_it_is_a_compose_file() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_it_is_published_on_loopback_only(service: str) -> None:
    assert SERVICES[service]["ports"]
    for port in SERVICES[service]["ports"]:
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port), port
    assert "network_mode" not in SERVICES[service]


@pytest.mark.parametrize("service", SERVICES)
def test_image_has_a_version(service: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", SERVICES[service]["image"])


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_exists_and_is_not_written(service: str) -> None:
    assert mounts(service)
    for volume in SERVICES[service]["volumes"]:
        outside, _, *how = volume.split(":")
        if outside.startswith("."):
            assert (ROOT / outside).exists(), volume
            assert how == ["ro"], volume
        else:
            assert outside in yaml.safe_load(FILE.read_text())["volumes"]


def test_versions_are_those_that_are_tested() -> None:
    collector = re.search(r"otlpreceiver v(\S+)", (ROOT / "collector-config/builder.yaml").read_text())
    assert collector
    assert SERVICES["collector"]["image"].endswith(f":{collector[1]}")
    (jaeger,) = re.findall(r"^# Jaeger (\d+\.\d+)\.", Path(build.__file__).read_text(), re.MULTILINE)
    assert SERVICES["jaeger"]["image"].endswith(f":{jaeger}.0")


@pytest.mark.parametrize("service", CONFIGURED)
def test_environment_is_what_the_configuration_reads(service: str) -> None:
    (configuration,) = mounts(service).values()
    assert configuration.name == CONFIGURED[service]
    assert SERVICES[service]["command"] == [f"--config={next(iter(mounts(service)))}"]
    read = dict(_VARIABLE.findall(configuration.read_text()))
    given = SERVICES[service]["environment"]
    assert given.keys() <= read.keys()
    # Nothing listens on the container's own loopback interface, where no other container reaches it.
    assert {name for name, default in read.items() if default.startswith("127.0.0.1")} <= given.keys()
    for name, value in given.items():
        # Where it listens, and the one address that it sends to. The configuration has the same ports.
        host, _, port = value.partition(":")
        assert host == "0.0.0.0" or host in SERVICES, name
        assert port == read[name].partition(":")[2], name


@pytest.mark.parametrize("service", CONFIGURED)
def test_programs_take_configuration_and_environment(service: str, go_programs: None) -> None:
    (configuration,) = mounts(service).values()
    program = {"collector": build.collector, "jaeger": build.jaeger}[service]()
    checked = subprocess.run(
        [program, "validate", "--config", configuration],
        env=SERVICES[service]["environment"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_prometheus_finds_its_files_and_the_collector() -> None:
    (inside,) = mounts("prometheus")
    assert f"--config.file={inside}/prometheus.yaml" in SERVICES["prometheus"]["command"]
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]
    configuration = yaml.safe_load((mounts("prometheus")[inside] / "prometheus.yaml").read_text())
    assert all((mounts("prometheus")[inside] / name).is_file() for name in configuration["rule_files"])
    targets = [
        target
        for job in configuration["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    read = dict(_VARIABLE.findall((ROOT / "collector-config/local.yaml").read_text()))
    served = SERVICES["collector"]["environment"]["PROMETHEUS_ENDPOINT"].partition(":")[2]
    assert targets == [f"collector:{served}", f"collector:{read['OWN_METRICS_PORT']}"]


def test_grafana_finds_its_files_and_the_others() -> None:
    given = SERVICES["grafana"]["environment"]
    (folder,) = (
        provider["options"]["path"]
        for provider in yaml.safe_load(
            (mounts("grafana")["/etc/grafana/provisioning/dashboards"] / "dashboards.yaml").read_text()
        )["providers"]
    )
    assert mounts("grafana")[folder] == ROOT / "grafana/dashboards"
    home = Path(given["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (mounts("grafana")[str(home.parent)] / home.name).is_file()
    sources = (mounts("grafana")["/etc/grafana/provisioning/datasources"] / "datasources.yaml").read_text()
    wanted = set(re.findall(r"(?<!\$)\$\{(\w+)\}", sources))
    assert wanted == {name for name in given if not name.startswith("GF_")}
    for name in wanted:
        address = re.fullmatch(r"http://(\w+):(\d+)", given[name])
        assert address is not None, given[name]
        host, port = address.groups()
        published = {one.split(":")[1] for service in ("prometheus", "jaeger") for one in SERVICES[service]["ports"]}
        assert port in published
        assert host in SERVICES or name == "JAEGER_PUBLIC_URL"


def test_nobody_can_log_in_to_grafana() -> None:
    given = SERVICES["grafana"]["environment"]
    assert given["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    # Neither through the form, nor with a password in the header, nor as the account that a new Grafana creates.
    assert given["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert given["GF_AUTH_BASIC_ENABLED"] == "false"
    assert given["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert "PASSWORD" not in FILE.read_text()
