"""Runs an application as its user does, bare and under `opentelemetry-instrument`, and collects what it sends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typing_extensions import Self

APPS = Path(__file__).with_name("apps")
# What a library would fetch or report there is nobody to answer, and a question on the terminal neither.
_QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TESTING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += [(scope.scope.name, span) for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@dataclass
class Run:
    """What an application told on its standard output, a JSON value a line, and the spans it sent, oldest first.

    `spans` are otel-llm's, `others` those of the framework and of the application itself.
    """

    told: list[Any]
    spans: list[Any] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)

    def above(self, span: Any) -> list[str]:
        """The names of the spans around `span`, innermost first."""
        by_id = {other.span_id: other for other in [*self.spans, *self.others]}
        names = []
        while span.parent_span_id:
            span = by_id[span.parent_span_id]
            names.append(span.name)
        return names

    def events(self, position: int) -> list[str]:
        return [event.name for event in self.spans[position].events]

    def attribute(self, position: int, name: str) -> Any:
        for attribute in self.spans[position].attributes:
            if attribute.key == name:
                value = attribute.value
                return getattr(value, value.WhichOneof("value"))
        return None

    @property
    def anomalies(self) -> list[str]:
        return [
            attribute.value.string_value
            for span in self.spans
            for event in span.events
            for attribute in event.attributes
            if attribute.key == "otel_llm.anomaly.type"
        ]


def run_bare(app: str, *arguments: str) -> Run:
    return Run(_run([sys.executable, str(APPS / app), *arguments], {}))


def run_instrumented(app: str, *arguments: str) -> Run:
    command = [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, str(APPS / app)]
    with Collector() as collector:
        settings = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        }
        told = _run([*command, *arguments], settings)
    collector.spans.sort(key=lambda scoped: scoped[1].start_time_unix_nano)
    ours = [span for scope, span in collector.spans if scope == "otel_llm"]
    return Run(told, ours, [span for scope, span in collector.spans if scope != "otel_llm"])


def _run(command: list[str], settings: dict[str, str]) -> list[Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    # Some keep settings and caches at home.
    with tempfile.TemporaryDirectory() as home:
        environment |= _QUIET | {"HOME": home} | settings
        ended = subprocess.run(
            command, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False
        )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    return [json.loads(line) for line in ended.stdout.splitlines()]
