"""`otel-llm doctor` without a collector, Jaeger or Prometheus: the environment, and nothing that listens."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest

from otel_llm import AnthropicInstrumentor
from otel_llm.cli import main
from otel_llm.doctor import collector
from otel_llm.doctor.destination import Destination
from otel_llm.doctor.environment import read_environment
from otel_llm.doctor.exports import export_findings, read_failures
from otel_llm.doctor.sdk_requests import STREAMS_OF
from otel_llm.doctor.sdks import installed_sdks
from otel_llm.exchanges.redaction import masked, secrets_in_environment

SECRET = "s3cret-token-of-the-test"
INSTRUMENTATIONS = {entry.name for entry in entry_points(group="opentelemetry_instrumentor")}
OTHERS = ",".join(sorted(name for name in INSTRUMENTATIONS if not name.startswith("otel_llm")))


def found(**variables: str) -> dict[str, tuple[str, str]]:
    """The findings about an environment: status and sentence by check, preferring those that are not ok."""
    variables = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": OTHERS, **variables}
    findings = sorted(read_environment(variables).findings, key=lambda finding: finding.status != "ok")
    return {finding.check: (finding.status, finding.sentence) for finding in findings}


def test_an_sdk_that_is_turned_off() -> None:
    read = read_environment({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai,otel_llm_anthropic"})
    told = [finding for finding in read.findings if finding.check == "instrumentation"]
    assert [finding.status for finding in told] == ["warning", "ok"]
    assert "contains otel_llm_anthropic, so anthropic is not observed" in told[0].sentence
    assert "anthropic" not in told[1].sentence
    assert read.makes_spans


def test_an_sdk_of_a_version_that_is_not_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnthropicInstrumentor, "_VERSIONS", "anthropic >= 99")
    read = read_environment({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai"})
    told = [finding for finding in read.findings if finding.check == "instrumentation"]
    assert [finding.status for finding in told] == ["warning", "ok"]
    assert told[0].sentence.startswith(f"anthropic {version('anthropic')} is installed")


def test_an_empty_environment_has_no_problem() -> None:
    assert {status for status, _ in found().values()} == {"ok"}
    assert found()["destination of traces"][1] == "Traces go to http://localhost:4317 over grpc (the default)."


@pytest.mark.parametrize(
    ("variables", "check", "status", "said"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, "instrumentation", "failed", "OTEL_SDK_DISABLED=true"),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "a, otel_llm"}, "instrumentation", "failed", "turns otel-llm off"),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}, "instrumentation", "failed", "turns otel-llm off"),
        (
            {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ""},
            "instrumentation",
            "warning",
            "opentelemetry-instrumentation-genai-openai (as openai)",
        ),
        (
            {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai"},
            "instrumentation",
            "ok",
            f"openai {version('openai')}, and nothing else instruments them",
        ),
        (
            {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai"},
            "instrumentation",
            "ok",
            f"otel-llm observes anthropic {version('anthropic')}",
        ),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "sampler", "failed", "drops every trace"),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.05"},
            "sampler",
            "warning",
            "keeps 5% of its traces, and loses anomalies",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
            "sampler",
            "failed",
            "drops every trace",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "5%"},
            "sampler",
            "warning",
            "is not a ratio between 0 and 1",
        ),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "sampler", "warning", "is not an installed sampler"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "destination of traces", "failed", "traces go nowhere"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "destination of traces", "failed", "traces go to console"),
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "destination of traces", "failed", "jaeger, which is not installed"),
        ({"OTEL_METRICS_EXPORTER": "none"}, "destination of metrics", "warning", "metrics go nowhere"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "destination of traces",
            "failed",
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/json",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"},
            "destination of traces",
            "warning",
            "port 4318 is usually for http",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "destination of metrics",
            "warning",
            "port 4317 is usually for grpc. Set OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/v1/traces",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            "destination of traces",
            "failed",
            "http://c:4318/v1/traces/v1/traces. Remove /v1/... from",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "destination of traces",
            "warning",
            "accepts traces at /v1/traces",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"}, "destination of traces", "warning", "so gRPC uses TLS"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "destination of traces",
            "failed",
            "does not start with http:// or https://",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:port"},
            "destination of traces",
            "failed",
            "is not a URL with a host and a port",
        ),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "10000"}, "destination of traces", "warning", "in Python this is in seconds"),
        ({"HTTP_PROXY": "http://proxy:1"}, "destination of traces", "warning", "list localhost in NO_PROXY"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "authorization: Bearer x"}, "headers", "failed", "1 of the headers in"),
        (
            {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://far.example:4317"},
            "headers",
            "warning",
            "does not use TLS",
        ),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such/file.pem"}, "tls", "failed", "/no/such/file.pem"),
        ({"OTEL_LLM_STALL_SECONDS": "soon"}, "options", "warning", "OTEL_LLM_STALL_SECONDS 'soon' is not used"),
        (
            {"OTEL_LLM_ARGUMENTS_LIMIT": "9"},
            "options",
            "warning",
            "OTEL_LLM_ARGUMENTS_LIMIT is not a variable of otel-llm",
        ),
        ({"OTEL_LLM_EVENTS": "none"}, "options", "warning", "spans have no events"),
        (
            {"OTEL_CONFIG_FILE": "otel.yaml"},
            "destination",
            "warning",
            "OTEL_CONFIG_FILE configures the OpenTelemetry SDK",
        ),
    ],
)
def test_problems_are_found(variables: dict[str, str], check: str, status: str, said: str) -> None:
    got = found(**variables)[check]
    assert got[0] == status
    assert said in got[1]


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        },
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://far.example:443", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=x"},
        {"HTTP_PROXY": "http://proxy:1", "NO_PROXY": "localhost"},
        {"OTEL_TRACES_EXPORTER": "otlp,console"},
        {"OTEL_LLM_TOOL_CALL_TAGS": "openai", "OTEL_LLM_EVENTS": "span,log"},
    ],
)
def test_valid_settings_raise_no_finding(variables: dict[str, str]) -> None:
    assert {status for status, _ in found(**variables).values()} == {"ok"}


DESTINATION = Destination("traces", "grpc", "http://c:4317", "OTEL_EXPORTER_OTLP_ENDPOINT")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("error code: StatusCode.UNAVAILABLE, error details: ipv4:1: Connection refused", "Nothing listens at"),
        ("error code: StatusCode.UNAVAILABLE, error details: DNS resolution failed", "cannot be resolved"),
        ("error code: StatusCode.PERMISSION_DENIED, error details: no", "denies permission"),
        ("error code: StatusCode.RESOURCE_EXHAUSTED, error details: too much", "is overloaded"),
        ("error code: StatusCode.DEADLINE_EXCEEDED, error details: late", "did not answer in time"),
        ("batch code: 404, reason: Not Found", "does not accept traces"),
        ("SSLCertVerificationError CERTIFICATE_VERIFY_FAILED", "is not trusted"),
        ("something never seen", "The exporter reports: Failed to export traces to c:4317, something never seen"),
    ],
)
def test_log_lines_of_exporters_are_explained(line: str, said: str) -> None:
    failures = read_failures(f"noise\nFailed to export traces to c:4317, {line}\nmore noise\n")
    (finding,) = export_findings(failures, {"traces": DESTINATION}, {"traces": "no token"})
    assert finding.status == "failed"
    assert said in finding.sentence


def test_the_cause_before_a_timeout_is_reported() -> None:
    log = (
        "Transient error StatusCode.UNAVAILABLE encountered while exporting traces to c, retrying: Connection refused\n"
        "Failed to export traces to c, error code: StatusCode.DEADLINE_EXCEEDED, error details: Deadline Exceeded"
    )
    (finding,) = export_findings(read_failures(log), {"traces": DESTINATION}, {"traces": ""})
    assert finding.status == "failed"
    assert finding.sentence.startswith("Nothing listens at")


def test_success_after_retries_is_a_warning() -> None:
    line = (
        "Transient error StatusCode.UNAVAILABLE encountered while exporting traces to c, retrying: Connection refused"
    )
    (finding,) = export_findings(read_failures(line), {"traces": DESTINATION}, {"traces": ""})
    assert finding.status == "warning"
    assert "only after retries" in finding.sentence


@pytest.mark.parametrize(
    "headers",
    [
        f"authorization=Bearer {SECRET}",
        f"authorization=Bearer%20{SECRET}",
        f"x-tenant=a,api-key={SECRET}",
        f"authorization: Bearer {SECRET}",
        SECRET,
    ],
)
def test_secrets_are_masked_in_every_spelling(headers: str) -> None:
    secrets = secrets_in_environment(
        {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": headers, "HTTPS_PROXY": "http://u:pass-word@p"}
    )
    for text in (headers, f"Header format invalid! {headers}", f"got {SECRET!r} from pass-word"):
        assert SECRET not in masked(text, secrets)
        assert "pass-word" not in masked(text, secrets)
    assert masked("http://user:pw@host/x?key=1 is there", []) == "http://****@host/x?**** is there"


def test_names_of_headers_are_not_masked() -> None:
    secrets = secrets_in_environment({"OTEL_EXPORTER_OTLP_HEADERS": f"x-tenant=a,api-key={SECRET}"})
    assert masked("sent with the headers x-tenant, api-key", secrets) == "sent with the headers x-tenant, api-key"


def metrics_page(*, waiting: object, sent: int) -> str:
    """A collector's own metrics, with an exporter for traces and one for metrics."""
    return (
        'otelcol_receiver_accepted_spans__spans__total{receiver="otlp"} 20\n'
        f'otelcol_exporter_queue_size{{data_type="traces",exporter="otlp_grpc/jaeger"}} {waiting}\n'
        'otelcol_exporter_queue_size{data_type="metrics",exporter="otlp_grpc/other"} 7\n'
        f'otelcol_exporter_sent_spans__spans__total{{exporter="otlp_grpc/jaeger"}} {sent}\n'
    )


@contextlib.contextmanager
def metrics_in_turn(*pages: str) -> Iterator[str]:
    """The URL of a collector's own metrics: these pages in turn, then always the last."""
    left = list(pages)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((left.pop(0) if len(left) > 1 else left[0]).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("pages", "status", "said"),
    [
        ([(2956, 4), (0, 6)], "warning", "none is stuck, refused or lost"),
        # Under load there is always a batch in transit.
        ([(2956, 4), (2900, 6), (3000, 8)], "warning", "none is stuck, refused or lost"),
        ([(2956, 4), (3000, 4)], "failed", "stuck in the queue of otlp_grpc/jaeger (3,000 in it), which cannot"),
        ([("nonsense", 4)], "warning", "none is stuck, refused or lost"),
    ],
)
def test_only_a_queue_that_does_not_drain_is_stuck(
    monkeypatch: pytest.MonkeyPatch, pages: list[tuple[object, int]], status: str, said: str
) -> None:
    monkeypatch.setattr(collector, "_QUEUE_GRACE", 1.0)
    with metrics_in_turn(*(metrics_page(waiting=waiting, sent=sent) for waiting, sent in pages)) as url:
        finding = collector.why_spans_are_missing(url)

    assert (finding.check, finding.status) == ("collector's metrics", status), finding.sentence
    assert said in finding.sentence


# -- the command --


def doctor(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command with only these telemetry settings, against addresses where nothing listens."""
    nobody = f"http://127.0.0.1:{closed_port()}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": nobody,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": OTHERS,
        "NO_PROXY": "127.0.0.1",
    }
    questions = ["--collector-health", nobody, "--collector-metrics", nobody]
    for name in ("jaeger", "prometheus"):
        if f"--no-{name}" not in options:
            questions += [f"--{name}", nobody]
    return subprocess.run(
        [str(Path(sys.executable).with_name("otel-llm")), "doctor", *questions, *options],
        env={**kept, **settings, **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_nothing_listens_anywhere() -> None:
    ended = doctor(OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer {SECRET}")

    assert (ended.returncode, ended.stderr) == (1, "")
    lines = ended.stdout.splitlines()
    assert [
        line for line in lines if line.startswith("ok       test streams: An instrumented application created 2 spans")
    ]
    for words in (
        "collector: No collector is running",
        "export of traces: Nothing listens at http://127.0.0.1:",
        "export of metrics: Nothing listens at http://127.0.0.1:",
        "Jaeger: Jaeger cannot be reached at http://127.0.0.1:",
        "Prometheus: Prometheus cannot be reached at http://127.0.0.1:",
    ):
        assert [line for line in lines if line.startswith(f"failed   {words}")], ended.stdout
    assert "skipped  trace: No span was accepted, so there is none to look for." in lines
    assert SECRET not in ended.stdout
    assert "\x1b" not in ended.stdout, "colours, although this is not a terminal"


def test_no_test_streams_if_no_span_would_be_created() -> None:
    ended = doctor("--no-jaeger", "--no-prometheus", "--json", OTEL_SDK_DISABLED="true")

    assert (ended.returncode, ended.stderr) == (1, "")
    report: dict[str, Any] = json.loads(ended.stdout)
    assert report["ok"] is False
    status = {one["check"]: one["status"] for one in report["checks"]}
    assert status["instrumentation"] == "failed"
    assert status["test streams"] == status["Jaeger"] == status["Prometheus"] == "skipped"
    assert all(one["sentence"] for one in report["checks"])


def test_an_opentelemetry_sdk_that_does_not_start_is_reported() -> None:
    ended = doctor("--no-jaeger", "--no-prometheus", OTEL_PYTHON_ID_GENERATOR="no-such-generator")

    assert ended.returncode == 1
    assert "failed   test streams: The test streams created no span. OpenTelemetry did not start:" in ended.stdout
    assert "no-such-generator" in ended.stdout


def test_a_remote_collector_is_not_expected_locally() -> None:
    ended = doctor("--no-jaeger", "--no-prometheus", OTEL_EXPORTER_OTLP_ENDPOINT="http://no-such-host.invalid:4317")

    assert "skipped  collector: There is no health endpoint" in ended.stdout
    assert "failed   export of traces: The host name in http://no-such-host.invalid:4317" in ended.stdout


def hidden(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let the SDKs of these packages be not installed, in this process."""
    for package in packages:
        monkeypatch.setitem(sys.modules, STREAMS_OF[package].module, None)


@pytest.mark.parametrize(
    "packages", [["openai"], [name for name in STREAMS_OF if name != "ollama"]], ids=["one", "most"]
)
def test_the_test_goes_through_another_sdk(packages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    hidden(monkeypatch, *packages)
    read = read_environment({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": OTHERS})
    left = next(name for name in STREAMS_OF if name not in packages)
    assert read.is_complete
    assert read.makes_spans
    assert read.sdk is not None
    assert (read.sdk.package, read.sdk.version) == (left, version(left))


def test_an_sdk_that_is_not_observed_is_not_used_for_the_test() -> None:
    read = read_environment({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": f"{OTHERS},otel_llm,otel_llm_anthropic"})
    told = [finding for finding in read.findings if finding.check == "instrumentation"]
    assert [finding.status for finding in told] == ["warning", "failed", "ok"]
    assert read.makes_spans
    assert read.sdk is not None
    assert read.sdk.package == "google-genai"


def test_no_sdk_is_observed() -> None:
    ours = ",".join(sdk.entry for sdk in installed_sdks())
    read = read_environment({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": f"{OTHERS},{ours}"})
    assert not read.makes_spans
    assert read.sdk is None
    assert "otel-llm observes none of the SDKs that are installed." in [one.sentence for one in read.findings]


def test_each_sdk_is_named_once_if_another_package_instruments_one() -> None:
    told = [one for one in read_environment({}).findings if one.check == "instrumentation"]
    assert [one.status for one in told] == ["warning", "ok"]
    assert "also instrument" in told[0].sentence
    assert "openai" in told[0].sentence
    assert "openai" not in told[1].sentence
    assert f"cerebras-cloud-sdk {version('cerebras-cloud-sdk')}" in told[1].sentence


def test_the_test_streams_through_the_first_sdk_that_is_observed() -> None:
    """The whole command, where the application is a process of its own."""
    ended = doctor("--no-jaeger", "--no-prometheus", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=f"{OTHERS},otel_llm")
    assert (ended.returncode, ended.stderr) == (1, "")
    said = "ok       test streams: An instrumented application created 2 spans for the test streams, read through "
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith(said)]
    assert line.startswith(f"{said}anthropic {version('anthropic')}, as otel-llm-doctor-")


def test_no_sdk_is_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    hidden(monkeypatch, *STREAMS_OF)
    assert main(["doctor"]) == 2
    shown = capsys.readouterr().out
    assert "failed   packages: none of openai, anthropic, google.genai, boto3, " in shown
    assert "pip install 'otel-llm[instruments,otlp]'" in shown


@pytest.mark.parametrize("module", ["opentelemetry.distro", "opentelemetry.exporter.otlp.proto.grpc"])
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL", raising=False)
    assert main(["doctor"]) == 2
    shown = capsys.readouterr().out
    assert f"failed   packages: {module} cannot be imported: pip install 'otel-llm[instruments,otlp]'" in shown
    assert "test streams" not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        ["--jaeger", "file:///etc/passwd"],
        ["--prometheus", "localhost:9090"],
        ["--wait", "for ever"],
        ["--wait", "nan"],
        ["--jaeger", "http://localhost:1", "--no-jaeger"],
    ],
)
def test_a_wrong_usage(capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", *wrong])
    assert "usage: otel-llm doctor" in capsys.readouterr().err
