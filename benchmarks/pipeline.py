"""Measures the throughput of the pipeline in spans per second, and the bytes per span, with the real programs.

usage: python -m benchmarks.pipeline [--spans N]        (make bench-stack)

The spans come from 512 real requests, turns of agents with two tool calls each. They are sent repeatedly with new ids,
and are encoded beforehand, so that only the pipeline is measured, from the first request to the last span that Jaeger
accepted. Sender, collectors, stores and Kafka share this machine.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gzip
import http.client
import json
import os
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import openai
import psutil
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm import OpenAIInstrumentor
from otel_llm.demo.scripted_server import DONE, ScriptedServer, Step, chunk, tool_call_chunks, usage_chunk
from otel_llm.telemetry.semconv import SERVICE_NAME
from stack import programs, tools
from stack.cache import BuildError
from stack.cassandra import Cassandra
from stack.kafka import KafkaCluster
from stack.program import Program, ProgramError
from stack.programs import CollectorPorts, JaegerPorts

BATCH: Final = 512  # spans that the OpenTelemetry SDK sends at once
_SENDERS: Final = 4
_TIMEOUT: Final = 300.0  # seconds
_TOKEN: Final = "benchmark"
_TOPIC: Final = "otel-llm-spans"
_PARTITIONS: Final = 12
_TOOLS: Final[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("add_task", "list_tasks")
]


def main() -> int:
    """Measure each tier and print a line for it. Returns 1 if a program is missing or fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=20_000, help="how many spans to send through each tier")
    count: int = parser.parse_args().spans
    batches = encoded_batches(-(-count // BATCH))
    count = len(batches) * BATCH
    size = sum(map(len, batches)) / count
    packed = sum(len(gzip.compress(batch, 6)) for batch in batches[:4]) / (4 * BATCH)
    print(f"{count} spans in batches of {BATCH}; {os.cpu_count()} CPUs")
    print(f"bytes per span: {size:.0f} as OTLP, {packed:.0f} with gzip")
    try:
        for tier in (local, agent_and_gateway, distributed):
            with tempfile.TemporaryDirectory(prefix="otel-llm-bench-") as folder:
                tier(batches, count, Path(folder))
    except (tools.MissingToolError, BuildError, ProgramError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def local(batches: list[bytes], count: int, folder: Path) -> None:
    """local.yaml and Jaeger in memory."""
    collector, jaeger = CollectorPorts.free(), JaegerPorts.free()
    to_jaeger = {"JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{jaeger.otlp}"}
    with (
        programs.jaeger(jaeger, folder / "jaeger"),
        programs.collector("local.yaml", collector, folder / "collector", to_jaeger) as program,
    ):
        seconds = _seconds_through(collector.http, None, batches, lambda: _sent(collector) >= count)
        _report("local.yaml", count, seconds, {"collector": program})


def agent_and_gateway(batches: list[bytes], count: int, folder: Path) -> None:
    """agent.yaml, gateway.yaml without sampling, and Jaeger in memory."""
    agent, gateway, jaeger = CollectorPorts.free(), CollectorPorts.free(), JaegerPorts.free()
    token = {"GATEWAY_TOKEN": _TOKEN}
    to_gateway = {**token, "GATEWAY_ENDPOINT": f"http://127.0.0.1:{gateway.http}"}
    to_jaeger = {**token, "JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{jaeger.otlp}", "SHARE_PERCENT": "100"}
    with (
        programs.jaeger(jaeger, folder / "jaeger"),
        programs.collector("gateway.yaml", gateway, folder / "gateway", to_jaeger) as second,
        programs.collector("agent.yaml", agent, folder / "agent", to_gateway) as first,
    ):
        seconds = _seconds_through(agent.http, None, batches, lambda: _sent(gateway) >= count)
        _report("agent.yaml, gateway.yaml", count, seconds, {"agent": first, "gateway": second})


def distributed(batches: list[bytes], count: int, folder: Path) -> None:
    """scale-producer.yaml, three Kafka brokers, one scale-consumer.yaml without sampling, and Jaeger on Cassandra."""
    producer, consumer, jaeger = CollectorPorts.free(), CollectorPorts.free(), JaegerPorts.free()
    with KafkaCluster(folder / "kafka") as kafka, Cassandra(folder / "cassandra") as cassandra:
        kafka.create_topic(_TOPIC, _PARTITIONS)
        to_kafka = {
            "GATEWAY_TOKEN": _TOKEN,
            "KAFKA_BROKERS": json.dumps(kafka.addresses),
            "KAFKA_TOPIC": _TOPIC,
            "JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{jaeger.otlp}",
            "SHARE_PERCENT": "100",
        }
        with programs.collector("scale-producer.yaml", producer, folder / "producer", to_kafka) as first:
            seconds = _seconds_through(producer.http, _TOKEN, batches, lambda: _sent(producer) >= count)
            _report("scale-producer.yaml, to Kafka", count, seconds, {"producer": first})
        log = sum(file.stat().st_size for file in folder.glob(f"kafka/broker-0/data/{_TOPIC}-*/*.log"))
        print(f"  bytes per span in Kafka: {log / count:.0f} on each of three brokers")
        with (
            programs.jaeger(jaeger, folder / "jaeger", "jaeger-cassandra.yaml", cassandra.for_jaeger) as store,
            programs.collector("scale-consumer.yaml", consumer, folder / "consumer", to_kafka) as second,
        ):
            began = time.perf_counter()
            _wait(lambda: _sent(consumer) >= count)
            _report(
                "scale-consumer.yaml, from Kafka to Cassandra",
                count,
                time.perf_counter() - began,
                {"consumer": second, "jaeger": store, "cassandra": cassandra},
            )
        written = sum(file.stat().st_size for file in folder.glob("cassandra/data/**/*.db"))
        written += sum(file.stat().st_size for file in folder.glob("cassandra/commitlog/*.log"))
        print(
            f"  bytes per span in Cassandra, at most (its logs are allocated in pieces of 32 MB): {written / count:.0f}"
        )


def encoded_batches(count: int) -> list[bytes]:
    """``count`` OTLP requests with ``BATCH`` spans each; every span has its own ids."""
    request = ExportTraceServiceRequest()
    request.CopyFrom(encode_spans(_real_spans()))
    encoded = []
    for _ in range(count):
        for span in request.resource_spans[0].scope_spans[0].spans:
            span.trace_id, span.span_id = os.urandom(16), os.urandom(8)
        encoded.append(request.SerializeToString())
    return encoded


def _real_spans() -> tuple[ReadableSpan, ...]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "bench"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=provider, log=False)
    try:
        with ScriptedServer(_turn) as server, openai.OpenAI(base_url=server.base_url, api_key="unused") as client:
            for _ in range(BATCH):
                question: Any = [{"role": "user", "content": "What is on my list?"}]
                list(client.chat.completions.create(model="m", messages=question, stream=True, tools=_TOOLS))
    finally:
        instrumentor.uninstrument()
    return exporter.get_finished_spans()


def _turn(_body: object) -> list[Step]:
    """What a model says in one turn: two calls, with titles that do not compress well."""
    title, list_id = base64.b64encode(os.urandom(24)).decode(), uuid.uuid4()
    return [
        *tool_call_chunks("add_task", f'{{"title": "{title}", "list": "{list_id}"}}', id=f"call_{uuid.uuid4()}"),
        *tool_call_chunks("list_tasks", f'{{"list": "{list_id}"}}', id=f"call_{uuid.uuid4()}", index=1),
        chunk(finish_reason="tool_calls"),
        usage_chunk(140, 31),
        DONE,
    ]


def _seconds_through(port: int, token: str | None, batches: list[bytes], arrived: Callable[[], bool]) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(_SENDERS) as threads:
        for sender in [threads.submit(_send, port, token, batches[number::_SENDERS]) for number in range(_SENDERS)]:
            sender.result()
    _wait(arrived)
    return time.perf_counter() - began


def _send(port: int, token: str | None, batches: list[bytes]) -> None:
    headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {token}"}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)) as connection:
        for batch in batches:
            while True:
                connection.request("POST", "/v1/traces", batch, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    break
                if answer.status not in {429, 503}:
                    raise ProgramError(f"The collector responded with status {answer.status}.")
                time.sleep(0.05)  # it is full, so try again, as the OpenTelemetry SDK does


def _sent(ports: CollectorPorts) -> float:
    """How many spans the collector's exporters have delivered."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.own_metrics}/metrics", timeout=10) as response:
        lines: Iterator[str] = iter(response.read().decode().splitlines())
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("otelcol_exporter_sent_spans{"))


def _wait(arrived: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not arrived():
        if time.monotonic() > deadline:
            raise ProgramError(f"Not all spans arrived within {_TIMEOUT:.0f} s.")
        time.sleep(0.1)


def _report(tier: str, count: int, seconds: float, used: dict[str, Program]) -> None:
    parts = []
    for name, program in used.items():
        process = psutil.Process(program.pid)
        processor = process.cpu_times()
        parts.append(
            f"{name} {(processor.user + processor.system) / count * 1e6:.0f} us of CPU a span, "
            f"{process.memory_info().rss >> 20} MiB"
        )
    print(f"{tier}: {count / seconds:.0f} spans per second ({'; '.join(parts)})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
