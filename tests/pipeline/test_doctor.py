"""`otel-llm doctor` against the real programs: all healthy, and each part failing in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack import programs
from stack.ports import free_ports
from stack.programs import CollectorPorts, JaegerPorts
from tests.helpers.pipeline.application import environment
from tests.helpers.pipeline.tier import TOKEN

pytestmark = pytest.mark.usefixtures("go_programs", "prometheus_programs")


@dataclass
class Parts:
    """A collector for one machine, and a gateway that samples everything away, with one Jaeger and Prometheus."""

    local: CollectorPorts
    gateway: CollectorPorts
    jaeger: JaegerPorts
    prometheus: int


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("doctor")
    made = Parts(CollectorPorts.free(), CollectorPorts.free(), JaegerPorts.free(), free_ports(1)[0])
    to_jaeger = {"JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{made.jaeger.otlp}"}
    scraped = {
        "applications": [made.local.prometheus, made.gateway.prometheus],
        "collector": [made.local.own_metrics, made.gateway.own_metrics],
    }
    with (
        programs.jaeger(made.jaeger, folder / "jaeger"),
        programs.collector("local.yaml", made.local, folder / "local", to_jaeger),
        programs.collector(
            "gateway.yaml",
            made.gateway,
            folder / "gateway",
            {**to_jaeger, "GATEWAY_TOKEN": TOKEN, "SHARE_PERCENT": "0"},
        ),
        programs.prometheus(made.prometheus, scraped, folder / "prometheus", every="1s"),
    ):
        yield made


class Report:
    """What the doctor printed as JSON, and its exit status."""

    def __init__(self, ended: subprocess.CompletedProcess[str]) -> None:
        assert ended.stderr == ""
        self.status = ended.returncode
        self.text = ended.stdout
        self._checks = json.loads(ended.stdout)["checks"]

    def failed(self) -> set[str]:
        return self._with("failed")

    def well(self) -> set[str]:
        return self._with("ok")

    def skipped(self) -> set[str]:
        return self._with("skipped")

    def warned(self) -> set[str]:
        return self._with("warning")

    def of(self, check: str) -> str:
        sentence: str
        (sentence,) = [one["sentence"] for one in self._checks if one["check"] == check]
        return sentence

    def _with(self, status: str) -> set[str]:
        return {one["check"] for one in self._checks if one["status"] == status}


def consult(
    collector: CollectorPorts, parts: Parts, *options: str, otlp_port: int | None = None, **variables: str
) -> Report:
    """Run the doctor as a user would, in the environment of an application that sends to ``collector``."""
    asked = {
        "--collector-health": f"http://127.0.0.1:{collector.health}/",
        "--collector-metrics": f"http://127.0.0.1:{collector.own_metrics}/metrics",
        "--jaeger": f"http://127.0.0.1:{parts.jaeger.query}",
        "--prometheus": f"http://127.0.0.1:{parts.prometheus}",
    }
    for name in [name for name in asked if name.replace("--", "--no-", 1) in options]:
        del asked[name]
    command = [str(Path(sys.executable).with_name("otel-llm")), "doctor", "--json", *options]
    for name, url in asked.items():
        command += [name, url]
    env = {**environment(otlp_port or collector.grpc, "of-the-user"), **variables}
    return Report(subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False))


def test_all_is_well(parts: Parts) -> None:
    report = consult(parts.local, parts)

    assert report.status == 0, report.text
    assert not report.failed() | report.warned() | report.skipped()
    assert report.well() >= {
        *("packages", "instrumentation", "destination of traces", "metrics", "collector", "test streams", "export"),
        *("Jaeger", "trace", "anomaly", "Prometheus", "targets", "exemplars"),
    }
    assert "all events of both tool calls, in order" in report.of("trace")
    assert "invalid_json" in report.of("anomaly")
    assert "of-the-user" not in report.text


def test_all_is_well_over_http(parts: Parts) -> None:
    report = consult(parts.local, parts, otlp_port=parts.local.http, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf")

    assert report.status == 0, report.text
    assert f"http://127.0.0.1:{parts.local.http}/v1/traces" in report.of("export")


def test_events_sent_as_logs_are_not_reported_missing(parts: Parts) -> None:
    report = consult(parts.local, parts, "--no-prometheus", OTEL_LLM_EVENTS="log")

    assert report.status == 0, report.text
    assert report.warned() == {"options"}, report.text
    assert "OTEL_LLM_EVENTS=log" in report.of("options")


def test_a_span_without_its_events_is_noticed(parts: Parts) -> None:
    report = consult(parts.local, parts, "--no-prometheus", OTEL_SPAN_EVENT_COUNT_LIMIT="3")

    assert report.status == 1, report.text
    assert report.failed() == {"trace"}, report.text
    assert "OTEL_SPAN_EVENT_COUNT_LIMIT" in report.of("trace")
    assert "collector's metrics" not in report.text, "no span is missing"


@pytest.mark.parametrize(
    ("header", "said"),
    [("", "no authorization header is sent"), ("authorization=Bearer the-wrong-one", "rejects the token")],
)
def test_the_gateway_wants_another_token(parts: Parts, header: str, said: str) -> None:
    report = consult(parts.gateway, parts, OTEL_EXPORTER_OTLP_HEADERS=header)

    assert report.status == 1, report.text
    assert report.failed() == {"export of traces", "export of metrics"}, report.text
    assert said in report.of("export of traces")
    assert report.skipped() == {"trace", "metrics"}, report.text
    assert "the-wrong-one" not in report.text


def test_a_gateway_that_samples_keeps_the_anomaly(parts: Parts) -> None:
    report = consult(parts.gateway, parts, OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{TOKEN}")

    assert report.status == 0, report.text
    assert report.warned() == {"trace"}, report.text
    assert "The gateway samples, as it should: it kept the other for the reason 'anomaly'" in report.of("trace")
    assert {"anomaly", "metrics", "exemplars"} <= report.well()
    assert TOKEN not in report.text


@pytest.mark.parametrize(
    ("port", "protocol", "advice"),
    [
        (
            "http",
            "grpc",
            "is an HTTP/1 server, but the protocol is grpc. Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        ),
        ("grpc", "http/protobuf", "may be a gRPC port. Set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
    ],
)
def test_the_protocol_is_not_the_port_s(parts: Parts, port: str, protocol: str, advice: str) -> None:
    port_number = getattr(parts.local, port)
    report = consult(parts.local, parts, otlp_port=port_number, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)

    assert report.status == 1, report.text
    assert report.failed() == {"export of traces", "export of metrics"}, report.text
    assert advice in report.of("export of traces")


def test_tls_where_there_is_none(parts: Parts) -> None:
    endpoint = f"https://127.0.0.1:{parts.local.grpc}"
    report = consult(parts.local, parts, "--no-prometheus", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)

    assert report.failed() == {"export of traces", "export of metrics"}, report.text
    assert "Start OTEL_EXPORTER_OTLP_ENDPOINT with http://" in report.of("export of traces")


def test_a_receiver_that_accepts_traces_but_no_metrics(parts: Parts) -> None:
    report = consult(parts.local, parts, otlp_port=parts.jaeger.otlp)

    assert report.failed() == {"export of metrics"}, report.text
    assert "does not accept metrics" in report.of("export of metrics")
    assert {"trace", "anomaly"} <= report.well()
    assert report.skipped() == {"metrics"}, report.text


def test_no_collector_runs(parts: Parts) -> None:
    report = consult(CollectorPorts.free(), parts)

    assert report.status == 1, report.text
    assert report.failed() == {"collector", "export of traces", "export of metrics"}, report.text
    assert "No collector is running" in report.of("collector")
    assert "Nothing listens at" in report.of("export of traces")


def test_jaeger_is_down_and_the_collector_keeps_the_spans(parts: Parts, tmp_path: Path) -> None:
    collector, nobody = CollectorPorts.free(), JaegerPorts.free()
    down = Parts(collector, collector, nobody, parts.prometheus)
    to_nobody = {"JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{nobody.otlp}", "GATEWAY_TOKEN": TOKEN}
    with programs.collector("gateway.yaml", collector, tmp_path, to_nobody):
        token = f"authorization=Bearer%20{TOKEN}"
        report = consult(collector, down, "--no-prometheus", OTEL_EXPORTER_OTLP_HEADERS=token)

    assert report.status == 1, report.text
    assert report.failed() == {"Jaeger", "collector's metrics"}, report.text
    assert "nothing listens there" in report.of("Jaeger")
    assert "spans are stuck in the queue of otlp_grpc/jaeger" in report.of("collector's metrics")


def test_a_jaeger_that_the_collector_does_not_deliver_to(parts: Parts, tmp_path: Path) -> None:
    other = Parts(parts.local, parts.gateway, JaegerPorts.free(), parts.prometheus)
    with programs.jaeger(other.jaeger, tmp_path):
        report = consult(other.local, other, "--no-prometheus", "--wait", "2")

    assert report.status == 1, report.text
    assert report.failed() == {"trace"}, report.text
    assert "the collector delivers to another Jaeger" in report.of("trace")
    assert "delivers them elsewhere" in report.of("collector's metrics")


def test_prometheus_is_down(parts: Parts) -> None:
    down = Parts(parts.local, parts.gateway, parts.jaeger, free_ports(1)[0])
    report = consult(down.local, down)

    assert report.status == 1, report.text
    assert report.failed() == {"Prometheus"}, report.text
    assert {"trace", "anomaly"} <= report.well()


def test_prometheus_does_not_read_the_collector(parts: Parts, tmp_path: Path) -> None:
    other = Parts(parts.local, parts.gateway, parts.jaeger, free_ports(1)[0])
    (nobody,) = free_ports(1)
    with programs.prometheus(other.prometheus, {"applications": [nobody]}, tmp_path, every="1s"):
        report = consult(other.local, other, "--no-jaeger", "--wait", "10")

    assert report.status == 1, report.text
    assert report.failed() == {"metrics"}, report.text
    assert f"It scrapes http://127.0.0.1:{nobody}/metrics" in report.of("metrics")
    assert f"Prometheus cannot scrape http://127.0.0.1:{nobody}/metrics" in report.of("targets")
