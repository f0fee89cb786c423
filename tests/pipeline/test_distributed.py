"""The distributed tier: three Kafka brokers, two consumers, Jaeger on Cassandra. One of each is killed."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stack import programs
from stack.cassandra import Cassandra
from stack.kafka import KafkaCluster
from stack.program import Program
from stack.programs import CollectorPorts, JaegerPorts
from tests.helpers.pipeline.application import TRAFFIC, environment, run_instrumented
from tests.helpers.pipeline.backends import Jaeger, eventually, scraped, times_stored
from tests.helpers.pipeline.tier import TOKEN

pytestmark = pytest.mark.usefixtures("go_programs", "java_programs")

REQUESTS = 2000
PARTITIONS = 12


@dataclass
class Cluster:
    """Everything that has state. All tests share it, and each reads and writes topics of its own."""

    kafka: KafkaCluster
    cassandra: Cassandra
    folder: Path

    def topic(self, name: str) -> dict[str, str]:
        """Create a topic; returns the variables that collectors need for it."""
        self.kafka.create_topic(name, PARTITIONS)
        return {"KAFKA_TOPIC": name, "KAFKA_BROKERS": json.dumps(self.kafka.addresses), "GATEWAY_TOKEN": TOKEN}

    def jaeger(self) -> tuple[Program, Jaeger, str]:
        """A Jaeger on this Cassandra, not yet started, its API, and the port where it takes spans."""
        ports = JaegerPorts.free()
        program = programs.jaeger(ports, self.folder / "jaeger", "jaeger-cassandra.yaml", self.cassandra.for_jaeger)
        return program, Jaeger(ports.query), f"127.0.0.1:{ports.otlp}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with KafkaCluster(folder / "kafka") as kafka, Cassandra(folder / "cassandra") as cassandra:
        yield Cluster(kafka, cassandra, folder)


def _collector(cluster: Cluster, configuration: str, name: str, **variables: str) -> tuple[Program, CollectorPorts]:
    ports = CollectorPorts.free()
    return programs.collector(configuration, ports, cluster.folder / name, variables), ports


def test_no_trace_is_split_between_two_consumers(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    """Agent runs of four spans, of which the third has an anomaly, while one of two consumers is killed."""
    variables = cluster.topic("whole-traces")
    jaeger, traces, otlp = cluster.jaeger()
    sampling = {"SHARE_PERCENT": "0", "DECISION_WAIT": "40s", "JAEGER_OTLP_ENDPOINT": otlp}
    producer, ports = _collector(cluster, "scale-producer.yaml", "whole-producer", **variables)
    killed, _ = _collector(cluster, "scale-consumer.yaml", "whole-consumer-1", **variables, **sampling)
    left, left_ports = _collector(cluster, "scale-consumer.yaml", "whole-consumer-2", **variables, **sampling)
    runs = 40
    with jaeger, producer, killed, left:
        with _agents(ports.http, 4, f"text+slow+invalid_json={runs // 4}"):
            time.sleep(4.0)  # in the middle of their runs
            killed.kill()
        stored = eventually(
            lambda: traces.traces("agents"),
            lambda stored: sum(len(trace["spans"]) for trace in stored) >= 4 * runs,
            timeout=60,
        )
        read = scraped(left_ports.own_metrics, "otelcol_receiver_accepted_spans")

    whole = [trace for trace in stored if len({span["spanID"] for span in trace["spans"]}) == 4]
    record_property("whole traces", f"{len(whole)} of {runs}")
    print(f"\n{len(whole)} of {runs} traces are whole; the consumer that was left read {read:.0f} spans")
    assert len(stored) == runs  # no anomaly is lost
    assert len(whole) == runs


def test_nothing_is_lost_when_a_broker_a_consumer_and_jaeger_die(
    cluster: Cluster, scripted: str, record_property: Callable[[str, object], None]
) -> None:
    variables = cluster.topic("everything")
    jaeger, traces, otlp = cluster.jaeger()
    sampling = {"SHARE_PERCENT": "100", "JAEGER_OTLP_ENDPOINT": otlp}
    producer, ports = _collector(cluster, "scale-producer.yaml", "producer", **variables)
    killed, _ = _collector(cluster, "scale-consumer.yaml", "consumer-1", **variables, **sampling)
    left, _ = _collector(cluster, "scale-consumer.yaml", "consumer-2", **variables, **sampling)
    with producer, killed, left:
        with jaeger:
            _requests(scripted, ports, REQUESTS // 4)
            eventually(lambda: _stored(traces), lambda stored: len(stored) > 0)
            jaeger.kill()
        _requests(scripted, ports, REQUESTS // 4)
        cluster.kafka.brokers[0].kill()
        _requests(scripted, ports, REQUESTS // 4)
        killed.kill()
        _requests(scripted, ports, REQUESTS // 4)
        with jaeger:
            stored = eventually(lambda: _stored(traces), lambda stored: len(stored) >= REQUESTS, timeout=120)

    twice = sum(1 for times in stored.values() if times > 1)
    record_property("spans", f"{len(stored)} of {REQUESTS}, {twice} of them twice")
    print(f"\n{len(stored)} of {REQUESTS} spans after the death of a broker, a consumer and Jaeger, {twice} twice")
    assert len(stored) == REQUESTS
    # Writing a span again overwrites it.
    assert twice == 0


def _requests(base_url: str, ports: CollectorPorts, count: int) -> None:
    run_instrumented(str(TRAFFIC), base_url, f"calls={count}", **_through(ports.http))


def _through(port: int) -> dict[str, Any]:
    """Send to the producer itself, as an agent would: over HTTP, with the token."""
    return {
        "otlp_port": port,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer {TOKEN}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }


@contextlib.contextmanager
def _agents(port: int, count: int, wanted: str) -> Iterator[None]:
    """Run that many applications at once, each with a server of its own; returns when all have succeeded."""
    from otel_llm.demo.scripted_server import ScriptedServer
    from tests.helpers.pipeline.traffic import answer

    options = _through(port)
    options.pop("otlp_port")
    with ScriptedServer(answer) as server:
        command = [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, str(TRAFFIC)]
        agents = [
            subprocess.Popen([*command, server.base_url, wanted], env={**environment(port, "agents"), **options})
            for _ in range(count)
        ]
        try:
            yield
            assert [agent.wait(120) for agent in agents] == [0] * count
        finally:
            for agent in agents:
                agent.kill()
                agent.wait()


def _stored(traces: Jaeger) -> dict[str, int]:
    return times_stored(traces.spans("app"))
