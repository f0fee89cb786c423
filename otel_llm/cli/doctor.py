"""``otel-llm doctor``: does the telemetry of an application with this environment arrive?

    otel-llm doctor
    ok       collector: The collector at http://127.0.0.1:13133/ is healthy.
    failed   Jaeger: Jaeger cannot be reached at http://127.0.0.1:16686: nothing listens there. ...

Two test streams take the whole path. Nothing leaves this machine but their spans and metrics.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from typing import TYPE_CHECKING, Any, Final

from otel_llm.cli.output import console, line_printer
from otel_llm.exchanges.server_url import check_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.doctor.finding import Finding

_STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_WIDTH: Final = max(map(len, _STYLES))


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "doctor",
        help="check that an application's telemetry arrives, and find out why it does not",
        description="Check, in the environment of an application, that its telemetry arrives: what keeps it from being "
        "created, whether two test streams reach the collector, Jaeger and Prometheus, and what to do if they do not. "
        "Exit status: 0 nothing failed, 1 something failed, 2 a package is missing.",
    )
    parser.add_argument(
        "--collector-health",
        type=_url,
        default="http://127.0.0.1:13133/",
        metavar="URL",
        help="the collector's health endpoint (default: %(default)s)",
    )
    parser.add_argument(
        "--collector-metrics",
        type=_url,
        default="http://127.0.0.1:8888/metrics",
        metavar="URL",
        help="the collector's own metrics, read if spans do not arrive (default: %(default)s)",
    )
    for name, default in (("jaeger", "http://127.0.0.1:16686"), ("prometheus", "http://127.0.0.1:9090")):
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            f"--{name}", type=_url, default=default, metavar="URL", help=f"{name.title()}'s API (default: %(default)s)"
        )
        group.add_argument(f"--no-{name}", dest=name, action="store_const", const=None, help=f"skip {name.title()}")
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=20.0,
        metavar="SECONDS",
        help="how long to wait for the test streams in Jaeger and in Prometheus, each (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, instead of lines")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run all checks; 0 if none failed, 1 if one failed, 2 if a package is missing."""
    from otel_llm.doctor.checkup import PackagesMissing, Questions, checkup
    from otel_llm.exchanges.redaction import masked, secrets_in_environment

    environ = dict(os.environ)
    secrets = secrets_in_environment(environ)
    questions = Questions(
        arguments.collector_health,
        arguments.collector_metrics,
        arguments.jaeger,
        arguments.prometheus,
        arguments.wait,
    )
    show = _silent if arguments.json else _printer()
    findings: list[Finding] = []
    is_complete = True
    try:
        for found in checkup(environ, questions):
            finding = found._replace(sentence=masked(" ".join(found.sentence.split()), secrets))
            findings.append(finding)
            show(finding)
    except PackagesMissing:
        is_complete = False
    has_failed = any(finding.status == "failed" for finding in findings)
    if arguments.json:
        whole = {"ok": not has_failed, "checks": [finding._asdict() for finding in findings]}
        print(json.dumps(whole, indent=2))
    if not is_complete:
        return 2
    return 1 if has_failed else 0


def _url(text: str) -> str:
    try:
        check_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text.rstrip("/")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 3600")
    return seconds


def _silent(_finding: Finding) -> None:
    """JSON is printed at the end, in one piece."""


def _printer() -> Callable[[Finding], None]:
    """Prints a line for each finding, in colour if rich is installed and the output is a terminal."""
    try:
        print_lines = line_printer() if console().is_terminal else None
    except ImportError:
        print_lines = None
    if print_lines is None:
        return _print_plain

    def show(finding: Finding) -> None:
        status = (f"{finding.status:<{_WIDTH}}  ", _STYLES[finding.status])
        print_lines([[status, (f"{finding.check}: ", "bold"), (finding.sentence, "")]])

    return show


def _print_plain(finding: Finding) -> None:
    print(f"{finding.status:<{_WIDTH}}  {finding.check}: {finding.sentence}", flush=True)
