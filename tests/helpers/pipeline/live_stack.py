"""Collector, Jaeger and Prometheus, filled with telemetry of every kind, for tests that only query."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pytest

from stack import ports, programs
from tests.helpers.pipeline import traffic
from tests.helpers.pipeline.application import TRAFFIC, run_instrumented
from tests.helpers.pipeline.backends import Jaeger, Prometheus

SERVICES: Final = ("agent-one", "agent-two")

# Every counter must grow while its process runs: the value at the first scrape is no increase.
_ROUNDS: Final = 5
# The capacity of the losing agent's queue, and a request that exceeds it.
_QUEUE_BYTES: Final = 300_000
_TOO_LARGE: Final = 400_000


@dataclass(frozen=True)
class LiveStack:
    """Where to query. ``losing_agent`` is the instance name of a collector that lost some of every signal."""

    prometheus: Prometheus
    prometheus_url: str
    jaeger: Jaeger
    jaeger_url: str
    losing_agent: str


@pytest.fixture(scope="module")
def live_stack(
    go_programs: None, prometheus_programs: None, scripted: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveStack]:
    """Two applications made requests of every kind, and a collector lost telemetry. Nothing is added afterwards.

    One for each module, because the samples that rates need are too old after some minutes.
    """
    folder = tmp_path_factory.mktemp("live-stack")
    collector_ports, agent_ports = programs.CollectorPorts.free(), programs.CollectorPorts.free()
    jaeger_ports = programs.JaegerPorts.free()
    (prometheus_port,) = ports.free_ports(1)
    prometheus_url = f"http://127.0.0.1:{prometheus_port}"
    scraped = {
        "applications": [collector_ports.prometheus],
        "collector": [collector_ports.own_metrics, agent_ports.own_metrics],
    }
    to_jaeger = {"JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{jaeger_ports.otlp}"}
    # Its destination does not know the path and so refuses everything permanently.
    to_nobody = {"GATEWAY_ENDPOINT": prometheus_url, "GATEWAY_TOKEN": "unused", "QUEUE_BYTES": str(_QUEUE_BYTES)}
    with (
        programs.jaeger(jaeger_ports, folder / "jaeger"),
        programs.collector("local.yaml", collector_ports, folder / "collector", to_jaeger),
        programs.collector("agent.yaml", agent_ports, folder / "agent", to_nobody),
        programs.prometheus(prometheus_port, scraped, folder / "prometheus", every="1s"),
    ):
        _lose_some(agent_ports.http)
        _make_requests(scripted, collector_ports.grpc)
        yield LiveStack(
            Prometheus(prometheus_port),
            prometheus_url,
            Jaeger(jaeger_ports.query),
            f"http://127.0.0.1:{jaeger_ports.query}",
            f"127.0.0.1:{agent_ports.own_metrics}",
        )


def _make_requests(base_url: str, otlp_port: int) -> None:
    kinds = [f"{kind}={3 if kind == 'slow' else 1}" for kind in traffic.KINDS] * _ROUNDS

    def run(service: str) -> None:
        run_instrumented(
            str(TRAFFIC),
            base_url,
            *kinds,
            otlp_port=otlp_port,
            service=service,
            OTEL_METRIC_EXPORT_INTERVAL="500",
            OTEL_LLM_TOOL_CALL_TAGS="openai",
        )

    with ThreadPoolExecutor() as threads:
        list(threads.map(run, SERVICES))


def _lose_some(port: int) -> None:
    """Send each signal twice: one request that fits the queue, and one that does not."""
    for filling in (10, _TOO_LARGE):
        for path, body in _each_signal("x" * filling).items():
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=10):
                pass


def _each_signal(text: str) -> dict[str, dict[str, Any]]:
    now = str(time.time_ns())
    what = {"attributes": [{"key": "filling", "value": {"stringValue": text}}]}
    span = {"traceId": "1" * 32, "spanId": "1" * 16, "name": "lost", "startTimeUnixNano": now, "endTimeUnixNano": now}
    metric = {"name": "lost", "gauge": {"dataPoints": [{"timeUnixNano": now, "asInt": "1", **what}]}}
    return {
        "/v1/traces": {"resourceSpans": [{"scopeSpans": [{"spans": [{**span, **what}]}]}]},
        "/v1/metrics": {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]},
        "/v1/logs": {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": now, **what}]}]}]},
    }
