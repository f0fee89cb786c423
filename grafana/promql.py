"""Queries of Prometheus, as text."""

from __future__ import annotations

from typing import Final

# The variables of the dashboards. What has no such label is found by the `.*` that "All" stands for.
_CHOSEN: Final = ('job=~"$service"', 'gen_ai_provider_name=~"$provider"', 'gen_ai_request_model=~"$model"')


def chosen(metric: str, *conditions: str) -> str:
    """Give the series of ``metric`` that the dashboard's variables choose, with further ``conditions``."""
    return f"{metric}{{{', '.join((*_CHOSEN, *conditions))}}}"


def rate(series: str) -> str:
    """Give the increase per second of ``series``."""
    return f"rate({series}[$__rate_interval])"


def increase(series: str) -> str:
    """Give the increase of ``series`` over all the time that the dashboard shows."""
    return f"increase({series}[$__range])"


def total(query: str, *by: str) -> str:
    """Give the sum of ``query``, one for each value of the labels ``by``."""
    return f"sum by ({', '.join(by)}) ({query})" if by else f"sum({query})"


def share(part: str, whole: str, *by: str) -> str:
    """Give the part of ``whole`` that ``part`` is; nothing where there is nothing to be a part of."""
    return f"{total(part, *by)} / ({total(whole, *by)} > 0)"


def quantile(below: float, histogram: str, *by: str) -> str:
    """Give the value that the share ``below`` of the recordings of ``histogram`` (without ``_bucket``) stay below."""
    return f"histogram_quantile({below}, {total(rate(chosen(f'{histogram}_bucket')), 'le', *by)})"


def or_zero(query: str) -> str:
    """Give 0 where ``query``, which has no labels, gives nothing: counters begin to exist with their first count."""
    return f"{query} or vector(0)"
