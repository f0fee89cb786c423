"""Whatever was accepted from an application arrives, whichever process dies on the way: one gateway, one Jaeger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pipeline.application import TRAFFIC, run_instrumented
from tests.helpers.pipeline.backends import eventually, scraped, tags, times_stored
from tests.helpers.pipeline.otlp import post_spans, span
from tests.helpers.pipeline.tier import TOKEN, Tier, new_tier, running_tier

pytestmark = pytest.mark.usefixtures("go_programs", "disk_of_the_test")

REQUESTS = 2000


def test_no_span_is_lost_by_an_outage_of_jaeger_and_a_kill_of_the_gateway(
    tmp_path: Path, scripted: str, record_property: Callable[[str, object], None]
) -> None:
    tier = new_tier(tmp_path, SHARE_PERCENT="100")
    with tier.agent, tier.gateway:
        # Jaeger is down. Half of the requests are made, the gateway is killed, the rest are made while it is down.
        run_instrumented(str(TRAFFIC), scripted, f"calls={REQUESTS // 2}", otlp_port=tier.agent_ports.grpc)
        tier.gateway.kill()
        run_instrumented(str(TRAFFIC), scripted, f"calls={REQUESTS // 2}", otlp_port=tier.agent_ports.grpc)
        tier.gateway.start()
        with tier.jaeger:
            stored = eventually(lambda: _stored(tier), lambda stored: len(stored) == REQUESTS, timeout=90)

    twice = sum(1 for times in stored.values() if times > 1)
    record_property("spans", f"{len(stored)} of {REQUESTS}, {twice} of them twice")
    print(f"\n{len(stored)} of {REQUESTS} spans after an outage and a kill, {twice} of them twice")
    assert len(stored) == REQUESTS
    # At least once: a batch in flight when the gateway died is sent again, by the agent or from the queue.
    assert max(stored.values()) <= 2
    assert twice <= 4 * _BATCH_SPANS


def test_errors_and_anomalies_survive_a_kill_of_the_gateway_before_any_decision(tmp_path: Path, scripted: str) -> None:
    tier = new_tier(tmp_path, SHARE_PERCENT="0", DECISION_WAIT="600s")
    wanted = ("invalid_json=50", "dropped=50", "refused=50", "calls=50")
    with tier.agent, tier.gateway:
        run_instrumented(str(TRAFFIC), scripted, *wanted, otlp_port=tier.agent_ports.grpc)
        accepted = eventually(lambda: scraped(tier.gateway_ports.own_metrics, _ACCEPTED), lambda count: count == 200)
        assert accepted == 200
        tier.gateway.kill()
        tier.gateway.start()
        with tier.jaeger:
            stored = eventually(lambda: _stored(tier), lambda stored: len(stored) == 150)
            reasons = {tags(span)["otel_llm.sampling.reason"] for span in tier.traces.spans("app")}

    # The fifty healthy ones were undecided and are gone, as they would be after the decision.
    assert len(stored) == 150
    assert reasons == {"error", "anomaly"}


def test_the_whole_trace_of_an_anomaly_is_kept_and_a_share_of_the_rest(tmp_path: Path, scripted: str) -> None:
    with running_tier(tmp_path, SHARE_PERCENT="25", DECISION_WAIT="5s", SLOW_SECONDS="1") as tier:
        wanted = ("calls+text+invalid_json=20", "calls+text=200")
        run_instrumented(str(TRAFFIC), scripted, *wanted, otlp_port=tier.agent_ports.grpc)
        post_spans(tier.gateway_ports.http, TOKEN, [span(seconds=2.0)], resource={"service.name": "app"})
        # Longer than DECISION_WAIT: whatever will be dropped has been dropped.
        eventually(lambda: tier.traces.traces("app"), lambda traces: len(traces) >= 250, timeout=10)
        traces = tier.traces.traces("app")

    broken = [trace for trace in traces if "anomaly" in _reasons(trace)]
    slow = [trace for trace in traces if "slow" in _reasons(trace)]
    shared = [trace for trace in traces if trace not in broken and trace not in slow]
    assert len(broken) == 20
    assert {len(trace["spans"]) for trace in broken} == {4}
    assert len(slow) == 1
    # A quarter of 200, by the random bits of the trace ids: 50, and almost never outside 20 to 80 (five sigma).
    assert 20 <= len(shared) <= 80
    assert {tuple(sorted(_reasons(trace))) for trace in shared} == {("share",)}
    assert {len(trace["spans"]) for trace in shared} == {3}
    assert max(times_stored([span for trace in traces for span in trace["spans"]]).values()) == 1


_ACCEPTED = "otelcol_receiver_accepted_spans"
_BATCH_SPANS = 512  # what an SDK sends at once


def _stored(tier: Tier) -> dict[str, int]:
    return times_stored(tier.traces.spans("app"))


def _reasons(trace: dict[str, Any]) -> set[str]:
    return {tags(span)["otel_llm.sampling.reason"] for span in trace["spans"]}
