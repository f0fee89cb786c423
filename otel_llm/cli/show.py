"""``otel-llm show``: prints the timelines of requests that the view keeps, or of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_llm.cli.arguments import count
from otel_llm.cli.output import line_printer, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "show",
        help="print the timelines of stored requests",
        description="Prints the requests that `otel-llm view` keeps, the newest last, or those of a file of OTLP"
        " JSON or of recorded responses.",
    )
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="OTLP JSON or recorded responses to print instead"
    )
    parser.add_argument(
        "--db", type=Path, metavar="FILE", help="the database of `otel-llm view`, if not the default one"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--request", metavar="ID", help="print this request")
    which.add_argument("--last", type=count, default=10, metavar="N", help="print the newest N (10)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each request")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print requests; 0, 1 if there are none, 2 if they cannot be read."""
    from otel_llm.protocol.errors import UnreadableError

    try:
        from otel_llm.view import store as _store  # noqa: F401 - needs protobuf
        from otel_llm.view.database import StoreError
    except ImportError as error:
        return _fail(f"needs {error.name}: pip install 'otel-llm[view]'")
    show = _show_json if arguments.json else _text_shower()
    if show is None:
        return _fail("needs rich and opentelemetry-sdk: pip install 'otel-llm[timeline]' (or use --json)")
    shown = False
    try:
        for message in _messages(arguments):
            show(message)
            shown = True
    except (StoreError, UnreadableError) as error:
        return _fail(str(error))
    if not shown:
        which = "there is no request" if arguments.request is None else f"no request has the id {arguments.request!r}"
        say(f"otel-llm show: {which}")
        return 1
    return 0


def _fail(sentence: str) -> int:
    say(f"otel-llm show: {sentence}")
    return 2


def _messages(arguments: argparse.Namespace) -> Iterator[ResourceSpans]:
    from otel_llm.protocol.errors import UnreadableError
    from otel_llm.view import spans
    from otel_llm.view.database import StoreError, default_path
    from otel_llm.view.recordings import read_file
    from otel_llm.view.store import Store
    from otel_llm.view.summary import is_request, request_id

    if arguments.file is not None:
        try:
            read = read_file(arguments.file)
        except OSError as error:
            raise UnreadableError(f"{arguments.file}: {error.strerror}") from None
        except UnreadableError as error:
            raise UnreadableError(f"{arguments.file}: {error}") from None
        for sentence in read.unshown:
            say(f"otel-llm show: {arguments.file}: {sentence}")
        for message in spans.single_spans(read.request):
            span = spans.read(message, deltas=False)
            if is_request(span) and arguments.request in {None, request_id(span.trace_id, span.span_id)}:
                yield message
        return
    path = arguments.db or default_path()
    if not path.exists():
        raise StoreError(f"{path} does not exist: `otel-llm view` creates it")
    store = Store(path)
    try:
        wanted = [arguments.request]
        if arguments.request is None:
            wanted = [one["id"] for one in reversed(store.page({}, arguments.last).requests)]
        for wanted_id in wanted:
            found = store.message(wanted_id)
            if found is not None:
                yield found
    finally:
        store.close()


def _show_json(message: ResourceSpans) -> None:
    from otel_llm.view import spans
    from otel_llm.view.detail import detail

    print(json.dumps(detail(spans.read(message))), flush=True)


def _text_shower() -> Callable[[ResourceSpans], None] | None:
    """A function that prints a timeline, None if a package is missing."""
    try:
        from otel_llm import terminal

        print_lines = line_printer()
    except ImportError:
        return None
    return lambda message: print_lines([*terminal.timeline(_readable(message)), []])


def _readable(message: ResourceSpans) -> Any:
    """The span as the OpenTelemetry SDK gives it to an exporter."""
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import SpanContext, Status, StatusCode

    from otel_llm.exchanges.otlp import attributes_of

    span = message.scope_spans[0].spans[0]
    is_error = span.status.code == 2
    return ReadableSpan(
        span.name,
        context=SpanContext(int.from_bytes(span.trace_id, "big"), int.from_bytes(span.span_id, "big"), is_remote=True),
        attributes=attributes_of(span.attributes),
        events=[Event(event.name, attributes_of(event.attributes), event.time_unix_nano) for event in span.events],
        status=Status(StatusCode.ERROR, span.status.message) if is_error else Status(),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
    )
