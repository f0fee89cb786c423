"""The OTLP endpoints of `otel-llm view`, through the real exporters and against broken bodies."""

from __future__ import annotations

import base64
import gzip
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm.exchanges import otlp as otlp_messages
from otel_llm.view import http
from otel_llm.view.api import Api, Live
from otel_llm.view.database import StoreError
from otel_llm.view.http import Room
from otel_llm.view.intake import Intake
from otel_llm.view.receiver import Receiver, refuse
from otel_llm.view.server import Application
from otel_llm.view.store import Store
from tests.helpers.viewing import OTEL_LLM, Viewer, call, id_of, otlp, span, viewing

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
TRACE_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    with viewing(tmp_path_factory.mktemp("view") / "v.db") as viewer:
        yield viewer


def as_protobuf(*made: dict[str, Any]) -> bytes:
    return bytes(otlp_messages.parse_json(json.dumps(otlp(*made))).SerializeToString())


def made_by_the_sdk(service: str, count: int) -> Any:
    """Ended spans of the real SDK."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("otel_llm")
    for number in range(count):
        with tracer.start_as_current_span("chat m", attributes={"gen_ai.operation.name": "chat", "n": number}) as one:
            one.add_event("otel_llm.text.started", {"otel_llm.choice.index": 0})
    return memory.get_finished_spans()


def exporter_of(view: Viewer, kind: str, timeout: float = 20) -> SpanExporter:
    how, _, compression = kind.partition("-")
    if how == "http":
        packed = Compression(compression or "none")
        return HttpExporter(endpoint=f"{view.http}/v1/traces", compression=packed, timeout=timeout)
    packed_grpc = {"": None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}[compression]
    return GrpcExporter(endpoint=view.grpc, insecure=True, compression=packed_grpc, timeout=timeout)


@pytest.mark.parametrize("kind", ["http", "http-gzip", "http-deflate", "grpc", "grpc-gzip", "grpc-deflate"])
def test_spans_of_real_exporters_are_stored_when_acknowledged(view: Viewer, kind: str) -> None:
    exporter = exporter_of(view, kind)
    made = made_by_the_sdk(kind, 50)
    # Twice: the connection is used again.
    for part in (made[:1], made[1:]):
        assert exporter.export(part) is SpanExportResult.SUCCESS
    exporter.shutdown()
    got = view.requests(service=kind)
    assert [one["span_id"] for one in got] == [format(one.context.span_id, "016x") for one in reversed(made)]
    assert got[-1]["started"] == made[0].start_time / 1e6


def test_a_large_batch_over_grpc(view: Viewer) -> None:
    exporter = exporter_of(view, "grpc")
    provider_spans = made_by_the_sdk("large", 3000)
    assert exporter.export(provider_spans) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert view.get("/api/requests", service="large")["total"] == 3000


def test_many_exporters_at_the_same_time(view: Viewer) -> None:
    def export(number: int) -> None:
        exporter = exporter_of(view, "grpc" if number % 2 else "http")
        results.extend(exporter.export(made_by_the_sdk("crowd", 5)) for _ in range(5))
        exporter.shutdown()

    results: list[Any] = []
    threads = [threading.Thread(target=export, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [SpanExportResult.SUCCESS] * 40
    assert view.get("/api/requests", service="crowd")["total"] == 200


def test_metrics_and_logs_are_accepted_and_dropped(view: Viewer) -> None:
    before = view.get("/api/requests")["total"]
    exporter = GrpcMetricExporter(endpoint=view.grpc, insecure=True, timeout=20)
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, 1e9)])
    provider.get_meter("m").create_counter("c").add(1)
    assert provider.force_flush()
    provider.shutdown()
    for path in ("/v1/metrics", "/v1/logs"):
        answer = httpx.post(view.http + path, content=b"", headers=PROTOBUF)
        assert (answer.status_code, answer.content) == (200, b"")
    assert view.get("/api/requests")["total"] == before


def test_otlp_json(view: Viewer) -> None:
    made = span(*call(0, "add_task", '{"title": ', '"a"}'))
    # Unknown fields of newer senders are ignored; names may be protobuf's.
    made["newField"] = {"a": [1]}
    made["status"] = {"code": 2, "message": "broken"}
    view.send(made, resource={"service.name": "json"})
    (got,) = view.requests(service="json")
    assert got["id"] == id_of(made)
    assert got["tools"] == ["add_task"]
    assert view.detail(got["id"])["status"] == {"code": "error", "message": "broken"}


def test_a_span_that_is_sent_again_is_stored_once(view: Viewer) -> None:
    made = span()
    for name in ("chat once", "chat twice"):
        view.send(made | {"name": name}, resource={"service.name": "again"})
    assert [one["name"] for one in view.requests(service="again")] == ["chat twice"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff\xff", PROTOBUF, 400),
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b'{"resourceSpans": 3}', JSON, 400),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}', JSON, 400),
        (json.dumps(otlp(span() | {"spanId": "abcd"})).encode(), JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"\xff\xfe{", JSON, 400),
        (b"not gzip", PROTOBUF | {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"a" * 1000, mtime=0)[:-20], PROTOBUF | {"content-encoding": "gzip"}, 400),
        (b"", PROTOBUF | {"content-encoding": "br"}, 415),
        (b"", {"content-type": "text/plain"}, 415),
        (b"", {}, 415),
        (gzip.compress(bytes(200 * 2**20), 1, mtime=0), PROTOBUF | {"content-encoding": "gzip"}, 413),
        (zlib.compress(bytes(200 * 2**20), 1), JSON | {"content-encoding": "deflate"}, 413),
        (bytes(65 * 2**20), PROTOBUF, 413),
    ],
)
def test_malformed_bodies(view: Viewer, body: bytes, headers: dict[str, str], status: int) -> None:
    before = view.get("/api/requests")["total"]
    answer = httpx.post(f"{view.http}/v1/traces", content=body, headers=headers, timeout=60)
    assert answer.status_code == status, answer.text
    if headers.get("content-type") == "application/x-protobuf":
        assert answer.headers["content-type"] == "application/x-protobuf"
        told = Status.FromString(answer.content)
        assert told.code in {3, 8, 12}
        assert told.message
    else:
        assert answer.json()["message"]
    assert view.get("/api/requests")["total"] == before


def test_other_methods(view: Viewer) -> None:
    assert httpx.get(f"{view.http}/v1/traces").status_code == 405
    assert httpx.options(f"{view.http}/v1/traces", headers={"origin": "http://evil.example"}).status_code == 403


def unary(view: Viewer, method: str, body: bytes, **options: Any) -> grpc.RpcError:
    address = view.grpc.removeprefix("http://")
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        send = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.RpcError) as raised:
            send(body, timeout=60, **options)
    return raised.value


def test_grpc_statuses(view: Viewer) -> None:
    broken: Any = unary(view, TRACE_METHOD, b"\xff\xff")
    assert broken.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "ExportTraceServiceRequest" in broken.details()
    other: Any = unary(view, "/opentelemetry.proto.collector.trace.v1.TraceService/Import", b"")
    assert other.code() is grpc.StatusCode.UNIMPLEMENTED
    # It is refused before its body arrives, and the connection stays usable.
    unread: Any = unary(view, "/no.such.Service/Method", bytes(5 * 2**20))
    assert unread.code() is grpc.StatusCode.UNIMPLEMENTED
    large: Any = unary(view, TRACE_METHOD, bytes(65 * 2**20))
    assert large.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    bomb: Any = unary(view, TRACE_METHOD, bytes(100 * 2**20), compression=grpc.Compression.Gzip)
    assert bomb.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_further_senders_are_asked_to_retry_when_it_is_full(tmp_path: Path) -> None:
    live, room = Live(), Room(1000)
    intake = Intake(Store(tmp_path / "v.db"), lambda told: live.tell("request", told))
    api = Api(Store(tmp_path / "v.db"), intake, live, room)
    application = Application(api, Receiver(intake, room), None)
    body = as_protobuf(span())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application),  # type: ignore[arg-type]
        base_url="http://localhost",
    ) as client:
        with room.share() as take:
            take(900)
            answer = await client.post("/v1/traces", content=body, headers=PROTOBUF)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        status = Status.FromString(answer.content)
        assert status.code == 14
        assert (await client.post("/v1/traces", content=body, headers=PROTOBUF)).status_code == 200
        # For example on a full disk: what is not stored is not acknowledged.
        intake._store.close()
        assert (await client.post("/v1/traces", content=body, headers=PROTOBUF)).status_code == 503
    intake.close()
    api.close()


async def test_grpc_senders_are_asked_to_retry() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the body must not be read")

    scope = {
        "method": "POST",
        "path": TRACE_METHOD,
        "query_string": b"",
        "headers": [(b"content-type", b"application/grpc")],
    }
    await refuse(http.Request(scope, receive, send), http.RefusedError(503, "Too much: ä\n"))
    trailers = dict(sent[-1]["headers"])
    assert trailers[b"grpc-status"] == b"14"
    assert trailers[b"grpc-message"] == b"Too much: %C3%A4%0A"
    encoded = trailers[b"grpc-status-details-bin"]
    status = Status.FromString(base64.b64decode(encoded + b"=" * (-len(encoded) % 4)))
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.retry_delay.seconds > 0


@pytest.mark.parametrize("pieces", [1, 3])
def test_gzip_in_several_members(pieces: int) -> None:
    parts = [os.urandom(5000) for _ in range(pieces)]
    assert http.decompress(b"".join(map(gzip.compress, parts)), "gzip") == b"".join(parts)


def test_deflate_with_and_without_the_head_of_zlib() -> None:
    raw = zlib.compressobj(wbits=-15)
    assert http.decompress(raw.compress(b"abc") + raw.flush(), "deflate") == b"abc"
    assert http.decompress(zlib.compress(b"abc"), "deflate") == b"abc"


def test_it_ends_quietly_while_exporters_send(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()

    def export(view: Viewer) -> None:
        exporter = exporter_of(view, "grpc", timeout=1)
        while not ended.is_set() and exporter.export(made_by_the_sdk("busy", 200)) is SpanExportResult.SUCCESS:
            pass
        exporter.shutdown()

    with viewing(tmp_path / "v.db") as view:
        threads = [threading.Thread(target=export, args=(view,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        while view.get("/api/requests")["total"] < 1000:
            time.sleep(0.05)
        view.process.terminate()
        assert view.process.wait(30) == 0
        ended.set()
        for thread in threads:
            thread.join(60)
        assert view.said_later() == ""
    # Every failure can be retried.
    assert "UNKNOWN, error" not in caplog.text


@pytest.mark.parametrize("how", ["http", "grpc"])
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, how: str) -> None:
    acknowledged: list[str] = []
    enough = threading.Event()

    def export(view: Viewer) -> None:
        exporter = exporter_of(view, how, timeout=2)
        while True:
            made = made_by_the_sdk("killed", 3)
            if exporter.export(made) is not SpanExportResult.SUCCESS:
                return
            acknowledged.extend(format(one.context.span_id, "016x") for one in made)
            if len(acknowledged) >= 300:
                enough.set()

    with viewing(tmp_path / "v.db") as view:
        threads = [threading.Thread(target=export, args=(view,), daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        view.process.kill()
        view.process.wait()
        known = set(acknowledged)
    with viewing(tmp_path / "v.db") as view:
        page = view.get("/api/requests", limit=1000)
        kept = {one["span_id"] for one in page["requests"]}
        while page["next"]:
            page = view.get("/api/requests", limit=1000, after=page["next"])
            kept |= {one["span_id"] for one in page["requests"]}
    assert len(known) >= 300
    assert known <= kept
    for thread in threads:
        thread.join(60)


def test_a_database_of_another_program(tmp_path: Path) -> None:
    import sqlite3
    import subprocess

    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE precious (a)")
    other.commit()
    other.close()
    with pytest.raises(StoreError, match="something else"):
        Store(tmp_path / "other.db")
    done = subprocess.run(
        [OTEL_LLM, "view", "--no-open", "--port", "0", "--db", str(tmp_path / "other.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "is a database of something else" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_full_disk_is_reported_until_there_is_room_again(tmp_path: Path) -> None:
    resource: Any = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("the disk is filled by a limit of Linux")
    db = tmp_path / "v.db"
    with viewing(db) as view:
        before = span()
        view.send(before)
        written = (tmp_path / "v.db-wal").stat().st_size
        no_limit = resource.prlimit(view.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(view.process.pid, resource.RLIMIT_FSIZE, (written + 10_000, no_limit[1]))
        for size in (100_000, 8_000_000):  # written when it is committed; before that
            refused = span(attributes={"noise": os.urandom(size).hex()})
            answer = httpx.post(f"{view.http}/v1/traces", json=otlp(refused), timeout=30, trust_env=False)
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
            assert "disk" in answer.json()["message"]
            assert [one["id"] for one in view.requests()] == [id_of(before)]
        resource.prlimit(view.process.pid, resource.RLIMIT_FSIZE, no_limit)
        after = span()
        view.send(after)
        assert {one["id"] for one in view.requests()} == {id_of(before), id_of(after)}
