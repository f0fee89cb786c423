"""``otel-llm inspect FILE``: runs the diagnosis of live streams on recorded ones.

Exit status: 0 nothing is wrong, 1 there is an anomaly or a response failed, 2 a file, or the rest of one, cannot be
read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otel_llm.cli.arguments import add_stall_seconds
from otel_llm.cli.output import line_printer, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from otel_llm.exchanges.verdicts import Verdict

_SHOWN_CHUNKS: Final = 6
_SHOWN_OF_A_CHUNK: Final = 400


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "inspect",
        help="show what happened in a recorded stream, and what is wrong with it",
        description="Reads streams saved by `curl -N`, chunks (JSON Lines or a list), responses, recordings of"
        " `otel-llm record`, VCR cassettes, HTTP archives, recordings of Polly.js, nock and httprr, and OTLP JSON, each"
        " also compressed by gzip. Exit status: 0 nothing is wrong, 1 there is an anomaly or a response failed, 2 a"
        " file cannot be read.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a file, or - for standard input")
    parser.add_argument(
        "--request",
        type=Path,
        metavar="FILE",
        help="the request's JSON body (tools, tool_choice), for files without it",
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each response")
    add_stall_seconds(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Inspect all files; the value is the exit status."""
    from otel_llm.exchanges.opening import opened
    from otel_llm.protocol.errors import UnreadableError
    from otel_llm.protocol.json_values import parse_json

    request = None
    if arguments.request is not None:
        try:
            with opened(arguments.request) as file:
                request = parse_json(file.read().decode("utf-8-sig"))
            if not isinstance(request, dict):
                raise UnreadableError("it is not a JSON object")
        except (OSError, UnicodeDecodeError, UnreadableError) as error:
            return _cannot_read(arguments.request, error)
    show = _show_json if arguments.json else _text_shower()
    if show is None:
        say("otel-llm inspect needs rich: pip install 'otel-llm[cli]' (or use --json)")
        return 2
    return max(_inspect(path, request, arguments.stall_seconds, show) for path in arguments.files)


def _inspect(path: Path, request: dict[str, Any] | None, stall_seconds: float, show: Any) -> int:
    from otel_llm.protocol.errors import UnreadableError

    status = 0
    try:
        for verdict in _verdicts(path, request, stall_seconds):
            show(path, verdict)
            if verdict.anomalies or verdict.outcome == "error":
                status = 1
    except UnreadableError as error:
        return _cannot_read(path, error)
    return status


def _verdicts(path: Path, request: dict[str, Any] | None, stall_seconds: float) -> Iterator[Verdict]:
    """The verdicts on a file's responses. Raises UnreadableError, also after verdicts."""
    from otel_llm.exchanges.reading import read_exchanges
    from otel_llm.exchanges.verdicts import judge
    from otel_llm.protocol.errors import UnreadableError

    verdict = None
    try:
        for verdict in judge(read_exchanges(path), request=request, stall_seconds=stall_seconds):
            yield verdict
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
    if verdict is None:
        raise UnreadableError("it holds no chat completion and no response of the Responses API")


def _cannot_read(path: Path, error: Exception) -> int:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    say(f"otel-llm: {path}: {why}")
    return 2


def _show_json(path: Path, verdict: Verdict) -> None:
    from otel_llm.protocol.unicode_text import exportable

    value = {
        "file": str(path),
        "title": verdict.title,
        "outcome": verdict.outcome,
        "note": verdict.note,
        "attributes": dict(verdict.attributes),
        "events": [
            {"name": name, "time": (time_ns - verdict.started_ns) / 1e9 if verdict.timed else None, **attributes}
            for name, time_ns, attributes in verdict.events
        ],
        "anomalies": [
            {
                "type": anomaly.type,
                "detail": exportable(anomaly.detail),
                "choice_index": anomaly.choice_index,
                "tool_call_index": anomaly.tool_call_index,
                "chunks": [
                    {"number": excerpt.number, "offset": excerpt.offset, "text": exportable(excerpt.text)}
                    for excerpt in excerpts
                ],
            }
            for anomaly, excerpts in verdict.anomalies
        ],
    }
    print(json.dumps(value, default=str), flush=True)


def _text_shower() -> Any:
    """A function that prints a verdict as text, None if rich is missing."""
    try:
        from otel_llm import terminal
        from otel_llm.exchanges.verdicts import UNREAD

        print_lines = line_printer()
    except ImportError:
        return None

    def show(path: Path, verdict: Verdict) -> None:
        lines: list[terminal.Line] = [[(f"{terminal.plain(path, 1000)}: ", "dim"), (terminal.plain(verdict.title), "")]]
        if verdict.outcome == UNREAD:
            print_lines([[*lines[0], (f": {terminal.plain(verdict.note)}", "dim")]])
            return
        lines += terminal.timeline(_span(verdict), timed=verdict.timed)
        print_lines([*lines, *_evidence(verdict), []])

    return show


def _evidence(verdict: Verdict) -> Iterator[list[tuple[str, str]]]:
    from otel_llm import terminal

    for anomaly, excerpts in verdict.anomalies:
        if not excerpts:
            continue
        yield [("   ", ""), (anomaly.type, "bold red"), ("  in", "dim")]
        for excerpt in excerpts[:_SHOWN_CHUNKS]:
            chunk = f"chunk {excerpt.number}, " if excerpt.number else ""
            where = f"      {chunk}byte {excerpt.offset}  "
            yield [(where, "dim"), (terminal.plain(excerpt.text, _SHOWN_OF_A_CHUNK), "")]


def _span(verdict: Verdict) -> Any:
    """A span with the contents of the verdict, to be printed as a timeline."""
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import Status, StatusCode

    from otel_llm.telemetry import semconv

    model = verdict.attributes.get(semconv.GEN_AI_REQUEST_MODEL)
    status = Status(StatusCode.ERROR, verdict.note) if verdict.note else Status()
    return ReadableSpan(
        f"{semconv.OPERATION_CHAT} {model}".rstrip(),
        attributes=dict(verdict.attributes),
        events=[Event(name, attributes, time_ns) for name, time_ns, attributes in verdict.events],
        status=status,
        start_time=verdict.started_ns,
        end_time=verdict.ended_ns,
    )
