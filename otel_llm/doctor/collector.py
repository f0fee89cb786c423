"""Asks the collector how it is, and what it has done with the spans that it was sent."""

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
# A batch that is on its way is in the queue as well: only what is still there after this is held up.
_QUEUE_GRACE: Final = 5.0  # seconds
_POLL_INTERVAL: Final = 0.5  # seconds
# Some collectors write the unit and the kind into the name.
_SAMPLE: Final = re.compile(
    r"^(otelcol_\w+?)(?:__spans_)?(?:_total)?(?:\{(.*)\})? (\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?: \d+)?$", re.MULTILINE
)
_EXPORTER: Final = re.compile(r'exporter="([^"]*)"')
_DATA_TYPE: Final = re.compile(r'data_type="([^"]*)"')


def health_finding(url: str, destination: Destination | None) -> Finding:
    """Ask the collector's health at `url`; what it means that nothing is there depends on where spans are sent."""
    check = "collector"
    try:
        get(url)
    except NoAnswer as why:
        if not why.refused:
            sentence = f"The collector at {url} is not well: {why}. Its own log says why."
            return Finding(check, "failed", sentence)
    else:
        return Finding(check, "ok", f"The collector at {url} is well.")
    if destination is None:
        return Finding(check, "skipped", f"Nothing tells of a collector's health at {url}, and none is sent to.")
    if not destination.is_local:
        sentence = (
            f"Nothing tells of a collector's health at {url}; what telemetry is sent to is not this machine. "
            "--collector-health says where to ask."
        )
        return Finding(check, "skipped", sentence)
    if not _accepts(destination):
        sentence = (
            f"No collector runs: nothing listens at {destination.url}, nor at {url}. Start one: make stack, "
            "docker compose up, or your own."
        )
        return Finding(check, "failed", sentence)
    sentence = (
        f"Something listens at {destination.url}, but nothing tells of a collector's health at {url}: "
        "--collector-health says where to ask, and its configuration needs the extension health_check."
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
    """Look for the reason in the collector's own metrics at `url`, when spans were sent and did not arrive."""
    check = "collector's metrics"
    try:
        samples = _samples(url)
        held = _queues(samples)
        held = _held_up(url, held, _sent(samples)) if held else {}
    except NoAnswer as why:
        sentence = f"What the collector did with the spans is not known: {why} ({url}; --collector-metrics says where)."
        return Finding(check, "skipped", sentence)
    if not samples:
        return Finding(check, "skipped", f"There are no metrics of a collector at {url}.")
    accepted = sum(sample.value for sample in samples if sample.name == "otelcol_receiver_accepted_spans")
    refused = sum(sample.value for sample in samples if sample.name == "otelcol_receiver_refused_spans")
    told = [
        f"spans wait in the queue of {exporter} ({size:,.0f} in it), since it cannot deliver them"
        for exporter, size in held.items()
    ]
    for sample in samples:
        if sample.name == "otelcol_exporter_send_failed_spans" and sample.value > 0:
            spans = f"{sample.value:,.0f} spans"
            told.append(f"{sample.exporter} could not deliver {spans} since the collector was started")
        elif sample.name == "otelcol_exporter_enqueue_failed_spans" and sample.value > 0:
            told.append(f"the queue of {sample.exporter} was full, and {sample.value:,.0f} spans are lost")
    if refused > 0:
        told.append(f"{refused:,.0f} spans were refused on arrival: its memory limit, or a queue that is full")
    if told:
        sentence = f"The collector says: {'; '.join(told)}. Look at where its exporter sends, and whether that runs."
        return Finding(check, "failed", sentence)
    if accepted == 0:
        sentence = f"The collector at {url} has received no span since it was started: they are sent to another one."
        return Finding(check, "failed", sentence)
    sentence = (
        f"The collector received {accepted:,.0f} spans since it was started, and holds, refuses and loses none: it "
        "delivers them elsewhere, or a rule of its own drops them (a filter, sampling)."
    )
    return Finding(check, "warning", sentence)


class _Sample(NamedTuple):
    name: str
    exporter: str
    is_of_traces: bool
    value: float


def _samples(url: str) -> list[_Sample]:
    """What the collector says of itself. Raises NoAnswer."""
    samples = []
    for name, labels, value in _SAMPLE.findall(get(url)):
        exporter, data_type = _EXPORTER.search(labels), _DATA_TYPE.search(labels)
        of = exporter[1] if exporter else "an exporter"
        samples.append(_Sample(name, of, data_type is None or data_type[1] == "traces", float(value)))
    return samples


def _queues(samples: list[_Sample]) -> dict[str, float]:
    """How much is in the queue of each exporter that has something in it, in the unit of the queue."""
    return {
        sample.exporter: sample.value
        for sample in samples
        if sample.name == "otelcol_exporter_queue_size" and sample.value > 0 and sample.is_of_traces
    }


def _sent(samples: list[_Sample]) -> dict[str, float]:
    return {sample.exporter: sample.value for sample in samples if sample.name == "otelcol_exporter_sent_spans"}


def _held_up(url: str, queues: dict[str, float], sent: dict[str, float]) -> dict[str, float]:
    """Of these queues the ones that neither become empty nor lose anything to where they deliver. Raises NoAnswer."""
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
