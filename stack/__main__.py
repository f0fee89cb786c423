"""Start the collector, Jaeger and Prometheus on this machine, print their addresses, and stop them on Ctrl-C.

usage: python -m stack        (make stack)
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stack import build, programs, tools
from stack.cache import BuildError
from stack.ports import preferred_port
from stack.program import ProgramError

if TYPE_CHECKING:
    from stack.program import Program

_WATCH_INTERVAL: Final = 0.5  # seconds
_COLLECTOR: Final = programs.CollectorPorts(grpc=4317, http=4318, prometheus=8889, own_metrics=8888, health=13133)
_JAEGER: Final = programs.JaegerPorts(otlp=14317, query=16686, query_grpc=16685, health=14133)
_PROMETHEUS: Final = 9090


def main() -> int:
    """Run until Ctrl-C, SIGTERM or the end of a program. Return 0 in the first two cases, 1 if something fails."""
    # If this process is killed or its terminal is closed, stop the programs too.
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.default_int_handler)
    try:
        # Check this first, because building takes minutes.
        tools.find("prometheus")
        build.collector()
        build.jaeger()
        with tempfile.TemporaryDirectory(prefix="otel-llm-stack-") as folder, contextlib.ExitStack() as running:
            _watch(_started(Path(folder), running))
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except (tools.MissingToolError, BuildError, ProgramError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 1


def _started(folder: Path, running: contextlib.ExitStack) -> list[Program]:
    """Start all three, to be stopped when ``running`` is closed, and print their addresses."""
    collector = programs.CollectorPorts(*(preferred_port(port) for port in vars(_COLLECTOR).values()))
    jaeger = programs.JaegerPorts(*(preferred_port(port) for port in vars(_JAEGER).values()))
    prometheus = preferred_port(_PROMETHEUS)
    scraped = {"applications": [collector.prometheus], "collector": [collector.own_metrics]}
    started = [
        running.enter_context(program)
        for program in (
            programs.jaeger(jaeger, folder / "jaeger"),
            programs.collector(
                "local.yaml",
                collector,
                folder / "collector",
                {"JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{jaeger.otlp}"},
            ),
            programs.prometheus(prometheus, scraped, folder / "prometheus"),
        )
    ]
    print(
        f"""
The stack is running, on the loopback interface only. It keeps no data after it stops.

  applications send to   http://127.0.0.1:{collector.grpc} (gRPC) or http://127.0.0.1:{collector.http} (HTTP)
  traces                 http://127.0.0.1:{jaeger.query}/api/traces?service=SERVICE
  metrics                http://127.0.0.1:{prometheus}/graph
  dashboards             with Docker only: docker compose up

In another terminal:
{_export_line(collector.grpc)}
  make demo              an agent, and some broken streams
  opentelemetry-instrument python app.py

Ctrl-C stops it.""",
        flush=True,
    )
    return started


def _export_line(port: int) -> str:
    if port == _COLLECTOR.grpc:
        return ""  # the default of every OpenTelemetry SDK
    return f"\n  export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{port}"


def _watch(started: list[Program]) -> None:
    """Wait until one of them ends, then raise ProgramError."""
    while True:
        for program in started:
            if program.has_ended():
                raise ProgramError(f"{program.name} has stopped:\n{program.last_lines()}")
        time.sleep(_WATCH_INTERVAL)


if __name__ == "__main__":
    sys.exit(main())
