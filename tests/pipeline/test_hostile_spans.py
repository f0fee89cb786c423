"""A span from a broken or malicious sender does not harm any other span."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.pipeline.backends import eventually, tags
from tests.helpers.pipeline.otlp import post_spans, span
from tests.helpers.pipeline.tier import TOKEN, Tier, running_tier

pytestmark = pytest.mark.usefixtures("go_programs")

DELTA = "otel_llm.tool_call.arguments.delta"
# Names that the gateway uses internally. None may remain, whoever set it.
WORKING = ("joined", "kept", "cut", "status_message", "span_name")


def _odd_delta(**odd: Any) -> tuple[str, dict[str, Any]]:
    return DELTA, {"gen_ai.tool.call.arguments": "abc", **odd}


HOSTILE = {
    "number as status": span(attributes={"otel_llm.status_message": 5}),
    "map as status": span(attributes={"otel_llm.status_message": {"a": 1}}),
    "number as name": span(attributes={"otel_llm.span_name": 5}),
    "text as joined": span(
        attributes=dict.fromkeys((f"otel_llm.{name}" for name in WORKING), "x"), events=[_odd_delta()]
    ),
    "number as pieces": span(events=[(DELTA, {"gen_ai.tool.call.arguments": 5})] * 2),
    "map as pieces": span(events=[(DELTA, {"gen_ai.tool.call.arguments": {"a": [1]}})] * 2),
    "text as length": span(events=[_odd_delta(**{"otel_llm.arguments.length": "x"})] * 2),
    "map as index": span(events=[_odd_delta(**{"otel_llm.choice.index": {"a": 1}})] * 2),
    "number as event name": span(events=[("An Event", {"otel_llm.event_name": 5})]),
    "text as count": span(attributes={"otel_llm.stream.anomaly_count": "3"}),
    "map as reason": span(attributes={"otel_llm.sampling.reason": {"a": 1}}),
    "no trace": span(trace_id="0" * 32),
    "ends before it starts": span(seconds=-1e6),
    "large": span(name="x" * 5_000_000),
    # Every name more than once, as no SDK sends them.
    "doubled": {
        **span(events=[_odd_delta()]),
        "attributes": [
            {"key": f"otel_llm.{name}", "value": value}
            for value in ({"stringValue": "x"}, {"intValue": "1"}, {"stringValue": "y"})
            for name in WORKING
        ],
    },
}


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    with running_tier(tmp_path_factory.mktemp("hostile"), SHARE_PERCENT="100") as running:
        yield running


@pytest.mark.parametrize("name", HOSTILE)
def test_the_spans_beside_it_arrive(tier: Tier, name: str) -> None:
    beside = [span(name="beside") for _ in range(6)]
    post_spans(
        tier.gateway_ports.http, TOKEN, [*beside[:3], HOSTILE[name], *beside[3:]], resource={"service.name": name}
    )

    def arrived() -> list[dict[str, Any]]:
        return [one for one in tier.traces.spans(name) if one["operationName"] == "beside"]

    assert len(eventually(arrived, lambda spans: len(spans) == 6, timeout=20)) == 6
    left = {key for one in tier.traces.spans(name) for key in tags(one)}
    assert not left & {f"otel_llm.{working}" for working in WORKING}


def test_no_attribute_can_rename_a_span(tier: Tier) -> None:
    forged = {"otel_llm.status_message": "forged", "otel_llm.span_name": "forged"}
    post_spans(
        tier.gateway_ports.http,
        TOKEN,
        [span(attributes=forged, events=[("Done", {"otel_llm.event_name": "forged"})])],
        resource={"service.name": "forged-names"},
    )

    eventually(lambda: tier.traces.spans("forged-names"), bool)
    assert 'forged"' not in tier.traces.raw("forged-names")


def test_very_many_pieces_are_not_joined_without_end(tier: Tier) -> None:
    """Joining each piece copies all before it: without a bound, this one request takes half a minute of CPU time."""
    pieces = [(DELTA, {"gen_ai.tool.call.arguments": "a" * 1000})] * 12_000
    post_spans(tier.gateway_ports.http, TOKEN, [span(events=pieces)], resource={"service.name": "many"})

    (sent,) = eventually(lambda: tier.traces.spans("many"), bool)
    texts = [tags(log, "fields")["gen_ai.tool.call.arguments"] for log in sent["logs"]]
    assert len(texts) == 12_000
    assert texts.count("****") > 11_000
