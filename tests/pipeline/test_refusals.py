"""What the gateway refuses: senders without the token, and bodies that are too large."""

from __future__ import annotations

import gzip
import json
import urllib.error
from collections.abc import Iterator

import psutil
import pytest

from tests.helpers.pipeline.application import TRAFFIC, run_instrumented
from tests.helpers.pipeline.backends import eventually, scraped
from tests.helpers.pipeline.otlp import post, post_spans, span
from tests.helpers.pipeline.tier import TOKEN, Tier, running_tier

pytestmark = pytest.mark.usefixtures("go_programs")


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    with running_tier(tmp_path_factory.mktemp("refusing"), SHARE_PERCENT="100") as tier:
        yield tier


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1]])
def test_without_the_right_token_everything_is_refused(tier: Tier, token: str | None) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        post_spans(tier.gateway_ports.http, token, [span()], resource={"service.name": "stranger"})
    assert refused.value.code == 401


def test_over_grpc_without_a_token_everything_is_refused(tier: Tier, scripted: str) -> None:
    said = run_instrumented(str(TRAFFIC), scripted, "calls", otlp_port=tier.gateway_ports.grpc, service="grpc-stranger")
    assert "UNAUTHENTICATED" in said.upper()
    said = run_instrumented(
        *(str(TRAFFIC), scripted, "calls"),
        otlp_port=tier.gateway_ports.grpc,
        service="friend",
        OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer {TOKEN}",
    )
    assert "UNAUTHENTICATED" not in said.upper()
    assert eventually(lambda: tier.traces.spans("friend"), bool)
    assert tier.traces.spans("grpc-stranger") == []


def test_a_body_of_100_mb_is_refused_and_does_not_fill_the_memory(tier: Tier) -> None:
    before = psutil.Process(tier.gateway.pid).memory_info().rss
    for port, token in ((tier.gateway_ports.http, TOKEN), (tier.agent_ports.http, None)):
        with pytest.raises(urllib.error.URLError):
            post(port, token, b" " * 100_000_000, {"Content-Type": "application/x-protobuf"})
    assert psutil.Process(tier.gateway.pid).memory_info().rss - before < 100_000_000
    assert tier.gateway.has_ended() is False


def test_a_small_body_that_unpacks_to_100_mb_is_refused(tier: Tier) -> None:
    whole = {"resourceSpans": [{"scopeSpans": [{"spans": [span(name="x" * 100_000_000)]}]}]}
    body = gzip.compress(json.dumps(whole).encode(), 9)
    assert len(body) < 1_000_000
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(tier.gateway_ports.http, TOKEN, body, {"Content-Type": "application/json", "Content-Encoding": "gzip"})
    assert refused.value.code in {400, 413}
    assert scraped(tier.gateway_ports.own_metrics, "otelcol_receiver_refused_spans") == 0


def test_malformed_input_is_refused_and_the_next_span_accepted(tier: Tier) -> None:
    for body in (b"\xff" * 1000, b"{", b"[]"):
        with pytest.raises(urllib.error.HTTPError):
            post(tier.gateway_ports.http, TOKEN, body, {"Content-Type": "application/json"})
    post_spans(tier.gateway_ports.http, TOKEN, [span()], resource={"service.name": "after-nonsense"})
    assert eventually(lambda: tier.traces.spans("after-nonsense"), bool)
