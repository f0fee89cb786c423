"""Asks the collector for its health, and what it did with the spans it received."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.doctor.finding import Finding
from otel_llm.doctor.web import NoAnswer, get

if TYPE_CHECKING:
    from otel_llm.doctor.destination import Destination

_CONNECT_TIMEOUT: Final = 2.0  # seconds
# Batches in transit are in the queue, too: only what is still there after this is stuck.
_QUEUE_GRACE: Final = 5.0  # seconds
_POLL_INTERVAL: Final = 0.5  # seconds
# Some collectors append the unit and the kind to the name.
_SAMPLE: Final = re.compile(
    r"^(otelcol_\w+?)(?:__spans_)?(?:_total)?(?:\{(.*)\})? (\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?: \d+)?$", re.MULTILINE
)
_EXPORTER: Final = re.compile(r'exporter="([^"]*)"')
_DATA_TYPE: Final = re.compile(r'data_type="([^"]*)"')


def health_finding(url: str, destination: Destination | None) -> Finding:
    """Ask for the collector's health at `url`. What no answer means depends on where spans are sent."""
    check = "collector"
    try:
        get(url)
    except NoAnswer as why:
        if not why.refused:
            sentence = f"The collector at {url} is unhealthy: {why}. See its log."
            return Finding(check, "failed", sentence)
    else:
        return Finding(check, "ok", f"The collector at {url} is healthy.")
    if destination is None:
        return Finding(check, "skipped", f"There is no health endpoint at {url}, and nothing is sent to a collector.")
    if not destination.is_local:
        sentence = (
            f"There is no health endpoint at {url}. Telemetry goes to another machine; name its endpoint with "
            "--collector-health."
        )
        return Finding(check, "skipped", sentence)
    if not _accepts(destination):
        sentence = (
            f"No collector is running: nothing listens at {destination.url} or {url}. Start one: `make stack`, "
            "`docker compose up`, or your own."
        )
        return Finding(check, "failed", sentence)
    sentence = (
        f"Something listens at {destination.url}, but there is no health endpoint at {url}. Enable the collector's "
        "health_check extension, or name its endpoint with --collector-health."
    )
    return Finding(check, "warning", sentence)


def _accepts(destination: Destination) -> bool:
    if destination.address is None:
        return False
    try:
        socket.create_connection(destination.address, timeout=_CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True


def why_spans_are_missing(url: str) -> Finding:
    """Look into the collector's own metrics at `url` for the reason why spans that were sent did not arrive."""
    check = "collector's metrics"
    try:
        samples = _samples(url)
        held = _queues(samples)
        held = _held_up(url, held, _sent(samples)) if held else {}
    except NoAnswer as why:
        sentence = f"The collector's own metrics cannot be read at {url} (--collector-metrics): {why}."
        return Finding(check, "skipped", sentence)
    if not samples:
        return Finding(check, "skipped", f"{url} has no metrics of a collector.")
    accepted = sum(sample.value for sample in samples if sample.name == "otelcol_receiver_accepted_spans")
    refused = sum(sample.value for sample in samples if sample.name == "otelcol_receiver_refused_spans")
    problems = [
        f"spans are stuck in the queue of {exporter} ({size:,.0f} in it), which cannot deliver them"
        for exporter, size in held.items()
    ]
    for sample in samples:
        if sample.name == "otelcol_exporter_send_failed_spans" and sample.value > 0:
            spans = f"{sample.value:,.0f} spans"
            problems.append(f"{sample.exporter} has failed to deliver {spans} since the collector started")
        elif sample.name == "otelcol_exporter_enqueue_failed_spans" and sample.value > 0:
            problems.append(f"the queue of {sample.exporter} was full, and {sample.value:,.0f} spans were lost")
    if refused > 0:
        problems.append(f"{refused:,.0f} spans were refused on arrival: its memory limit, or a full queue")
    if problems:
        sentence = f"The collector reports: {'; '.join(problems)}. Check its exporter's endpoint and what runs there."
        return Finding(check, "failed", sentence)
    if accepted == 0:
        sentence = f"The collector at {url} has received no span since it started: they are sent elsewhere."
        return Finding(check, "failed", sentence)
    sentence = (
        f"The collector has received {accepted:,.0f} spans since it started; none is stuck, refused or lost. It "
        "delivers them elsewhere, or drops them by a rule (a filter, sampling)."
    )
    return Finding(check, "warning", sentence)


class _Sample(NamedTuple):
    name: str
    exporter: str
    is_of_traces: bool
    value: float


def _samples(url: str) -> list[_Sample]:
    """The collector's metrics about itself. Raises NoAnswer."""
    samples = []
    for name, labels, value in _SAMPLE.findall(get(url)):
        exporter, data_type = _EXPORTER.search(labels), _DATA_TYPE.search(labels)
        of = exporter[1] if exporter else "an exporter"
        samples.append(_Sample(name, of, data_type is None or data_type[1] == "traces", float(value)))
    return samples


def _queues(samples: list[_Sample]) -> dict[str, float]:
    """The size of each exporter's queue that is not empty, in the unit of the queue."""
    return {
        sample.exporter: sample.value
        for sample in samples
        if sample.name == "otelcol_exporter_queue_size" and sample.value > 0 and sample.is_of_traces
    }


def _sent(samples: list[_Sample]) -> dict[str, float]:
    return {sample.exporter: sample.value for sample in samples if sample.name == "otelcol_exporter_sent_spans"}


def _held_up(url: str, queues: dict[str, float], sent: dict[str, float]) -> dict[str, float]:
    """The queues among these that neither drain nor deliver anything. Raises NoAnswer."""
    deadline = time.monotonic() + _QUEUE_GRACE
    while queues and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL)
        samples = _samples(url)
        now, delivered = _queues(samples), _sent(samples)
        queues = {
            exporter: now[exporter]
            for exporter in queues
            if exporter in now and delivered.get(exporter) == sent.get(exporter)
        }
    return queues
