"""`make stack` as a newcomer uses it: started in one terminal, queried from another, stopped with Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers.pipeline.application import environment
from tests.helpers.pipeline.backends import Jaeger, Prometheus, events, eventually, tags

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stack(go_programs: None, prometheus_programs: None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "stack"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
            one.kill()
        process.kill()
        process.communicate()


def test_the_demo_is_visible_in_jaeger_and_prometheus(stack: subprocess.Popen[str]) -> None:
    said = _until(stack, "Ctrl-C stops it.")
    grpc, jaeger, prometheus = (
        int(re.findall(pattern, said)[0])
        for pattern in (r"send to +http://127.0.0.1:(\d+)", r"(\d+)/api", r"(\d+)/graph")
    )
    demo = subprocess.run(
        [str(Path(sys.executable).with_name("otel-llm")), "demo"],
        env=environment(grpc, "overridden"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert demo.returncode == 0, demo.stderr
    assert f"They were also sent to the collector at http://127.0.0.1:{grpc}" in demo.stdout
    wanted = {"completed", "error", "invalid_json"}
    assert wanted <= eventually(lambda: _told(Jaeger(jaeger)), lambda told: wanted <= told)
    calls = 'otel_llm_tool_call_count_total{job="otel-llm-demo"}'
    assert eventually(lambda: Prometheus(prometheus).value(calls), lambda value: value > 0) > 0

    children = psutil.Process(stack.pid).children(recursive=True)
    assert len(children) == 3
    assert {address for child in children for address in _listens_on(child)} == {"127.0.0.1"}

    stack.send_signal(signal.SIGINT)
    rest, _ = stack.communicate(timeout=30)
    assert stack.returncode == 0
    assert rest.endswith("Stopped.\n")
    assert not [child for child in children if child.is_running()]


def test_without_go_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "prometheus").symlink_to("/bin/true")
    ended = _run_with_path(tmp_path, {"XDG_CACHE_HOME": str(tmp_path / "cache")})

    assert ended.returncode == 1
    assert ended.stderr.startswith("go is not on the PATH. Go 1.25 or newer builds the collector")
    assert "Traceback" not in ended.stderr


def test_without_prometheus_it_says_what_to_install(tmp_path: Path) -> None:
    ended = _run_with_path(tmp_path, {})

    assert ended.returncode == 1
    assert ended.stderr == (
        "prometheus is not on the PATH. "
        "Prometheus stores the metrics: install it (on Debian: apt-get install prometheus).\n"
    )


def test_without_a_cache_folder_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "prometheus").symlink_to("/bin/true")
    (tmp_path / "a-file").touch()
    ended = _run_with_path(tmp_path, {"XDG_CACHE_HOME": str(tmp_path / "a-file")})

    assert ended.returncode == 1
    assert ended.stderr == (
        f"Builds are stored in {tmp_path}/a-file/otel-llm/stack, which is not writable (Not a directory). "
        "Set XDG_CACHE_HOME to use another folder.\n"
    )


def _run_with_path(path: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack"],
        cwd=ROOT,
        env={"PATH": str(path), "HOME": str(path), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _until(process: subprocess.Popen[str], words: str) -> str:
    said = ""
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    while words not in said:
        line = process.stdout.readline()
        assert line, f"it ended: {said}"
        assert time.monotonic() < deadline, said
        said += line
    return said


def _told(jaeger: Jaeger) -> set[str]:
    """How the streams of the demo ended, and their anomalies."""
    spans = jaeger.spans("otel-llm-demo")
    outcomes = {tags(span)["otel_llm.stream.outcome"] for span in spans}
    return outcomes | {str(event.get("otel_llm.anomaly.type")) for span in spans for event in events(span)}


def _listens_on(process: psutil.Process) -> set[str]:
    return {
        connection.laddr.ip
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
