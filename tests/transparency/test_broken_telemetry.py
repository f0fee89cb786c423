"""Whatever of the OpenTelemetry SDK's or of the application's own telemetry raises: the stream is delivered whole."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from otel_llm import OpenAIInstrumentor, observation
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, Step, chunk, completion, text, tool_call_chunks
from otel_llm.transparency import faults
from tests.helpers.callers import AsyncCaller, SyncCaller
from tests.helpers.seen import Seen

STEPS: list[Step] = [
    chunk({"reasoning_content": "hm"}),
    chunk(text("Sure.")),
    *tool_call_chunks("add_task", '{"title": "a"}'),
    *tool_call_chunks("unknown", '{"title', id="call_1", index=1),
    chunk(finish_reason="tool_calls"),
    DONE,
]
CHUNKS = len(STEPS) - 1


def broken(*_args: Any, **_kwargs: Any) -> Any:
    raise RuntimeError("telemetry is broken")


@pytest.fixture(autouse=True)
def _forget_what_could_not_end() -> Iterator[None]:
    yield
    observation._open.clear()
    observation._deferred.clear()
    atexit.unregister(broken)


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    whole = completion(text("hello"))

    def steps(body: dict[str, Any]) -> Sequence[Step]:
        return STEPS if body.get("stream") else [Answer(whole)]

    with ScriptedServer(steps) as server:
        yield server


async def assert_delivered(server: ScriptedServer) -> None:
    for caller in (SyncCaller(server.base_url), AsyncCaller(server.base_url)):
        assert len(await caller.read(await caller.stream())) == CHUNKS
        stream = await caller.stream()
        await caller.read(stream, 1)
        await caller.close(stream)
        raw = await caller.result(
            caller.client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
        )
        assert len(await caller.read(raw.parse())) == CHUNKS
        assert (await caller.create()).choices[0].message.content == "hello"
        await caller.close_client()


class BrokenProcessor(SpanProcessor):
    on_start = broken
    on_end = broken


class BrokenExporter(SpanExporter):
    export = broken


class BrokenTracerProvider(TracerProvider):
    get_tracer = broken


class BrokenMeterProvider(MeterProvider):
    get_meter = broken


class BrokenHook:
    on_completion = broken


class BrokenProvider:
    """A provider that gives something whose every method raises."""

    def __init__(self) -> None:
        self.get_tracer = self.get_meter = self.get_logger = lambda *_args, **_kwargs: BrokenInstrument()


class BrokenInstrument:
    def __getattr__(self, name: str) -> Any:
        return broken


def with_processor(processor: SpanProcessor) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(processor)
    return provider


# What is broken, and where the package says that it failed. The OpenTelemetry SDK guards exporters and hooks itself.
BROKEN: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("processor", {"tracer_provider": with_processor(BrokenProcessor())}, ("the start of a span",)),
    ("exporter", {"tracer_provider": with_processor(SimpleSpanProcessor(BrokenExporter()))}, ()),
    ("tracer provider", {"tracer_provider": BrokenTracerProvider()}, ("tracer provider",)),
    ("tracer", {"tracer_provider": BrokenProvider()}, ("the start of a span",)),
    ("meter provider", {"meter_provider": BrokenMeterProvider()}, ("meter provider",)),
    ("meter", {"meter_provider": BrokenProvider()}, ("metric instruments",)),
    ("logger", {"logger_provider": BrokenProvider(), "events": "log"}, ("events",)),
    ("completion hook", {"completion_hook": BrokenHook()}, ()),
]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=[pytest.mark.swallows(*places)] if places else [])
        for name, options, places in BROKEN
    ],
)
async def test_each_part_of_the_users(options: dict[str, Any], server: ScriptedServer) -> None:
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(**options)
    try:
        await assert_delivered(server)
    finally:
        instrumentor.uninstrument()


@pytest.mark.parametrize(
    "signal",
    [
        pytest.param("span", marks=pytest.mark.swallows("events")),
        pytest.param("metrics", marks=pytest.mark.swallows("the first chunk", "metrics", "the end of the span")),
    ],
)
async def test_one_broken_signal_costs_no_other(
    signal: str, server: ScriptedServer, instrument: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = instrument()
    if signal == "span":
        monkeypatch.setattr("opentelemetry.sdk.trace._Span.add_event", broken)
    else:
        monkeypatch.setattr("opentelemetry.sdk.metrics._internal.instrument._Histogram.record", broken)
    caller = SyncCaller(server.base_url)
    await caller.read(await caller.stream())
    assert seen.outcome == "completed"
    if signal == "span":
        assert seen.metric("otel_llm.stream.count")
    else:
        assert seen.events("otel_llm.tool_call.completed")
    await caller.close_client()


@pytest.mark.swallows("log lines")
async def test_a_logging_handler_that_raises(server: ScriptedServer, instrument: Callable[..., Seen]) -> None:
    class BrokenHandler(logging.Handler):
        emit = broken

    logger = logging.getLogger("otel_llm")
    handler, level = BrokenHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        seen = instrument()
        await assert_delivered(server)
        assert len(seen.spans) == 8
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.mark.swallows("diagnosis")
async def test_a_fault_is_logged_once_a_kind(
    server: ScriptedServer,
    instrument: Callable[..., Seen],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults._reported.clear()
    instrument()
    monkeypatch.setattr("otel_llm.observation.diagnose", broken)
    await assert_delivered(server)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.args for record in warnings] == [("diagnosis",)]
    assert warnings[0].exc_info
    assert "the application is not affected" in warnings[0].getMessage()
