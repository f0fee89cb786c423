"""The real collector in front of `otel-llm view`."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack import programs
from stack.programs import CollectorPorts
from tests.helpers.pipeline.application import TRAFFIC, run_instrumented
from tests.helpers.pipeline.backends import eventually
from tests.helpers.viewing import viewing

pytestmark = pytest.mark.usefixtures("go_programs")


def test_the_view_shows_what_the_collector_sends(tmp_path: Path, scripted: str) -> None:
    ports = CollectorPorts.free()
    with viewing(tmp_path / "v.db") as view:
        to_view = {"JAEGER_OTLP_ENDPOINT": view.grpc.removeprefix("http://")}
        with programs.collector("local.yaml", ports, tmp_path / "collector", to_view):
            run_instrumented(str(TRAFFIC), scripted, "invalid_json", otlp_port=ports.grpc, service="broken")
            run_instrumented(str(TRAFFIC), scripted, "calls=3", otlp_port=ports.grpc, service="many")
            eventually(lambda: view.get("/api/requests"), lambda page: page["total"] == 4)
        (broken,) = view.requests(service="broken")
        assert broken["anomalies"] == ["invalid_json"]
        (lane,) = view.detail(broken["id"])["lanes"]
        assert lane["arguments_error"]
        assert len(view.requests(service="many")) == 3


def test_spans_sent_while_the_view_was_down_arrive_later(tmp_path: Path, scripted: str) -> None:
    ports = CollectorPorts.free()
    with viewing(tmp_path / "v.db") as view:
        port = view.grpc.rpartition(":")[2]
    to_view = {"JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{port}"}
    with programs.collector("local.yaml", ports, tmp_path / "collector", to_view):
        run_instrumented(str(TRAFFIC), scripted, "calls=2", otlp_port=ports.grpc, service="waited")
        with viewing(tmp_path / "v.db", "--otlp-grpc", port) as view:
            eventually(lambda: view.get("/api/requests"), lambda page: page["total"] == 2)
