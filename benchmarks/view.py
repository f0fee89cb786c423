"""Measures the cost and the response times of `otel-llm view`, beside Jaeger (if built) and Phoenix (if on the PATH).

usage: python -m benchmarks.view [--spans N] [--requests N]        (make bench-view)

The first part uses the spans of `benchmarks.pipeline`. The same four senders send them over gRPC to the view and to
Jaeger, over HTTP to the view, and a thousand of them over HTTP to Phoenix. The spans of the second part have a thousand
deltas each. Sender and receiver share this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.metadata
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import psutil
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from packaging.requirements import Requirement

from benchmarks import phoenix
from benchmarks.pipeline import BATCH, encoded_batches
from otel_llm.telemetry import semconv
from stack import programs, tools
from stack.cache import BuildError
from stack.program import ProgramError
from stack.programs import JaegerPorts

_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_SENDERS: Final = 4
_DELTAS: Final = 1000
_MANY_DELTAS: Final = 100_000
_MB: Final = 2**20
_FEW_BATCHES: Final = 2
_SECONDS_TO_REST: Final = 3
_ASKED: Final = 15  # requests, of which the median counts
_QUESTIONS: Final = (
    ("the list", "/api/requests"),
    ("1000 requests of the list", "/api/requests?limit=1000"),
    ("a search", "/api/requests?q=write_file"),
    ("a search without matches", "/api/requests?q=nothing+of+the+kind"),
    ("one tool", "/api/requests?tool=write_file"),
    ("facets", "/api/facets"),
)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.view", description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=20_000, help="how many spans to send to each")
    parser.add_argument("--requests", type=int, default=10_000, help="how many requests the measured list has")
    asked = parser.parse_args()
    print(f"packages beyond the core: {_weight() / _MB:.1f} MB")
    with tempfile.TemporaryDirectory(prefix="otel-llm-bench-") as folder:
        _start(Path(folder))
        batches = encoded_batches(-(-asked.spans // BATCH))
        count = len(batches) * BATCH
        print(f"{count} spans of {sum(map(len, batches)) / count:.0f} bytes, {BATCH} at a time, {os.cpu_count()} CPUs")
        for way in ("gRPC", "HTTP"):
            with _view(Path(folder) / f"{way}.db") as view:
                _ingest(f"view, {way}", view.process, batches, view.grpc if way == "gRPC" else view.http, way)
        try:
            ports = JaegerPorts.free()
            with programs.jaeger(ports, Path(folder) / "jaeger") as jaeger:
                _ingest(
                    "Jaeger in memory, gRPC", psutil.Process(jaeger.pid), batches, f"127.0.0.1:{ports.otlp}", "gRPC"
                )
        except (tools.MissingToolError, BuildError, ProgramError) as error:
            print(f"without Jaeger: {error}", file=sys.stderr)
        if phoenix.is_there():
            _beside_phoenix(Path(folder), batches[:_FEW_BATCHES])
        _answers(Path(folder) / "answers.db", asked.requests)
    return 0


def _beside_phoenix(folder: Path, batches: list[bytes]) -> None:
    count = len(batches) * BATCH
    with _view(folder / "few.db") as view:
        _ingest(f"view, {count} spans, HTTP", view.process, batches, view.http, "HTTP")
    with phoenix.phoenix(folder / "phoenix") as other:
        idle = other.process.memory_info().rss
        print(f"Phoenix, from the command to the page: {other.seconds:.2f} s; {idle / _MB:.0f} MB of memory")
        began = time.perf_counter()
        _send_http(other.address, batches)
        answered = time.perf_counter() - began
        other.wait_for(count)
        seconds = time.perf_counter() - began
        memory = other.process.memory_info().rss
        print(
            f"Phoenix, {count} spans, HTTP: answered after {answered:.1f} s, stored after {seconds:.1f} s,"
            f" {count / seconds:.0f} spans per second; {memory / _MB:.0f} MB of memory then"
        )


class _View:
    def __init__(self, process: psutil.Popen, page: str, otlp: str, grpc_address: str) -> None:
        self.process, self.page, self.http, self.grpc = process, page, otlp, grpc_address


@contextlib.contextmanager
def _view(db: Path) -> Iterator[_View]:
    command = [str(Path(sys.executable).with_name("otel-llm")), "view", "--no-open", "--db", str(db)]
    ports = ["--port", "0", "--otlp-http", "0", "--otlp-grpc", "0"]
    process = psutil.Popen([*command, *ports], stderr=subprocess.PIPE, text=True)
    try:
        said = process.stderr.readline() + process.stderr.readline()
        addresses = re.findall(r"http://(\S+)", said)
        if len(addresses) != 3:
            raise ProgramError(said)
        yield _View(process, *addresses)
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def _weight() -> int:
    """Bytes of the distributions that the extra brings and the core does not."""
    return sum(_bytes(name) for name in _needed("otel-llm", "view") - _needed("otel-llm", ""))


def _needed(name: str, extra: str) -> set[str]:
    found: set[str] = set()
    waiting = [(name, extra)]
    while waiting:
        one, of = waiting.pop()
        for line in importlib.metadata.requires(one) or ():
            required = Requirement(line)
            if required.marker is None or required.marker.evaluate({"extra": of}):
                key = required.name.lower().replace("_", "-")
                if key not in found:
                    found.add(key)
                    waiting += [(key, wanted) for wanted in (*required.extras, "")]
    return found


def _bytes(name: str) -> int:
    files = importlib.metadata.files(name) or ()
    paths = [Path(str(file.locate())) for file in files if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _start(folder: Path) -> None:
    times, size = [], 0
    for number in range(5):
        began = time.perf_counter()
        with _view(folder / f"start-{number}.db") as view:
            with urllib.request.urlopen(f"http://{view.page}/") as page:
                page.read()
            times.append(time.perf_counter() - began)
            cpu = view.process.cpu_times()
            size = view.process.memory_info().rss
    print(
        f"from the command to the page: {min(times):.2f} s at best, {statistics.median(times):.2f} s in the median"
        f" ({cpu.user + cpu.system:.2f} s of CPU); {size / _MB:.0f} MB of memory"
    )


def _ingest(name: str, process: psutil.Process, batches: list[bytes], address: str, way: str) -> None:
    before = process.cpu_times()
    began = time.perf_counter()
    with ThreadPoolExecutor(_SENDERS) as threads:
        send = _send_grpc if way == "gRPC" else _send_http
        for sender in [threads.submit(send, address, batches[number::_SENDERS]) for number in range(_SENDERS)]:
            sender.result()
    seconds = time.perf_counter() - began
    after = process.cpu_times()
    count = len(batches) * BATCH
    cpu = after.user + after.system - before.user - before.system
    most = process.memory_info().rss
    time.sleep(_SECONDS_TO_REST)
    print(
        f"{name}: {count / seconds:.0f} spans per second, {cpu / count * 1e6:.0f} us of CPU a span,"
        f" {most / _MB:.0f} MB of memory then, {process.memory_info().rss / _MB:.0f} MB {_SECONDS_TO_REST} s later",
        flush=True,
    )


def _send_grpc(address: str, batches: list[bytes]) -> None:
    with grpc.insecure_channel(address) as channel:
        send = channel.unary_unary(_METHOD, request_serializer=bytes, response_deserializer=bytes)
        for batch in batches:
            send(batch, timeout=60)


def _send_http(address: str, batches: list[bytes]) -> None:
    with contextlib.closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        for batch in batches:
            connection.request("POST", "/v1/traces", batch, {"content-type": "application/x-protobuf"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise ProgramError(f"the view responded with status {answer.status}")
            answer.read()


def _answers(db: Path, count: int) -> None:
    """Response times with `count` requests of a thousand deltas, and with one of a hundred thousand."""
    with _view(db) as view:
        began = time.perf_counter()
        for start in range(0, count, 20):
            _send_http(view.http, [_long_spans(min(20, count - start), _DELTAS)])
        print(f"{count} requests of {_DELTAS} deltas were stored in {time.perf_counter() - began:.0f} s")
        for name, path in _QUESTIONS:
            print(f"  {name}: {_median(partial(_get, view.page, path)) * 1e3:.1f} ms")
        newest = re.search(rb'"id": "([0-9a-f-]+)"', _get(view.page, "/api/requests?limit=1"))
        path = f"/api/requests/{newest.group(1).decode()}" if newest else ""
        print(f"  one request of {_DELTAS} deltas: {_median(lambda: _get(view.page, path)) * 1e3:.0f} ms")
        print(f"  memory: {view.process.memory_info().rss / _MB:.0f} MB")
        _send_http(view.http, [_long_spans(1, _MANY_DELTAS)])
        newest = re.search(rb'"id": "([0-9a-f-]+)"', _get(view.page, "/api/requests?limit=1"))
        path = f"/api/requests/{newest.group(1).decode()}" if newest else ""
        print(f"  one of {_MANY_DELTAS} deltas: {_median(lambda: _get(view.page, path)) * 1e3:.0f} ms")
        print(f"  memory: {view.process.memory_info().rss / _MB:.0f} MB")
    size = sum(path.stat().st_size for path in db.parent.glob(f"{db.name}*"))
    print(f"  the file: {size / _MB:.0f} MB")


def _get(address: str, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{address}{path}") as answer:
        return bytes(answer.read())


def _median(ask: Callable[[], Any]) -> float:
    times = []
    for _ in range(_ASKED):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _long_spans(count: int, deltas: int) -> bytes:
    """Spans of one call each, with `deltas` deltas that differ from each other."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for _ in range(count):
        started = time.time_ns()
        span = spans.add(
            trace_id=os.urandom(16),
            span_id=os.urandom(8),
            name=f"{semconv.OPERATION_CHAT} m",
            start_time_unix_nano=started,
            end_time_unix_nano=started + 10**10,
        )
        _set(
            span,
            {
                semconv.GEN_AI_OPERATION_NAME: semconv.OPERATION_CHAT,
                semconv.GEN_AI_REQUEST_MODEL: "m",
                semconv.OTEL_LLM_STREAM_OUTCOME: "completed",
            },
        )
        where: dict[str, int | str] = {semconv.OTEL_LLM_CHOICE_INDEX: 0, semconv.OTEL_LLM_TOOL_CALL_INDEX: 0}
        who: dict[str, int | str] = {
            semconv.GEN_AI_TOOL_NAME: "write_file",
            semconv.GEN_AI_TOOL_CALL_ID: os.urandom(8).hex(),
        }
        _set(span.events.add(name=semconv.EVENT_TOOL_CALL_DETECTED, time_unix_nano=started), where | who)
        _set(span.events.add(name=semconv.EVENT_TOOL_CALL_NAME, time_unix_nano=started), where | who)
        words = os.urandom(2 * deltas).hex()
        length = 0
        for number in range(deltas):
            length += 4
            event = span.events.add(
                name=semconv.EVENT_TOOL_CALL_ARGUMENTS_DELTA, time_unix_nano=started + number * 10**4
            )
            told: dict[str, int | str] = {semconv.OTEL_LLM_DELTA_COUNT: 1, semconv.OTEL_LLM_ARGUMENTS_LENGTH: length}
            _set(event, where | told | {semconv.GEN_AI_TOOL_CALL_ARGUMENTS: words[length - 4 : length]})
        told = {semconv.OTEL_LLM_DELTA_COUNT: deltas, semconv.OTEL_LLM_ARGUMENTS_LENGTH: length}
        end = span.events.add(name=semconv.EVENT_TOOL_CALL_COMPLETED, time_unix_nano=started + 10**10)
        _set(end, where | who | told | {semconv.GEN_AI_TOOL_CALL_ARGUMENTS: words[:200]})
    return request.SerializeToString()


def _set(holder: Span | Span.Event, values: dict[str, int | str] | dict[str, str]) -> None:
    for key, value in values.items():
        entry = holder.attributes.add(key=key)
        if isinstance(value, int):
            entry.value.int_value = value
        else:
            entry.value.string_value = value


if __name__ == "__main__":
    sys.exit(main())
