"""Whatever of ours, of the SDK's or of a user's telemetry raises: the stream is still delivered whole."""

from __future__ import annotations

import atexit
import inspect
import logging
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

import otel_llm
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


class Broken(RuntimeError):
    pass


def broken(*_args: Any, **_kwargs: Any) -> Any:
    raise Broken("telemetry is broken")


@pytest.fixture(autouse=True)
def _forget_what_could_not_end() -> Iterator[None]:
    yield
    observation._open.clear()
    observation._deferred.clear()
    atexit.unregister(broken)


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    whole = completion(text("hello"))
    with ScriptedServer(lambda body: STEPS if body.get("stream") else [Answer(whole)]) as server:
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


# Ours ---------------------------------------------------------------------------------------------------------

# What the caller of the SDK holds and calls: if these raise, the stream itself raises.
_FACE = {"tracker", "proxies", "instrumentor", "intercept", "terminal"}
_MODULES = [
    path.stem
    for path in Path(otel_llm.__file__).parent.glob("*.py")
    if path.stem not in _FACE and not path.stem.startswith("_")
]
# What stands in the caller's own way: the wrappers' bodies and the last lines of defence in them. Every step that
# they take is broken here, one by one.
_WRAPPERS = {
    "chat_calls.MethodWrapper._begin",
    "chat_calls._Request.__init__",
    "chat_calls.MethodWrapper._failed",
    "chat_calls.MethodWrapper._released",
    "chat_calls.MethodWrapper._watched",
    "raw_response.RawResponse._failed",
    "raw_response.RawResponse._watched",
    "response_body._closed",
    "chat_calls.MethodWrapper._call",
    "chat_calls.MethodWrapper._call_async",
    "chat_calls.MethodWrapper._await",
    "chat_calls._Unawaited.__init__",
    "chat_calls.MethodWrapper._finish_later",
    "raw_response.RawResponse.parse",
    "raw_response.RawResponse._taking",
    "raw_response.RawResponse._taking_later",
    "raw_response.WholeRawResponse._noted",
    "raw_response.WholeRawResponse.json",
    "raw_response.WholeRawResponse.read",
    "raw_response.WholeRawResponse.text",
    "response_body._SyncBody.__iter__",
    "response_body._SyncBody.close",
    "response_body._AsyncBody.__aiter__",
    "response_body._AsyncBody.aclose",
}


def functions() -> Iterator[tuple[str, Any, str]]:
    """(name, its owner, attribute) of every function of ours that a request can reach."""
    for module_name in _MODULES:
        module = import_module(f"otel_llm.{module_name}")
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value):
                yield f"{module_name}.{name}", module, name
            elif inspect.isclass(value):
                for method, function in vars(value).items():
                    if inspect.isfunction(function) and method != "__init_subclass__":
                        yield f"{module_name}.{name}.{method}", value, method


FUNCTIONS = [entry for entry in functions() if entry[0] not in _WRAPPERS]

# The rewriting of tool calls, for an application that asked for it.
_REWRITING = (
    ("otel_llm.rewriting", "rewriting_of"),
    ("otel_llm.rewriting", "Rewriting.__init__"),
    ("otel_llm.rewriting", "_Notes.found"),
    ("otel_llm.rewriting", "_Notes.rewritten"),
    ("otel_llm.tags.stage", "Stage.take"),
    ("otel_llm.tags.stage", "Stage.finish"),
    ("otel_llm.tags.stage", "Stage.rewrite_response"),
    ("otel_llm.tags.stage", "Stage.give_back"),
    ("otel_llm.tags.stage", "_delta_of"),
    ("otel_llm.tags.stage", "_whole_call"),
    ("otel_llm.tags.scanner", "Scanner.feed"),
    ("otel_llm.tags.scanner", "Scanner.flush"),
    ("otel_llm.tags.scanner", "Scanner._marked"),
    ("otel_llm.tags.writers", "OpenAIWriter.write"),
    ("otel_llm.tags.json_body", "ObjectCall.read"),
)


@pytest.mark.parametrize(("name", "owner", "attribute"), FUNCTIONS, ids=[entry[0] for entry in FUNCTIONS])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_each_function_of_ours(
    name: str,
    owner: Any,
    attribute: str,
    server: ScriptedServer,
    instrument: Callable[..., Seen],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "otel_llm")
    instrument(events="span,log")
    monkeypatch.setattr(owner, attribute, broken)
    # Names imported into other modules are other names for the same function.
    for other in _MODULES:
        module = import_module(f"otel_llm.{other}")
        if inspect.ismodule(owner) and module is not owner and hasattr(module, attribute):
            monkeypatch.setattr(module, attribute, broken)
    await assert_delivered(server)


@pytest.mark.parametrize(("module", "path"), _REWRITING, ids=[path for _, path in _REWRITING])
async def test_the_rewriting(
    module: str,
    path: str,
    instrument: Callable[..., Seen],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = instrument(tool_call_tags="openai")
    owner: Any = import_module(module)
    *outer, name = path.split(".")
    for attribute in outer:
        owner = getattr(owner, attribute)
    monkeypatch.setattr(owner, name, broken)
    said = 'Sure. <tool_call>{"name": "add_task", "arguments": {"title": "a"}}</tool_call> Done.'
    whole = Answer(completion(text(said)))
    steps = [chunk(text(said[start : start + 8])) for start in range(0, len(said), 8)]
    with ScriptedServer(lambda body: [*steps, DONE] if body.get("stream") else [whole]) as server:
        for caller in (SyncCaller(server.base_url), AsyncCaller(server.base_url)):
            chunks = await caller.read(await caller.stream())
            assert len(chunks) >= len(steps)
            told = "".join(one.choices[0].delta.content or "" for one in chunks)
            assert told.startswith("Sure. ")
            assert told.endswith("Done.")
            message = (await caller.create()).choices[0].message
            assert message.content in {said, "Sure.  Done."}
            await caller.close_client()
    assert [span.attributes and span.attributes.get("error.type") for span in seen.spans] == [None] * 4


def test_the_list_is_not_empty() -> None:
    assert len(FUNCTIONS) > 120
    assert {name.split(".")[0] for name, _, _ in FUNCTIONS}.isdisjoint(_FACE)


# The SDK's and the user's -------------------------------------------------------------------------------------


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


BROKEN: dict[str, dict[str, Any]] = {
    "processor": {"tracer_provider": with_processor(BrokenProcessor())},
    "exporter": {"tracer_provider": with_processor(SimpleSpanProcessor(BrokenExporter()))},
    "tracer provider": {"tracer_provider": BrokenTracerProvider()},
    "tracer": {"tracer_provider": BrokenProvider()},
    "meter provider": {"meter_provider": BrokenMeterProvider()},
    "meter": {"meter_provider": BrokenProvider()},
    "logger": {"logger_provider": BrokenProvider(), "events": "log"},
    "completion hook": {"completion_hook": BrokenHook()},
}


@pytest.mark.parametrize("options", BROKEN.values(), ids=BROKEN.keys())
async def test_each_part_of_the_users(options: dict[str, Any], server: ScriptedServer) -> None:
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(**options)
    try:
        await assert_delivered(server)
    finally:
        instrumentor.uninstrument()


@pytest.mark.parametrize("signal", ["span", "metrics"])
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
