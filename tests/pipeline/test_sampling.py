"""What the gateway keeps and why, by the rules of docs/pipeline.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pipeline.backends import eventually, scraped, tags
from tests.helpers.pipeline.otlp import post_spans, span
from tests.helpers.pipeline.tier import TOKEN, Tier, running_tier

pytestmark = pytest.mark.usefixtures("go_programs", "disk_of_the_test")

ERROR = {"code": 2}
DECIDED = "otelcol_processor_tail_sampling_global_count_traces_sampled"


def test_the_random_bits_of_the_trace_id_decide_the_share(tmp_path: Path) -> None:
    with running_tier(tmp_path, SHARE_PERCENT="12.5", DECISION_WAIT="1s") as tier:
        ids = [os.urandom(16).hex() for _ in range(1000)]
        _send(tier, *(span(trace_id=one) for one in ids))
        expected = {one for one in ids if int(one[18:], 16) >= 0.875 * 2**56}
        kept = eventually(lambda: _reasons(tier), lambda reasons: len(reasons) >= len(expected))

    assert {trace_id for trace_id, _ in kept} == expected
    assert set(kept.values()) == {"share"}
    assert len(kept) == len(expected)


def test_a_dropped_trace_is_kept_once_it_fails(tmp_path: Path) -> None:
    """An agent run takes longer than the wait and fails at its end."""
    run, other = "1" * 17 + "0" * 15, "2" * 17 + "0" * 15
    with running_tier(tmp_path, SHARE_PERCENT="0", DECISION_WAIT="1s") as tier:
        _send(tier, span(name="early", trace_id=run), span(name="other", trace_id=other))
        eventually(lambda: scraped(tier.gateway_ports.own_metrics, DECIDED), lambda count: count >= 2)
        _send(tier, span(name="before", trace_id=run))
        _send(tier, span(name="wrong", trace_id=run, status=ERROR))
        _send(tier, span(name="after", trace_id=run))
        kept = eventually(lambda: _reasons(tier), lambda reasons: len(reasons) == 3)

    assert {name: reason for (_, name), reason in kept.items()} == {
        "before": "trace",
        "wrong": "error",
        "after": "trace",
    }


def _send(tier: Tier, *spans: dict[str, Any]) -> None:
    post_spans(tier.gateway_ports.http, TOKEN, spans, resource={"service.name": "sampled"})


def _reasons(tier: Tier) -> dict[tuple[str, str], str]:
    return {
        (one["traceID"], one["operationName"]): tags(one)["otel_llm.sampling.reason"]
        for one in tier.traces.spans("sampled")
    }
