"""A span exporter that prints the timeline of each request: OTEL_TRACES_EXPORTER=otel_llm_timeline.

Unprintable characters in text from a model are escaped, so that it cannot move the cursor, forge a line or be read as
markup.
"""

from __future__ import annotations

import logging
import os
import sys
from copy import copy
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from otel_llm.protocol.unicode_text import one_line
from otel_llm.telemetry import semconv
from otel_llm.transparency.faults import swallow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import Event, ReadableSpan
    from rich.console import Console

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of text, each with its style: a style of rich, or empty."""

_OUTCOME_STYLES: Final = {"completed": "green", "error": "bold red"}  # others: the caller stopped reading
_SHOWN_OF_A_VALUE: Final = 120  # characters
_SHOWN_OF_A_DETAIL: Final = 500  # characters
_WIDTH: Final = 80  # if the terminal reports none
_FIRST_DELTAS: Final = 5
_LAST_DELTAS: Final = 3


class TimelineSpanExporter(SpanExporter):
    """Prints the timeline of each request's span, and ignores other spans.

    It prints to `console`, which defaults to standard error, because standard output belongs to the application. Raises
    ImportError if `rich` is not installed.
    """

    def __init__(self, *, console: Console | None = None) -> None:
        try:
            from rich.console import Console
            from rich.text import Text
        except ImportError as error:
            raise ImportError(
                "OTEL_TRACES_EXPORTER=otel_llm_timeline needs rich: pip install 'otel-llm[timeline]'"
            ) from error
        # A copy, because the changes below must not affect the application's own output.
        self._console = copy(console) if console is not None else Console(stderr=True)
        # By default, rich reacts to a broken pipe by redirecting standard output to /dev/null and exiting.
        self._console.on_broken_pipe = self._on_broken_pipe  # type: ignore[method-assign]
        if self._console.width < 1:
            # COLUMNS=0: rich prints nothing at all, although lines are never wrapped.
            self._console.width = _WIDTH
        self._text = Text

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Print the spans of requests. Never raises: a span that cannot be printed is skipped, and logged once."""
        for span in spans:
            try:
                if _is_request(span):
                    self._print(timeline(span))
            except Exception as fault:  # noqa: BLE001, PERF203  the next span is printed all the same
                swallow("printing a timeline", fault)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to do: each span is printed immediately."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing to do, as above."""
        return True

    def _on_broken_pipe(self) -> None:
        self._console.quiet = True
        # Without a handler, logging would write the warning to the same broken pipe.
        if logging.getLogger("otel_llm").hasHandlers():
            raise BrokenPipeError("the reader of the timelines has closed its end")

    def _print(self, lines: list[Line]) -> None:
        text = self._text("\n").join(self._text.assemble(*line) for line in [*lines, []])
        # soft_wrap: long lines are not cut.
        with self._console.capture() as captured:
            self._console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)
        if not self._console.quiet:
            try:
                _write(self._console.file, captured.get())
            except BrokenPipeError:
                self._on_broken_pipe()


def _write(file: Any, text: str) -> None:
    """Write in one piece, so that the timelines of two threads do not mix, and without the file's buffer.

    After a broken pipe, a buffer would be flushed again when the interpreter exits, and fail its exit status.
    """
    file.flush()
    try:
        # Windows consoles do not take bytes.
        descriptor = None if sys.platform == "win32" else file.fileno()
    except (AttributeError, OSError, ValueError):
        descriptor = None
    if descriptor is None:
        file.write(text)
        file.flush()
        return
    rest = memoryview(text.encode(file.encoding or "utf-8", "backslashreplace"))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _is_request(span: ReadableSpan) -> bool:
    return any(key.startswith(semconv.NAMESPACE) for key in span.attributes or ()) or any(
        event.name.startswith(semconv.NAMESPACE) for event in span.events
    )


# -- lines --


def timeline(span: ReadableSpan, *, timed: bool = True) -> list[Line]:
    """The lines for one finished span: a summary of two lines, its error if any, and one line per event.

    `timed`: whether times were measured, and not only made up to keep the order.
    """
    started_ns = (span.start_time or 0) if timed else None
    lines = [*_summary(span, timed=timed), *_error(span)]
    choices = {_attributes(event).get(semconv.OTEL_LLM_CHOICE_INDEX, 0) for event in span.events}
    for is_delta, run in groupby(span.events, key=lambda event: event.name == semconv.EVENT_TOOL_CALL_ARGUMENTS_DELTA):
        shown = list(run)
        omitted = shown[_FIRST_DELTAS:-_LAST_DELTAS] if is_delta else []
        if len(omitted) > 1:
            head, tail = shown[:_FIRST_DELTAS], shown[-_LAST_DELTAS:]
        else:
            head, tail, omitted = shown, [], []
        lines += [line for event in head for line in _event(event, started_ns, choices)]
        if omitted:
            lines.append([(f"{'…':>10}{'':16}{_deltas_in(omitted)} omitted here", "dim")])
        lines += [line for event in tail for line in _event(event, started_ns, choices)]
    if span.dropped_events:
        lines.append([(f"{'':26}{_count(span.dropped_events, 'event')} dropped by the OpenTelemetry SDK", "yellow")])
    return lines


def _summary(span: ReadableSpan, *, timed: bool) -> Iterator[Line]:
    attributes = span.attributes or {}
    outcome = plain(attributes.get(semconv.OTEL_LLM_STREAM_OUTCOME, ""))
    first: Line = [("━━ ", "dim"), (plain(span.name), "bold")]
    provider = attributes.get(semconv.GEN_AI_PROVIDER_NAME)
    if provider is not None:
        first += [("  ", ""), (plain(provider), "")]
    if outcome:
        first += [("  ", ""), (outcome, _OUTCOME_STYLES.get(outcome, "yellow"))]
    anomalies = attributes.get(semconv.OTEL_LLM_STREAM_ANOMALY_COUNT)
    if anomalies:
        first += [("  ", ""), (_count(anomalies, "anomaly", "anomalies"), "bold red")]
    yield first

    facts = []
    chunks = attributes.get(semconv.OTEL_LLM_STREAM_CHUNK_COUNT)
    took = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
    if chunks is not None:
        facts.append(_count(chunks, "chunk") + (f" in {_duration(took)}" if timed else ""))
    elif timed:
        facts.append(_duration(took))
    for key, words in (
        (semconv.OTEL_LLM_STREAM_TIME_TO_FIRST_TOOL_CALL, "first tool call after"),
        (semconv.OTEL_LLM_STREAM_MAX_CHUNK_GAP, "longest wait"),
        (semconv.OTEL_LLM_STREAM_TIME_PER_OUTPUT_TOKEN, "per token"),
    ):
        seconds = attributes.get(key)
        if isinstance(seconds, (int, float)):
            facts.append(f"{words} {_duration(seconds)}")
    tokens = [attributes.get(name) for name in (semconv.GEN_AI_USAGE_INPUT_TOKENS, semconv.GEN_AI_USAGE_OUTPUT_TOKENS)]
    if None not in tokens:
        facts.append(f"{tokens[0]} tokens in, {tokens[1]} out")
    folded = attributes.get(semconv.OTEL_LLM_STREAM_COALESCED_DELTA_COUNT)
    if folded:
        facts.append(f"{_count(folded, 'delta')} folded")
    if span.context is not None:
        facts.append(f"trace {span.context.trace_id:032x}")
    yield [("   ", ""), ("  ·  ".join(facts), "dim")]


def _error(span: ReadableSpan) -> Iterator[Line]:
    kind = (span.attributes or {}).get(semconv.ERROR_TYPE)
    description = span.status.description
    if kind is None and span.status.status_code is not StatusCode.ERROR:
        return
    line: Line = [("   error  ", "bold red"), (plain(kind or "unknown"), "bold red")]
    if description:
        line += [("  ", ""), (plain(description, _SHOWN_OF_A_DETAIL), "red")]
    yield line


def _event(event: Event, started_ns: int | None, choices: set[Any]) -> Iterator[Line]:
    described = _describe(event)
    if described is None:
        return
    attributes = _attributes(event)
    call = attributes.get(semconv.OTEL_LLM_TOOL_CALL_INDEX)
    choice = attributes.get(semconv.OTEL_LLM_CHOICE_INDEX)
    about = f"[{plain(call)}]" if call is not None else ""
    if choices != {0} and choice is not None:
        about = f"choice {plain(choice)} {about}"
    style = "bold red" if event.name in (semconv.EVENT_ANOMALY, semconv.EVENT_EXCEPTION) else ""
    when = f"{(event.timestamp - started_ns) / 1e6:>10.1f} ms  " if started_ns is not None else " " * 15
    what, details = described
    yield [
        (when, "dim"),
        (f"{about:<4} ", "cyan"),
        (f"{what:<15} " if details else what, style),
        *details,
    ]


def _describe(event: Event) -> tuple[str, Line] | None:
    """What happened, in a word or two, and the details. None for events of other instrumentations."""
    attributes = _attributes(event)
    name = plain(attributes.get(semconv.GEN_AI_TOOL_NAME, "?"))
    match event.name:
        case semconv.EVENT_TOOL_CALL_DETECTED:
            call_id = attributes.get(semconv.GEN_AI_TOOL_CALL_ID)
            return "detected", [(f"id {plain(call_id)}" if call_id is not None else "without an id", "dim")]
        case semconv.EVENT_TOOL_CALL_NAME:
            return "named", [(name, "bold")]
        case semconv.EVENT_TOOL_CALL_ARGUMENTS_DELTA:
            return "arguments", [
                (f"{plain(attributes.get(semconv.OTEL_LLM_ARGUMENTS_LENGTH, '?')):>6} chars  ", "dim"),
                *_arguments(attributes),
                *_folded(attributes),
            ]
        case semconv.EVENT_TOOL_CALL_COMPLETED:
            length = attributes.get(semconv.OTEL_LLM_ARGUMENTS_LENGTH)
            deltas = attributes.get(semconv.OTEL_LLM_DELTA_COUNT, 0)
            size = f"  {length} chars in {_count(deltas, 'delta')}"
            return "completed", [(name, "bold"), (" ", ""), *_arguments(attributes), (size, "dim")]
        case semconv.EVENT_TEXT_STARTED:
            return "text started", []
        case semconv.EVENT_REASONING_STARTED:
            return "thinking", []
        case semconv.EVENT_FINISH_REASON:
            return "finish reason", [(plain(attributes.get(semconv.OTEL_LLM_FINISH_REASON, "?")), "bold")]
        case semconv.EVENT_ANOMALY:
            detail = plain(attributes.get(semconv.OTEL_LLM_ANOMALY_DETAIL, ""), _SHOWN_OF_A_DETAIL)
            return "ANOMALY", [
                (plain(attributes.get(semconv.OTEL_LLM_ANOMALY_TYPE, "?")), "bold red"),
                (f"  {detail}", "red"),
            ]
        case semconv.EVENT_TAG_REWRITE:
            form, target, length = (plain(attributes.get(name, "?")) for name in _REWRITE)
            return "rewritten", [(name, "bold"), (f"  {form} -> {target}, {length} chars", "dim")]
        case semconv.EVENT_EXCEPTION:
            kind, message = attributes.get(semconv.EXCEPTION_TYPE, ""), attributes.get(semconv.EXCEPTION_MESSAGE, "")
            return "exception", [(f"{plain(kind)}  {plain(message, _SHOWN_OF_A_DETAIL)}", "red")]
    if event.name.startswith(semconv.NAMESPACE):
        return plain(event.name.removeprefix(semconv.NAMESPACE)), [(plain(dict(attributes)), "dim")]
    return None


_REWRITE: Final = (
    semconv.OTEL_LLM_TAG_REWRITE_FORMAT,
    semconv.OTEL_LLM_TAG_REWRITE_TARGET,
    semconv.OTEL_LLM_TAG_REWRITE_LENGTH,
)


def _arguments(attributes: Mapping[str, Any]) -> Line:
    arguments = attributes.get(semconv.GEN_AI_TOOL_CALL_ARGUMENTS)
    if arguments is None:
        return [("(not captured)", "dim")]
    return [(_literal(str(arguments)), "green")]


def _folded(attributes: Mapping[str, Any]) -> Line:
    count = attributes.get(semconv.OTEL_LLM_DELTA_COUNT, 1)
    return [(f"  {count} deltas", "dim")] if count != 1 else []


def _deltas_in(omitted: Sequence[Event]) -> str:
    deltas = sum(int(_attributes(event).get(semconv.OTEL_LLM_DELTA_COUNT, 1)) for event in omitted)
    return f"{deltas} deltas" if deltas == len(omitted) else f"{deltas} deltas in {len(omitted)} events"


def _attributes(event: Event) -> Mapping[str, Any]:
    return event.attributes or {}


# -- values --


def _literal(value: str) -> str:
    """`value` as a Python literal, which is printable; a long one is cut, and says by how many characters."""
    if len(value) > _SHOWN_OF_A_VALUE:
        return f"{value[:_SHOWN_OF_A_VALUE]!r}… and {len(value) - _SHOWN_OF_A_VALUE} more"
    return repr(value)


def plain(value: Any, limit: int = _SHOWN_OF_A_VALUE) -> str:
    """`value` without quotes, on one line, cut after `limit` characters."""
    text = str(value)
    return one_line(text[:limit]) + ("…" if len(text) > limit else "")


def _count(number: Any, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
