"""The command line: ``otel-llm``, one module for each subcommand."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from otel_llm._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand that ``argv`` (or ``sys.argv``) names; the value is the process's exit status.

    It is 130 after an interrupt, 141 if the reader of standard output has gone, and 74 if that cannot be written to.
    Raises SystemExit as argparse does: for ``--help`` and ``--version``, and with status 2 for wrong usage.
    """
    from otel_llm.cli.output import finished, print_anywhere

    print_anywhere()
    try:
        return finished(lambda: _run(argv))
    except KeyboardInterrupt:
        return 130  # what a shell reports for a process that was interrupted


def _run(argv: Sequence[str] | None) -> int:
    from otel_llm.cli import chat, demo, doctor, explain, inspect, probe, proxy, record, replay, show, view

    parser = argparse.ArgumentParser(
        prog="otel-llm",
        description="OpenTelemetry for streaming tool calls of language models.",
        epilog="Besides each command's own, exit statuses are 130 after an interrupt (0 for `view`), 141 if the reader"
        " of standard output has gone (`otel-llm inspect FILE | head`), and 74 if it cannot be written to.",
    )
    parser.add_argument("--version", action="version", version=f"otel-llm {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo.add_parser(commands)
    chat.add_parser(commands)
    inspect.add_parser(commands)
    record.add_parser(commands)
    replay.add_parser(commands)
    probe.add_parser(commands)
    proxy.add_parser(commands)
    explain.add_parser(commands)
    doctor.add_parser(commands)
    view.add_parser(commands)
    show.add_parser(commands)
    arguments = parser.parse_args(argv)
    arguments.argv = sys.argv[1:] if argv is None else list(argv)
    status: int = arguments.run(arguments)
    return status
