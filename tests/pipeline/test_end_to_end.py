"""An application, an agent, a gateway, Jaeger and Prometheus: what the model did is visible at the other end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import pytest

from stack import programs
from stack.ports import free_ports
from tests.helpers.pipeline.application import TRAFFIC, run_instrumented
from tests.helpers.pipeline.backends import Prometheus, events, eventually, tags
from tests.helpers.pipeline.tier import Tier, running_tier

pytestmark = pytest.mark.usefixtures("go_programs", "prometheus_programs")


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    with running_tier(tmp_path_factory.mktemp("tier"), SHARE_PERCENT="100") as tier:
        yield tier


@pytest.fixture(scope="module")
def metrics(tier: Tier, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    (port,) = free_ports(1)
    scraped = {"applications": [tier.gateway_ports.prometheus], "collector": [tier.gateway_ports.own_metrics]}
    with programs.prometheus(port, scraped, tmp_path_factory.mktemp("prometheus"), every="1s"):
        yield Prometheus(port)


def test_the_calls_of_a_real_server_are_in_jaeger_and_counted_in_prometheus(
    tier: Tier, metrics: Prometheus, llama: str
) -> None:
    run_instrumented("-m", "otel_llm.demo.agent", llama, otlp_port=tier.agent_ports.grpc, service="agent")

    spans = eventually(lambda: tier.traces.spans("agent"), lambda spans: len(spans) == 2)
    calls, answer = sorted(spans, key=lambda span: span["startTime"])
    assert calls["operationName"].startswith("chat ")
    assert tags(calls)["otel_llm.stream.outcome"] == "completed"
    assert tags(answer)["otel_llm.stream.text_only"] is True

    told = [event for event in events(calls) if event.get("otel_llm.tool_call.index") == 0]
    order = [name for name, _ in itertools.groupby(event["event"] for event in told)]
    assert order == [
        "otel_llm.tool_call.detected",
        "otel_llm.tool_call.name",
        "otel_llm.tool_call.arguments.delta",
        "otel_llm.tool_call.completed",
    ]
    pieces = [e["gen_ai.tool.call.arguments"] for e in told if e["event"] == "otel_llm.tool_call.arguments.delta"]
    assert "".join(pieces) == told[-1]["gen_ai.tool.call.arguments"]
    assert len(pieces) > 1

    count = 'otel_llm_tool_call_count_total{job="agent"}'
    wanted = tags(calls)["otel_llm.stream.tool_call_count"]
    assert eventually(lambda: metrics.value(count), lambda value: value == wanted) == wanted
    # Derived from the spans by the gateway, before it samples.
    of_spans = 'traces_span_metrics_calls_total{job="agent",otel_llm_stream_outcome="completed"}'
    assert eventually(lambda: metrics.value(of_spans), lambda value: value == 2) == 2


def test_the_anomaly_of_a_broken_stream_is_named_in_both(tier: Tier, metrics: Prometheus, scripted: str) -> None:
    run_instrumented(str(TRAFFIC), scripted, "invalid_json", otlp_port=tier.agent_ports.grpc, service="broken")

    (span,) = eventually(lambda: tier.traces.spans("broken"), lambda spans: len(spans) == 1)
    (anomaly,) = [event for event in events(span) if event["event"] == "otel_llm.anomaly"]
    assert anomaly["otel_llm.anomaly.type"] == "invalid_json"
    assert tags(span)["otel_llm.sampling.reason"] == "anomaly"
    for name in ("otel_llm_anomaly_count_total", "otel_llm_anomaly_event_count_total"):
        counted = f'{name}{{job="broken",otel_llm_anomaly_type="invalid_json"}}'
        assert eventually(partial(metrics.value, counted), lambda value: value == 1) == 1


def test_an_exemplar_leads_from_a_metric_to_its_trace(tier: Tier, metrics: Prometheus, scripted: str) -> None:
    run_instrumented(str(TRAFFIC), scripted, "calls=3", otlp_port=tier.agent_ports.grpc, service="exemplars")

    for name in ("otel_llm_tool_call_duration_seconds_bucket", "traces_span_metrics_duration_seconds_bucket"):
        ids = eventually(partial(metrics.exemplars, f'{name}{{job="exemplars"}}'), bool)
        stored = eventually(lambda: tier.traces.traces("exemplars"), lambda traces: len(traces) == 3)
        assert ids
        assert ids <= {trace["traceID"] for trace in stored}
