"""Names, units and values of what is sent: the telemetry contract."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from time import perf_counter
from typing import Any

import openai
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from otel_llm import SyncStreamingToolCallTracker
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    ScriptedServer,
    Sleep,
    chunk,
    completion,
    error_event,
    text,
    tool_call_chunks,
    usage_chunk,
)
from otel_llm.telemetry.provider import server_of
from tests.helpers.callers import ADD_TASK, MESSAGES, SyncCaller
from tests.helpers.sdk_versions import TAKES_REASONING_EFFORT
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

ARGUMENTS = '{"title": "buy milk"}'
HEALTHY = [
    *tool_call_chunks("add_task", ARGUMENTS, size=11),
    chunk(finish_reason="tool_calls"),
    usage_chunk(7, 5),
    DONE,
]


async def test_span(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    server = serve(*HEALTHY)
    caller = connect(server)
    effort: dict[str, Any] = {"reasoning_effort": "low"} if TAKES_REASONING_EFFORT else {"extra_body": {}}
    await caller.read(
        await caller.stream(
            temperature=0.5,
            top_p=0.9,
            max_tokens=100,
            seed=4,
            stop=["END"],
            n=1,
            tool_choice="auto",
            **effort,
        )
    )
    span = instrumented.span
    assert span.name == "chat tiny"
    assert span.kind is SpanKind.CLIENT
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "otel_llm"
    attributes = instrumented.attributes
    times = {
        name: attributes.pop(name)
        for name in (
            "gen_ai.response.time_to_first_chunk",
            "otel_llm.stream.time_to_first_tool_call",
            "otel_llm.stream.max_chunk_gap",
            "otel_llm.stream.time_per_output_token",
        )
    }
    assert all(isinstance(seconds, float) and 0 < seconds < 10 for seconds in times.values())
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "tiny",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.seed": 4,
        "gen_ai.request.stop_sequences": ("END",),
        **({"gen_ai.request.reasoning.level": "low"} if TAKES_REASONING_EFFORT else {}),
        "gen_ai.response.finish_reasons": ("tool_calls",),
        "gen_ai.response.id": "chatcmpl-scripted",
        "gen_ai.response.model": "scripted-model",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "server.address": "127.0.0.1",
        "server.port": int(server.base_url.split(":")[2].split("/")[0]),
        "otel_llm.stream.outcome": "completed",
        "otel_llm.stream.chunk_count": 5,
        "otel_llm.stream.tool_call_count": 1,
        "otel_llm.stream.text_only": False,
        "otel_llm.stream.anomaly_count": 0,
        "otel_llm.stream.coalesced_delta_count": 0,
    }


INDEX = {"otel_llm.choice.index": 0, "otel_llm.tool_call.index": 0}
EVENTS = [
    ("otel_llm.text.started", {"otel_llm.choice.index": 0}),
    ("otel_llm.tool_call.detected", {**INDEX, "gen_ai.tool.call.id": "call_1"}),
    ("otel_llm.tool_call.name", {**INDEX, "gen_ai.tool.name": "add_task"}),
    (
        "otel_llm.tool_call.arguments.delta",
        {**INDEX, "gen_ai.tool.call.arguments": "", "otel_llm.delta.count": 1, "otel_llm.arguments.length": 0},
    ),
    (
        "otel_llm.tool_call.arguments.delta",
        {
            **INDEX,
            "gen_ai.tool.call.arguments": '{"title": "',
            "otel_llm.delta.count": 1,
            "otel_llm.arguments.length": 11,
        },
    ),
    (
        "otel_llm.tool_call.arguments.delta",
        {
            **INDEX,
            "gen_ai.tool.call.arguments": 'buy milk"}',
            "otel_llm.delta.count": 1,
            "otel_llm.arguments.length": 21,
        },
    ),
    (
        "otel_llm.tool_call.completed",
        {
            **INDEX,
            "gen_ai.tool.name": "add_task",
            "gen_ai.tool.call.id": "call_1",
            "gen_ai.tool.call.arguments": ARGUMENTS,
            "otel_llm.arguments.length": 21,
            "otel_llm.delta.count": 3,
        },
    ),
    ("otel_llm.finish_reason", {"otel_llm.finish_reason": "stop", "otel_llm.choice.index": 0}),
    (
        "otel_llm.anomaly",
        {
            "otel_llm.anomaly.type": "finish_reason_mismatch",
            "otel_llm.anomaly.detail": "stop after 1 call",
            "otel_llm.choice.index": 0,
        },
    ),
]


async def test_events(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(events="span,log")
    steps = [chunk(text("Sure.")), *HEALTHY[:-3], chunk(finish_reason="stop"), DONE]
    caller = connect(serve(*steps))
    await caller.read(await caller.stream())
    assert [(event.name, dict(event.attributes or {})) for event in seen.events()] == EVENTS
    times = [event.timestamp for event in seen.events()]
    assert times == sorted(times)
    assert (seen.span.start_time or 0) <= times[0]
    assert times[-1] <= (seen.span.end_time or 0)
    assert [(record.event_name, dict(record.attributes)) for record in seen.log_records] == EVENTS
    assert seen.span.context is not None
    assert {record.span_id for record in seen.log_records} == {seen.span.context.span_id}
    assert [record.timestamp for record in seen.log_records] == times


@pytest.mark.parametrize(("events", "on_span", "as_logs"), [("log", 0, 7), ("none", 0, 0), ("span", 7, 0)])
async def test_where_events_go(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, events: str, on_span: int, as_logs: int
) -> None:
    seen = instrument(events=events)
    caller = connect(serve(*HEALTHY))
    await caller.read(await caller.stream())
    assert (len(seen.events()), len(seen.log_records)) == (on_span, as_logs)
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1


async def test_log_records_are_not_cut_to_the_spans_limit(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    seen = instrument(events="log")
    caller = connect(serve(*tool_call_chunks("add_task", json.dumps({"title": "x" * 300}), size=1), *HEALTHY[-3:]))
    await caller.read(await caller.stream())
    assert len(seen.log_records) == 300 + 13 + 1 + 4


async def test_metrics(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    steps = [*HEALTHY[:-3], *tool_call_chunks("made_up", "{}", index=1, id="call_2"), *HEALTHY[-3:]]
    caller = connect(serve(*steps))
    await caller.read(await caller.stream())
    common = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "tiny"}
    add_task, other = common | {"gen_ai.tool.name": "add_task"}, common | {"gen_ai.tool.name": "_OTHER"}
    metric = instrumented.metric
    assert metric("otel_llm.tool_call.count") == [(add_task, 1), (other, 1)]
    assert metric("otel_llm.tool_call.arguments.size") == [(add_task, (1, 21)), (other, (1, 2))]
    assert metric("otel_llm.anomaly.count") == [(common | {"otel_llm.anomaly.type": "unknown_tool"}, 1)]
    assert metric("otel_llm.stream.count") == [(common | {"otel_llm.stream.outcome": "completed"}, 1)]
    ((attributes, (count, seconds)),) = metric("otel_llm.stream.time_to_first_tool_call")
    assert (attributes, count) == (common, 1)
    assert 0 < seconds < 10
    assert [(attributes, count) for attributes, (count, _) in metric("otel_llm.tool_call.duration")] == [
        (add_task, 1),
        (other, 1),
    ]
    for name in (
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.time_to_first_chunk",
    ):
        assert metric(name), name


async def test_the_types_of_anomalies_are_on_the_span(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    broken = [
        *tool_call_chunks("made_up", "{", index=0, id="call_1"),
        *tool_call_chunks("made_up", "{", index=1, id="call_1"),
    ]
    caller = connect(serve(*broken, *HEALTHY[-3:]))
    await caller.read(await caller.stream())
    types = "duplicate_call,duplicate_id,invalid_json,unknown_tool"
    assert instrumented.attributes["otel_llm.stream.anomaly_types"] == types
    assert instrumented.attributes["otel_llm.stream.anomaly_count"] == len(instrumented.anomalies) > 4
    assert instrumented.span.status.is_unset


async def test_an_option_makes_a_span_with_an_anomaly_an_error(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    seen = instrument(anomaly_status="error")
    caller = connect(serve(*tool_call_chunks("made_up", "{"), *HEALTHY[-3:]))
    await caller.read(await caller.stream())
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.status.description == "invalid_json,unknown_tool"
    assert seen.attributes["error.type"] == "otel_llm.anomaly"
    assert seen.outcome == "completed"
    ((attributes, _),) = seen.metric("gen_ai.client.operation.duration")
    assert attributes["error.type"] == "otel_llm.anomaly"


async def test_a_healthy_span_or_one_with_an_error_of_its_own_keeps_its_status(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    seen = instrument(anomaly_status="error")
    caller = connect(serve(HEALTHY, [*tool_call_chunks("made_up", "{"), error_event("overloaded", code="busy")]))
    await caller.read(await caller.stream())
    assert seen.span.status.is_unset
    with pytest.raises(openai.APIError):
        await caller.read(await caller.stream())
    assert dict(seen.spans[1].attributes or {})["error.type"] != "otel_llm.anomaly"


async def test_the_time_per_output_token(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    steps = [chunk(text("one")), Sleep(0.02), chunk(text(" two")), chunk(finish_reason="stop"), usage_chunk(7, 5), DONE]
    caller = connect(serve(*steps))
    await caller.read(await caller.stream())
    seconds = instrumented.attributes["otel_llm.stream.time_per_output_token"]
    assert seconds > 0
    common = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "tiny"}
    assert instrumented.metric("otel_llm.stream.time_per_output_token") == [(common, (1, seconds))]


@pytest.mark.parametrize("usage", [[], [usage_chunk(7, 0)], [usage_chunk(7, 1)]], ids=["no usage", "none", "one token"])
async def test_without_tokens_there_is_no_time_per_token(
    instrumented: Seen, serve: Serve, connect: Connect, usage: list[Any]
) -> None:
    caller = connect(serve(chunk(text("one")), chunk(finish_reason="stop"), *usage, DONE))
    await caller.read(await caller.stream())
    assert "otel_llm.stream.time_per_output_token" not in instrumented.attributes
    assert instrumented.metric("otel_llm.stream.time_per_output_token") == []


async def test_an_option_limits_the_events_of_arguments(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    seen = instrument(delta_events=0, events="span,log")
    caller = connect(serve(*HEALTHY))
    await caller.read(await caller.stream())
    names = [event.name for event in seen.events()]
    assert "otel_llm.tool_call.arguments.delta" not in names
    assert names.count("otel_llm.tool_call.completed") == 1
    assert [record.event_name for record in seen.log_records] == names
    assert seen.attributes["otel_llm.stream.coalesced_delta_count"] == 3


async def test_the_time_to_the_first_chunk_ends_with_it(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HEALTHY))
    began = perf_counter()
    stream = await caller.stream()
    await caller.read(stream, 1)
    came = perf_counter() - began
    await caller.read(stream)
    waited = instrumented.attributes["gen_ai.response.time_to_first_chunk"]
    assert 0 < waited <= came
    ((attributes, (count, seconds)),) = instrumented.metric("gen_ai.client.operation.time_to_first_chunk")
    assert (count, seconds) == (1, waited)
    assert attributes["gen_ai.response.model"] == "scripted-model"


ORDERS = {
    "instrumented twice": "again(); set_provider(); make(client())",
    "before and after": "set_provider(); again(); make(client())",
    "two clients": "a, b = one(), one(); set_provider(); make(a); make(b)",
    "a client too": "a = one(); set_provider(); make(a); make(client())",
    "a client before and one after": "a = one(); set_provider(); make(a); make(one(meter_provider=provider))",
}


@pytest.mark.parametrize("steps", ORDERS.values(), ids=ORDERS.keys())
def test_counts_arrive_whenever_the_global_provider_is_set(steps: str, serve: Serve) -> None:
    program = f"""
        import openai
        from opentelemetry.metrics import set_meter_provider
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from otel_llm import OpenAIInstrumentor, intercept_llm_requests

        reader = InMemoryMetricReader()
        provider = MeterProvider([reader])
        made = 0

        def client():
            return openai.OpenAI(api_key="unused", base_url={serve(*HEALTHY).base_url!r})

        def one(**options):
            return intercept_llm_requests(client(), **options)

        def set_provider():
            set_meter_provider(provider)

        def again():
            OpenAIInstrumentor().uninstrument()
            OpenAIInstrumentor().instrument()

        def make(client):
            global made
            made += 1
            list(client.chat.completions.create(model="tiny", messages=[], stream=True))

        OpenAIInstrumentor().instrument()
        {steps}
        metrics = [m for r in reader.get_metrics_data().resource_metrics for s in r.scope_metrics for m in s.metrics]
        for name in ("stream", "tool_call"):
            (counter,) = [metric for metric in metrics if metric.name == f"otel_llm.{{name}}.count"]
            assert sum(point.value for point in counter.data.data_points) == made, name
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_clients_come_and_go_without_a_global_provider(serve: Serve) -> None:
    program = f"""
        import gc, openai
        from opentelemetry.metrics import Meter, Histogram, set_meter_provider
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from otel_llm import intercept_llm_requests

        # Shared: each HTTP client loads all certificates of the machine.
        http_client = openai.DefaultHttpxClient()

        def client():
            base_url = {serve(*HEALTHY).base_url!r}
            return intercept_llm_requests(openai.OpenAI(api_key="unused", base_url=base_url, http_client=http_client))

        def held():
            gc.collect()
            return sum(issubclass(type(thing), (Meter, Histogram)) for thing in gc.get_objects())

        first = client()
        before = held()
        for _ in range(200):
            last = client()
        assert held() == before > 0, (before, held())

        reader = InMemoryMetricReader()
        set_meter_provider(MeterProvider([reader]))
        for each in (first, last):
            list(each.chat.completions.create(model="tiny", messages=[], stream=True))
        metrics = [m for r in reader.get_metrics_data().resource_metrics for s in r.scope_metrics for m in s.metrics]
        for name in ("gen_ai.client.operation.duration", "otel_llm.tool_call.duration"):
            (histogram,) = [metric for metric in metrics if metric.name == name]
            assert sum(point.count for point in histogram.data.data_points) == 2, name
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


async def test_no_stream_metrics_for_whole_responses(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(completion(text("hello")))))
    await caller.create()
    assert instrumented.metric("otel_llm.stream.count") == []
    assert instrumented.metric("gen_ai.client.operation.duration")


async def test_unsampled_requests_are_counted(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = Seen()
    seen.tracer_provider = TracerProvider(sampler=ALWAYS_OFF)
    from otel_llm import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(**seen.providers)
    caller = connect(serve(*HEALTHY))
    await caller.read(await caller.stream())
    assert seen.spans == []
    assert [value for _, value in seen.metric("otel_llm.stream.count")] == [1]


# Content, if the user opted in --------------------------------------------------------------------------------

CONVERSATION: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "add a task"}]},
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "c0", "type": "function", "function": {"name": "add_task", "arguments": '{"title":"x"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c0", "content": "done \ud83d"},
    *MESSAGES,
]


async def test_no_content_by_default(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(chunk(text("secret answer")), *HEALTHY))
    await caller.read(await caller.stream(messages=MESSAGES))
    assert "secret answer" not in str(instrumented.attributes)
    assert not any("messages" in name for name in instrumented.attributes)


async def test_content_on_spans(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    seen = instrument()
    steps = [chunk({"reasoning_content": "hm"}), chunk(text("Su")), chunk(text("re.")), *HEALTHY]
    messages = [message for message in CONVERSATION if message.get("role") != "tool"]
    caller = connect(serve(*steps))
    await caller.read(await caller.stream(messages=messages))
    output = json.loads(seen.attributes["gen_ai.output.messages"])
    call = {"type": "tool_call", "id": "call_1", "name": "add_task", "arguments": {"title": "buy milk"}}
    assert output[0]["parts"] == [
        {"type": "reasoning", "content": "hm"},
        {"type": "text", "content": "Sure."},
        call,
    ]
    given = json.loads(seen.attributes["gen_ai.input.messages"])
    assert [message["role"] for message in given] == ["system", "user", "assistant", "user"]
    assert given[2]["parts"] == [call | {"id": "c0", "arguments": {"title": "x"}}]
    tools = json.loads(seen.attributes["gen_ai.tool.definitions"])
    assert tools[0]["name"] == "add_task"
    assert tools[0]["parameters"] == ADD_TASK["function"]["parameters"]
    seen.encode()


async def test_content_as_events(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "event_only")
    seen = instrument()
    caller = connect(serve(Answer(completion(text("hello \ud83d")))))
    await caller.create()
    (record,) = seen.log_records
    assert record.event_name == "gen_ai.client.inference.operation.details"
    assert record.attributes["gen_ai.output.messages"][0]["parts"][0]["content"] == r"hello \ud83d"
    assert "gen_ai.output.messages" not in seen.attributes
    seen.encode()


async def test_completion_hook(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    calls: list[Any] = []

    class Hook:
        def on_completion(self, **kwargs: Any) -> None:
            calls.append(kwargs)

    instrument(completion_hook=Hook())
    caller = connect(serve(chunk(text("hello")), chunk(finish_reason="stop"), DONE))
    await caller.read(await caller.stream())
    (call,) = calls
    assert call["outputs"][0].parts[0].content == "hello"
    assert call["inputs"][0].parts[0].content == MESSAGES[0]["content"]


# A tracker without an instrumentor ----------------------------------------------------------------------------


async def test_a_tracker_by_itself_writes_to_the_current_span(seen: Seen, serve: Serve) -> None:
    caller = SyncCaller(serve(*HEALTHY).base_url)
    bare = await caller.stream()
    with seen.tracer_provider.get_tracer("application").start_as_current_span("mine"):
        await caller.read(SyncStreamingToolCallTracker(bare))
        assert trace.get_current_span().is_recording()
    assert seen.span.name == "mine"
    assert [event.name for event in seen.events()][-1] == "otel_llm.finish_reason"
    assert len(seen.events("otel_llm.tool_call.completed")) == 1
    await caller.close_client()


async def test_a_tracker_without_any_span(serve: Serve) -> None:
    caller = SyncCaller(serve(*HEALTHY).base_url)
    tracker = SyncStreamingToolCallTracker(await caller.stream())
    assert len(await caller.read(tracker)) == 5
    assert tracker._tool_calls == {0: {"name": "add_task", "arguments": ARGUMENTS, "id": "call_1"}}
    await caller.close_client()


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.openai.com/v1", ("openai", "api.openai.com", None)),
        ("https://me.openai.azure.com/openai", ("azure.ai.openai", "me.openai.azure.com", None)),
        ("https://api.cerebras.ai/v1", ("cerebras", "api.cerebras.ai", None)),
        ("https://api.groq.com/openai/v1", ("groq", "api.groq.com", None)),
        ("https://notapi.groq.com.evil.example/v1", ("openai", "notapi.groq.com.evil.example", None)),
        ("http://localhost:8000/v1", ("openai", "localhost", 8000)),
        ("http://localhost/v1", ("openai", "localhost", 80)),
        ("http://[::1]:8080/v1", ("openai", "::1", 8080)),
    ],
)
def test_provider(base_url: str, expected: tuple[Any, ...]) -> None:
    caller = SyncCaller(base_url)
    assert tuple(server_of(caller.client)) == expected
    caller.client.close()
