"""The timeline on the terminal: the lines for one finished span, with harmless text only."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode
from rich.console import Console

from otel_llm.terminal import TimelineSpanExporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import Span

START = 1_000_000_000_000_000_000  # nanoseconds
MS = 1_000_000


def printed(
    write: Callable[[Any], None],
    *,
    name: str = "chat tiny",
    limits: SpanLimits | None = None,
    **attributes: Any,
) -> str:
    """What is printed for a span of 30 ms to which `write` adds events."""
    terminal = io.StringIO()
    provider = TracerProvider(shutdown_on_exit=False, span_limits=limits)
    exporter = TimelineSpanExporter(console=Console(file=terminal))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("test").start_span(
        name,
        kind=SpanKind.CLIENT,
        start_time=START,
        attributes={key.replace("__", "."): value for key, value in attributes.items()},
    )
    write(span)
    span.end(START + 30 * MS)
    provider.shutdown()
    return terminal.getvalue()


def event(span: Span, what: str, at_ms: float, /, **attributes: Any) -> None:
    keys = {
        "call": "otel_llm.tool_call.index",
        "choice": "otel_llm.choice.index",
        "id": "gen_ai.tool.call.id",
        "name": "gen_ai.tool.name",
        "arguments": "gen_ai.tool.call.arguments",
        "length": "otel_llm.arguments.length",
        "count": "otel_llm.delta.count",
        "reason": "otel_llm.finish_reason",
        "type": "otel_llm.anomaly.type",
        "detail": "otel_llm.anomaly.detail",
    }
    values = {keys[key]: value for key, value in attributes.items()}
    span.add_event(f"otel_llm.{what}", values, timestamp=START + int(at_ms * MS))


def one_call(span: Span) -> None:
    event(span, "tool_call.detected", 5, choice=0, call=0, id="call_1")
    event(span, "tool_call.name", 5, choice=0, call=0, name="add_task")
    event(span, "tool_call.arguments.delta", 6, choice=0, call=0, arguments='{"title"', count=1, length=8)
    event(span, "tool_call.arguments.delta", 8.25, choice=0, call=0, arguments=':"x"}', count=2, length=13)
    event(
        span,
        "tool_call.completed",
        9,
        choice=0,
        call=0,
        id="call_1",
        name="add_task",
        arguments='{"title":"x"}',
        length=13,
        count=3,
    )
    event(span, "finish_reason", 9, choice=0, reason="tool_calls")


def test_a_timeline_is_read_from_top_to_bottom() -> None:
    text = printed(
        one_call,
        gen_ai__provider__name="openai",
        otel_llm__stream__outcome="completed",
        otel_llm__stream__chunk_count=7,
        otel_llm__stream__time_to_first_tool_call=0.005,
        otel_llm__stream__max_chunk_gap=2.5,
        otel_llm__stream__anomaly_count=0,
        gen_ai__usage__input_tokens=400,
        gen_ai__usage__output_tokens=22,
    )
    head, facts, *events = text.rstrip().splitlines()
    assert head == "━━ chat tiny  openai  completed"
    assert facts.split("trace")[0].split("·")[:4] == [
        "   7 chunks in 30.0 ms  ",
        "  first tool call after 5.0 ms  ",
        "  longest wait 2.50 s  ",
        "  400 tokens in, 22 out  ",
    ]
    assert [line.split(maxsplit=2) for line in events] == [
        ["5.0", "ms", "[0]  detected        id call_1"],
        ["5.0", "ms", "[0]  named           add_task"],
        ["6.0", "ms", """[0]  arguments            8 chars  '{"title"'"""],
        ["8.2", "ms", """[0]  arguments           13 chars  ':"x"}'  2 deltas"""],
        ["9.0", "ms", """[0]  completed       add_task '{"title":"x"}'  13 chars in 3 deltas"""],
        ["9.0", "ms", "finish reason   tool_calls"],
    ]


def test_a_long_run_of_deltas_is_shortened_and_says_by_how_much() -> None:
    def write(span: Span) -> None:
        for number in range(40):
            event(
                span,
                "tool_call.arguments.delta",
                number / 2,
                call=0,
                arguments=f"<{number}>",
                count=2,
                length=number,
            )

    lines = printed(write).splitlines()
    shown = [line.split("'")[1] for line in lines if "arguments" in line]
    assert shown == ["<0>", "<1>", "<2>", "<3>", "<4>", "<37>", "<38>", "<39>"]
    assert [line.strip() for line in lines if "omitted" in line] == [
        "…                64 deltas in 32 events omitted here"
    ]


def test_a_run_is_not_shortened_to_save_a_single_line() -> None:
    def write(span: Span) -> None:
        for number in range(9):
            event(
                span,
                "tool_call.arguments.delta",
                number,
                call=0,
                arguments=str(number),
                count=1,
                length=number,
            )

    text = printed(write)
    assert text.count("arguments") == 9
    assert "omitted" not in text


def test_anomalies() -> None:
    text = printed(
        lambda span: event(span, "anomaly", 9, call=1, choice=0, type="invalid_json", detail="cut at 12"),
        otel_llm__stream__anomaly_count=1,
        otel_llm__stream__outcome="completed",
    )
    assert "━━ chat tiny  completed  1 anomaly\n" in text
    assert "[1]  ANOMALY         invalid_json  cut at 12" in text


def test_an_error_has_its_type_and_message() -> None:
    def write(span: Span) -> None:
        span.set_attribute("error.type", "APIConnectionError")
        span.set_status(Status(StatusCode.ERROR, "peer closed connection"))

    text = printed(write, otel_llm__stream__outcome="error", otel_llm__stream__chunk_count=1)
    assert "   error  APIConnectionError  peer closed connection\n" in text
    assert "   1 chunk in 30.0 ms" in text


def test_several_choices_are_numbered() -> None:
    def write(span: Span) -> None:
        event(span, "text.started", 1, choice=0)
        event(span, "tool_call.detected", 2, choice=1, call=0)

    text = printed(write)
    assert "choice 0  text started" in text
    assert "choice 1 [0] detected        without an id" in text


def test_arguments_that_were_not_captured() -> None:
    text = printed(lambda span: event(span, "tool_call.completed", 3, call=0, name="f", length=20, count=4))
    assert "f (not captured)  20 chars in 4 deltas" in text


HOSTILE = "[red]\x1b[2J\x07\r\nFORGED LINE\u202e\u2028\x9b31m\x00"


def test_text_from_a_model_cannot_control_the_terminal() -> None:
    def write(span: Span) -> None:
        event(span, "tool_call.detected", 1, call=0, id=HOSTILE)
        event(span, "tool_call.name", 1, call=0, name=HOSTILE)
        event(span, "tool_call.arguments.delta", 1, call=0, arguments=HOSTILE, count=1, length=3)
        event(span, "tool_call.completed", 1, call=0, name=HOSTILE, arguments=HOSTILE, length=3, count=1)
        event(span, "finish_reason", 1, reason=HOSTILE)
        event(span, "anomaly", 1, type=HOSTILE, detail=HOSTILE)
        span.add_event("otel_llm.tag_rewrite", {"otel_llm.tag_rewrite.format": HOSTILE, "gen_ai.tool.name": HOSTILE})
        span.add_event("otel_llm." + HOSTILE, {HOSTILE: HOSTILE})
        span.add_event("exception", {"exception.type": HOSTILE, "exception.message": HOSTILE})
        span.set_attribute("error.type", HOSTILE)
        span.set_status(Status(StatusCode.ERROR, HOSTILE))

    text = printed(write, name=HOSTILE, gen_ai__provider__name=HOSTILE, otel_llm__stream__outcome=HOSTILE)
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    assert text.count("[red]") == text.count("FORGED LINE") == text.count("\\x1b[2J") >= 14
    assert not [line for line in text.splitlines() if line.startswith("FORGED")]


def test_a_long_value_is_cut() -> None:
    text = printed(
        lambda span: event(span, "tool_call.completed", 3, call=0, name="f", arguments="x" * 900, length=900)
    )
    assert "x" * 120 + "'… and 780 more" in text
    assert "x" * 121 not in text


def test_a_lone_surrogate_can_be_printed() -> None:
    text = printed(lambda span: event(span, "tool_call.name", 3, call=0, name="\ud83d"))
    assert "\\ud83d" in text
    text.encode()


def test_dropped_events_are_mentioned() -> None:
    text = printed(one_call, limits=SpanLimits(max_events=4))
    assert "2 events dropped by the OpenTelemetry SDK" in text


def test_other_spans_are_ignored() -> None:
    assert printed(lambda span: span.add_event("something"), http__method="GET") == ""


def test_it_prints_to_standard_error_without_colours_if_that_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(TimelineSpanExporter()))
    with provider.get_tracer("test").start_as_current_span("chat", attributes={"otel_llm.stream.outcome": "error"}):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("━━ chat  error\n")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    span: Any = provider.get_tracer("test").start_span("chat", attributes={"otel_llm.stream.outcome": "error"})
    span.end()

    def shown() -> str:
        terminal = io.StringIO()
        console = Console(file=terminal, force_terminal=True)
        TimelineSpanExporter(console=console).export([span])
        return terminal.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31merror" in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" not in shown()


@pytest.mark.swallows("printing a timeline")
def test_exporting_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    closed = io.StringIO()
    closed.close()
    exporter = TimelineSpanExporter(console=Console(file=closed))
    provider = TracerProvider(shutdown_on_exit=False)
    span: Any = provider.get_tracer("test").start_span("chat", attributes={"otel_llm.stream.outcome": "error"})
    span.end()
    with caplog.at_level(logging.WARNING, "otel_llm"):
        assert exporter.export([span, span]) is SpanExportResult.SUCCESS
    assert exporter.force_flush() is True


def test_a_broken_pipe_loses_only_the_timeline() -> None:
    """`app 2>&1 >out | head`: by default, rich would redirect standard output to /dev/null and exit."""
    program = """
        import sys
        from rich.console import Console
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from otel_llm.terminal import TimelineSpanExporter
        for console in (None, Console(stderr=True)):
            provider = TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(TimelineSpanExporter(console=console)))
            for _ in range(2):
                provider.get_tracer("t").start_span("chat", attributes={"otel_llm.stream.outcome": "error"}).end()
                print("the application goes on", flush=True)
    """
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, text=True, timeout=60, check=False)
    finally:
        os.close(writer)
    assert done.stdout.splitlines() == ["the application goes on"] * 4
    assert done.returncode == 0


def test_it_prints_without_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    span: Any = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("chat")
    event(span, "finish_reason", 9, reason="tool_calls")
    span.end()
    TimelineSpanExporter().export([span])
    assert "tool_calls" in capsys.readouterr().err


def test_without_rich_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(ImportError, match=r"pip install 'otel-llm\[timeline\]'"):
        TimelineSpanExporter()
