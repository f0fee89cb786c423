"""Runs an instrumented application like the user's, which sends the telemetry of two test streams all the way."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.demo.command import opentelemetry_instrument
from otel_llm.demo.scripted_server import ScriptedServer
from otel_llm.demo.scripts import BROKEN_STREAMS, HEALTHY_CONVERSATION
from otel_llm.doctor.application import REPORT

if TYPE_CHECKING:
    from collections.abc import Mapping

STREAMS: Final = 2
HEALTHY_CALLS: Final = ("add_task", "list_tasks")
BROKEN_CALLS: Final = ("add_task",)
ANOMALY: Final = BROKEN_STREAMS[0].named

_TIMEOUT: Final = 60.0  # seconds
_EXPORT_TIMEOUT: Final = 5.0  # seconds for one signal, unless the environment sets less
# They would affect only the test, or send it elsewhere.
_REDIRECTING: Final = (
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_LLM_LOG",
    "OPENAI_LOG",
    "OPENAI_BASE_URL",
)


class Trial(NamedTuple):
    """The result. `spans`: how many ended, None if the application failed. `log`: its standard error."""

    service: str
    spans: int | None
    log: str


def run_trial(environ: Mapping[str, str]) -> Trial:
    """Play both streams to an application with this environment. Takes seconds, at most a minute."""
    service = f"otel-llm-doctor-{secrets.token_hex(4)}"
    command = [*opentelemetry_instrument(), sys.executable, "-m", "otel_llm.doctor.application"]
    with ScriptedServer([HEALTHY_CONVERSATION[0], BROKEN_STREAMS[0].script]) as server:
        try:
            ended = subprocess.run(  # noqa: S603 - our own module
                [*command, server.base_url],
                env=_environment(environ, service),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="backslashreplace",
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return Trial(service, None, _text(late.stderr) + f"\nIt was still running after {_TIMEOUT:.0f} s.")
    return Trial(service, _spans(ended.stdout), ended.stderr)


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
