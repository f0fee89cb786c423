"""Prometheus queries, as text."""

from __future__ import annotations

from typing import Final

from otel_llm.telemetry.prometheus_names import prometheus_label, prometheus_metric
from otel_llm.telemetry.semconv import (
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    METRIC_GEN_AI_CLIENT_OPERATION_DURATION,
)

PROVIDER: Final = prometheus_label(GEN_AI_PROVIDER_NAME)
MODEL: Final = prometheus_label(GEN_AI_REQUEST_MODEL)

# The variables of the dashboards. "All" is `.*`, which also matches series without the label.
_CHOSEN: Final = ('job=~"$service"', f'{PROVIDER}=~"$provider"', f'{MODEL}=~"$model"')


def chosen(metric: str, *conditions: str) -> str:
    """Return the series of ``metric`` selected by the dashboard's variables and by further ``conditions``."""
    return f"{metric}{{{', '.join((*_CHOSEN, *conditions))}}}"


def diagnosed() -> str:
    """Return the series of the requests that are diagnosed, streamed or not, answered or refused: no embeddings."""
    requests = f"{prometheus_metric(METRIC_GEN_AI_CLIENT_OPERATION_DURATION)}_count"
    return chosen(requests, f'{prometheus_label(GEN_AI_OPERATION_NAME)}!="embeddings"')


def rate(series: str) -> str:
    """Return the increase per second of ``series``."""
    return f"rate({series}[$__rate_interval])"


def increase(series: str) -> str:
    """Return the increase of ``series`` over the whole time range of the dashboard."""
    return f"increase({series}[$__range])"


def total(query: str, *by: str) -> str:
    """Return the sum of ``query``, one for each value of the labels ``by``."""
    return f"sum by ({', '.join(by)}) ({query})" if by else f"sum({query})"


def share(part: str, whole: str, *by: str) -> str:
    """Return ``part`` divided by ``whole``; there is no value where ``whole`` is 0."""
    return f"{total(part, *by)} / ({total(whole, *by)} > 0)"


def quantile(below: float, histogram: str, *by: str) -> str:
    """Return the quantile ``below`` (0 to 1) of ``histogram``, whose name is given without ``_bucket``."""
    return f"histogram_quantile({below}, {total(rate(chosen(f'{histogram}_bucket')), 'le', *by)})"


def or_zero(query: str) -> str:
    """Return ``query``, which has no labels, or 0 if it has no value: counters appear with their first count."""
    return f"{query} or vector(0)"


def value_of(label: str) -> str:
    """Return the place in a legend where Grafana writes the value of ``label``."""
    return f"{{{{{label}}}}}"
