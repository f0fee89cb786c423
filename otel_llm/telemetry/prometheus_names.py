"""The names that metrics and attributes have in Prometheus, for dashboards, rules and checks.

Source: "Prometheus and OpenMetrics Compatibility" of the OpenTelemetry specification, as the collector's Prometheus
exporter implements it. Only what our metrics need: units `s` and `{annotation}`, counters and histograms.
"""

from __future__ import annotations

from otel_llm.telemetry.semconv import Metric

_UNIT_SUFFIXES = {"s": "_seconds"}


def prometheus_metric(metric: Metric) -> str:
    """The name of a counter's series, or of a histogram without `_bucket`, `_count` or `_sum`."""
    unit = _UNIT_SUFFIXES.get(metric.unit, "")
    return prometheus_label(metric.name) + unit + ("_total" if metric.kind == "counter" else "")


def prometheus_label(attribute: str) -> str:
    """The label that an attribute becomes."""
    return attribute.replace(".", "_")
