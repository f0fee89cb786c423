"""Asks Prometheus whether it scrapes the collector, and whether it has the metrics of the test streams."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from otel_llm.doctor.finding import Finding, unreachable
from otel_llm.doctor.trial import BROKEN_CALLS, HEALTHY_CALLS
from otel_llm.doctor.web import NoAnswer, get_json
from otel_llm.telemetry.prometheus_names import prometheus_metric
from otel_llm.telemetry.semconv import METRIC_TOOL_CALL_COUNT, METRIC_TOOL_CALL_DURATION

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLL_INTERVAL: Final = 1.0  # seconds
_METRIC: Final = prometheus_metric(METRIC_TOOL_CALL_COUNT)
_WITH_EXEMPLARS: Final = f"{prometheus_metric(METRIC_TOOL_CALL_DURATION)}_bucket"
_CALLS: Final = len(HEALTHY_CALLS) + len(BROKEN_CALLS)
# The label with the service's name: as the dashboards expect it, and as a scrape that overwrites labels renames it.
_JOB: Final = "job"
_OVERWRITTEN: Final = "exported_job"
_CHECK: Final = "Prometheus"


def is_there(url: str) -> Finding:
    """Whether Prometheus answers at `url`."""
    try:
        _api(url, "query", query="1")
    except NoAnswer as why:
        return unreachable(_CHECK, url, why)
    return Finding(_CHECK, "ok", f"Prometheus answers at {url}.")


def target_findings(url: str, *, wait: float) -> Iterator[Finding]:
    """Whether all targets are up and include a collector. Waits up to `wait` seconds for the first scrape."""
    check = "targets"
    deadline = time.monotonic() + wait
    try:
        while not _are_known(targets := _api(url, "targets", state="active")["activeTargets"]):
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL_INTERVAL)
        own = _query(url, '{__name__=~"otelcol_process_uptime.*"}')
    except (NoAnswer, KeyError, TypeError) as why:
        yield Finding(check, "skipped", f"Prometheus does not list its targets ({why}).")
        return
    if not targets:
        sentence = (
            "Prometheus scrapes nothing: its configuration has no targets. See grafana/prometheus/prometheus.yaml."
        )
        yield Finding(check, "failed", sentence)
        return
    down = [target for target in targets if target.get("health") == "down"]
    for target in down:
        sentence = (
            f"Prometheus cannot scrape {target.get('scrapeUrl')} (job {target.get('scrapePool')}): "
            f"{target.get('lastError') or 'no reason given'}. If it is the collector, start it or correct the address."
        )
        yield Finding(check, "warning", sentence)
    if own:
        yield Finding(check, "ok", "Prometheus scrapes the collector's own metrics.")
    elif not down:
        sentence = (
            "Prometheus does not scrape the collector's own metrics (otelcol_*), so no alert reports lost telemetry. "
            "Add the collector's port 8888 to the targets."
        )
        yield Finding(check, "warning", sentence)


def _are_known(targets: list[Any]) -> bool:
    return bool(targets) and all(target.get("health") != "unknown" for target in targets)


def metric_finding(url: str, service: str, *, wait: float) -> Finding:
    """Wait up to `wait` seconds for a scrape with the test's tool calls."""
    check = "metrics"
    deadline = time.monotonic() + wait
    try:
        while not (found := _calls(url, service)):
            if time.monotonic() >= deadline:
                return _no_metric(url, service, wait)
            time.sleep(_POLL_INTERVAL)
    except NoAnswer as why:
        return Finding(check, "failed", f"Prometheus at {url} could not be queried for {service}: {why}.")
    label, count = found
    if label == _OVERWRITTEN:
        sentence = (
            f"The metrics arrive, but with the application's name in the label {label}; the dashboards expect {_JOB}. "
            "Set honor_labels: true for that target."
        )
        return Finding(check, "warning", sentence)
    if count < _CALLS:
        sentence = f"Prometheus has {count:.0f} of the {_CALLS} tool calls of {service}: something drops metrics."
        return Finding(check, "warning", sentence)
    return Finding(check, "ok", f"Prometheus has the {_CALLS} tool calls of {service}.")


def _no_metric(url: str, service: str, wait: float) -> Finding:
    sentence = (
        f"The metrics were sent, but Prometheus has none of {service} after {wait:.0f} s. It must scrape the "
        "collector's `prometheus` exporter (port 8889), at a shorter interval than that."
    )
    try:
        targets = _api(url, "targets", state="active")["activeTargets"]
        read = [str(target.get("scrapeUrl")) for target in targets]
    except (NoAnswer, KeyError, TypeError):
        read = []
    if read:
        sentence += f" It scrapes {', '.join(read[:5])}{' and more' if len(read) > 5 else ''}."
    return Finding("metrics", "failed", sentence)


def exemplar_finding(url: str, service: str) -> Finding:
    """Whether exemplars link metrics to traces."""
    check = "exemplars"
    now = time.time()
    query = f'{_WITH_EXEMPLARS}{{{_JOB}="{service}"}} or {_WITH_EXEMPLARS}{{{_OVERWRITTEN}="{service}"}}'
    try:
        found = _api(url, "query_exemplars", query=query, start=now - 600, end=now + 60)
        if found:
            return Finding(check, "ok", "Exemplars link the metrics to traces.")
        features = str(_api(url, "status/flags").get("enable-feature", ""))
    except (NoAnswer, AttributeError) as why:
        return Finding(check, "skipped", f"Prometheus does not report whether it stores exemplars ({why}).")
    if "exemplar-storage" not in features:
        sentence = (
            "Prometheus stores no exemplars, so graphs do not link to traces. Start it with "
            "--enable-feature=exemplar-storage."
        )
    else:
        sentence = (
            "Prometheus stores exemplars, but has none for these metrics: set enable_open_metrics: true in the "
            "collector's `prometheus` exporter."
        )
    return Finding(check, "warning", sentence)


def _calls(url: str, service: str) -> tuple[str, float] | None:
    for label in (_JOB, _OVERWRITTEN):
        samples = _query(url, f'{_METRIC}{{{label}="{service}"}}')
        if samples:
            return label, sum(float(sample["value"][1]) for sample in samples)
    return None


def _query(url: str, expression: str) -> list[Any]:
    try:
        return list(_api(url, "query", query=expression)["result"])
    except (KeyError, TypeError) as error:
        raise NoAnswer("the answer is not from Prometheus's API") from error


def _api(url: str, path: str, **query: object) -> Any:
    """The data of an answer. Raises NoAnswer."""
    answer = get_json(f"{url}/api/v1/{path}", **query)
    if not isinstance(answer, dict) or answer.get("status") != "success" or "data" not in answer:
        raise NoAnswer("the answer is not from Prometheus's API: something else listens there")
    return answer["data"]
