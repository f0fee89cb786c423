"""Run an application as its user would: under `opentelemetry-instrument`, configured by environment variables alone."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

TRAFFIC = Path(__file__).with_name("traffic.py")
_TIMEOUT = 300.0  # seconds


def run_instrumented(*command: str, otlp_port: int, service: str = "app", **variables: str) -> str:
    """Run ``command`` with this interpreter and send its telemetry to 127.0.0.1:``otlp_port`` (gRPC).

    Returns what it printed, stdout and stderr together. Fails the test if the command fails.
    """
    ended: subprocess.CompletedProcess[str] = subprocess.run(
        [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, *command],
        env=environment(otlp_port, service) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def environment(otlp_port: int, service: str) -> dict[str, str]:
    """This process's environment, with its telemetry variables replaced by the test's."""
    names = {entry.name for entry in entry_points(group="opentelemetry_instrumentor")}
    others = {name for name in names if not name.startswith("otel_llm")}
    return {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | {
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp_port}",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_LLM_LOG": "false",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(sorted(others)),
        "NO_PROXY": "127.0.0.1",
    }
