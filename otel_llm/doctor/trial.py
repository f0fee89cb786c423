"""Runs an instrumented application like the user's, which sends the telemetry of two test streams all the way."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.demo.command import opentelemetry_instrument
from otel_llm.demo.scripted_server import ScriptedServer
from otel_llm.doctor.application import REPORT
from otel_llm.doctor.sdk_requests import STREAMS_OF

if TYPE_CHECKING:
    from collections.abc import Mapping

STREAMS: Final = 2
HEALTHY_CALLS: Final = ("add_task", "list_tasks")
BROKEN_CALLS: Final = ("add_task",)

_TIMEOUT: Final = 60.0  # seconds
_EXPORT_TIMEOUT: Final = 5.0  # seconds for one signal, unless the environment sets less
# They would affect only the test, or send it elsewhere.
_REDIRECTING: Final = (
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_LLM_LOG",
    "OPENAI_LOG",
    "OPENAI_BASE_URL",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_PROFILE",
)


class Trial(NamedTuple):
    """The result. `spans`: how many ended, None if the application failed. `log`: its standard error.

    `anomaly`: what the span of the broken stream names.
    """

    service: str
    spans: int | None
    log: str
    anomaly: str


def run_trial(environ: Mapping[str, str], package: str) -> Trial:
    """Play both streams to an application with this environment, which reads them through the SDK of this package.

    Takes seconds, at most a minute.
    """
    service = f"otel-llm-doctor-{secrets.token_hex(4)}"
    command = [*opentelemetry_instrument(), sys.executable, "-m", "otel_llm.doctor.application"]
    streams = STREAMS_OF[package]
    with ScriptedServer(streams.scripts()) as server:
        try:
            ended = subprocess.run(  # noqa: S603 - our own module
                [*command, package, server.base_url],
                env=_environment(environ, service),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="backslashreplace",
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            log = _text(late.stderr) + f"\nIt was still running after {_TIMEOUT:.0f} s."
            return Trial(service, None, log, streams.anomaly)
    return Trial(service, _spans(ended.stdout), ended.stderr, streams.anomaly)


def _environment(environ: Mapping[str, str], service: str) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if name not in _REDIRECTING}
    for name in list(kept):
        if name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("_TIMEOUT"):
            kept[name] = _not_longer(kept[name])
    kept.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", f"{_EXPORT_TIMEOUT:.0f}")
    return kept | {"OTEL_SERVICE_NAME": service, "OTEL_LLM_LOG": "false", "PYTHONUTF8": "1"}


def _not_longer(timeout: str) -> str:
    try:
        return timeout if float(timeout) <= _EXPORT_TIMEOUT else f"{_EXPORT_TIMEOUT:.0f}"
    except ValueError:
        return timeout


def _spans(stdout: str) -> int | None:
    for line in reversed(stdout.splitlines()):
        if line.startswith(REPORT):
            return int(json.loads(line.removeprefix(REPORT))["spans"])
    return None


def _text(output: str | bytes | None) -> str:
    # After a timeout it is bytes, even with an encoding.
    return output.decode("utf-8", "backslashreplace") if isinstance(output, bytes) else output or ""
