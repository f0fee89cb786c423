"""Overload: the application does not notice, and what is lost is counted."""

from __future__ import annotations

import contextlib
import re
import statistics
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.helpers.pipeline.application import TRAFFIC, run_instrumented
from tests.helpers.pipeline.backends import eventually, scraped
from tests.helpers.pipeline.otlp import post_spans, span
from tests.helpers.pipeline.tier import TOKEN, new_tier

pytestmark = pytest.mark.usefixtures("go_programs", "disk_of_the_test")

REQUESTS = 5000
LIMIT_MIB = 300
SPANS = 1000  # in one request


def test_an_application_does_not_wait_for_a_pipeline_that_is_full(tmp_path: Path, scripted: str) -> None:
    """Jaeger is down and the queues are small: first the gateway's fills, then the agent's, which then refuses."""
    small = {"QUEUE_BYTES": "6000000"}  # two or three batches of an SDK
    tier = new_tier(tmp_path, agent=small, SHARE_PERCENT="100", **small)
    with tier.gateway, tier.agent:
        undisturbed = _seconds_a_request(scripted, REQUESTS // 10, OTEL_TRACES_EXPORTER="none", otlp_port=1)
        overloaded = _seconds_a_request(
            scripted,
            REQUESTS,
            otlp_port=tier.agent_ports.grpc,
            OTEL_EXPORTER_OTLP_TIMEOUT="2",
            # The SDK does not count what it drops itself.
            OTEL_BSP_MAX_QUEUE_SIZE=str(REQUESTS),
        )
        refused = scraped(tier.agent_ports.own_metrics, "otelcol_exporter_enqueue_failed_spans")
        memory = psutil.Process(tier.gateway.pid).memory_info().rss
        with tier.jaeger:
            # The gateway pauses up to ten seconds between attempts, and a busy machine sends slowly.
            stored = eventually(
                lambda: len(tier.traces.spans("app")), lambda count: count + refused >= REQUESTS, timeout=180
            )

    print(
        f"\na request took {undisturbed * 1e3:.1f} ms without a pipeline, {overloaded * 1e3:.1f} ms with a full one; "
        f"of {REQUESTS} spans {stored} arrived, and {refused:.0f} were counted as refused"
    )
    assert 0 < stored < REQUESTS
    # Counted at every attempt, so at least once for each missing span.
    assert refused >= REQUESTS - stored
    assert memory < LIMIT_MIB * 1024 * 1024
    # A request that waited for an export would take a thousand times as long. Both are medians of this run.
    assert overloaded < 10 * undisturbed


def test_what_does_not_fit_into_memory_is_refused_and_counted(tmp_path: Path) -> None:
    """Undecided spans wait in memory, and far more arrive than it holds."""
    tier = new_tier(
        tmp_path,
        SHARE_PERCENT="0",
        DECISION_WAIT="600s",
        MEMORY_LIMIT_MIB=str(LIMIT_MIB),
        MEMORY_SPIKE_MIB="100",
        GOMEMLIMIT=f"{LIMIT_MIB}MiB",
    )
    batch = [span(attributes={f"app.note.{number}": "so be it" for number in range(20)}) for _ in range(SPANS)]

    def send(_number: int) -> bool:
        with contextlib.suppress(urllib.error.HTTPError):
            post_spans(tier.gateway_ports.http, TOKEN, [{**one, "traceId": _id()} for one in batch], resource={})
            return True
        return False

    with tier.gateway:
        process = psutil.Process(tier.gateway.pid)
        memory = 0
        taken = []
        with ThreadPoolExecutor(4) as threads:
            for answer in threads.map(send, range(150)):
                taken.append(answer)
                memory = max(memory, process.memory_info().rss)
        refused = scraped(tier.gateway_ports.own_metrics, "otelcol_processor_memory_limiter_refused_spans") + scraped(
            tier.gateway_ports.own_metrics, "otelcol_processor_refused_spans"
        )

    print(
        f"\nof {len(taken)} requests {taken.count(False)} were refused, {refused:.0f} spans; at most {memory >> 20} MiB"
    )
    assert True in taken
    assert taken.count(False) * SPANS == refused > 0
    # The limit is for the heap; the program itself and memory that the garbage collector has not returned come on top.
    assert memory < 2 * LIMIT_MIB * 1024 * 1024


def _seconds_a_request(base_url: str, count: int, *, otlp_port: int, **variables: str) -> float:
    """The median, as the application itself measures it."""
    said = run_instrumented(str(TRAFFIC), base_url, f"calls={count}", otlp_port=otlp_port, TIMED="1", **variables)
    return statistics.median(float(seconds) for seconds in re.findall(r"took: ([0-9.e-]+)", said))


def _id() -> str:
    trace_id: str = span()["traceId"]
    return trace_id
