"""Counters that cost a request one dictionary entry, instead of a call into the OpenTelemetry SDK per count.

They are observable counters: the OpenTelemetry SDK reads the sums when it collects. Observable counters have no
exemplars; the histograms do.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter_provider

from otel_llm.telemetry.semconv import (
    METRIC_ANOMALY_COUNT,
    METRIC_STREAM_COUNT,
    METRIC_TAG_REWRITE_COUNT,
    METRIC_TOOL_CALL_COUNT,
    METRIC_TOOL_CALL_FORGOTTEN,
)
from otel_llm.transparency.forks import renew_lock_in_children

Attributes = tuple[tuple[str, str], ...]
"""Pairs of name and value, which unlike a dict can be a key. One counter must always have them in the same order."""


class Counters:
    """The counters of one meter provider. They are safe to use from any thread."""

    def __init__(self) -> None:
        self.tool_calls = _Sum()
        self.anomalies = _Sum()
        self.streams = _Sum()
        self.tag_rewrites = _Sum()
        self.forgotten_calls = _Sum()

    def register(self, meter: Meter) -> None:
        """Let `meter` collect the sums."""
        for metric, sums in (
            (METRIC_TOOL_CALL_COUNT, self.tool_calls),
            (METRIC_ANOMALY_COUNT, self.anomalies),
            (METRIC_STREAM_COUNT, self.streams),
            (METRIC_TOOL_CALL_FORGOTTEN, self.forgotten_calls),
            (METRIC_TAG_REWRITE_COUNT, self.tag_rewrites),
        ):
            meter.create_observable_counter(metric.name, [sums.observe], metric.unit, metric.description)


class _Sum:
    __slots__ = ("__weakref__", "_lock", "_sums")

    def __init__(self) -> None:
        self._sums: defaultdict[Attributes, int] = defaultdict(int)
        self._lock = threading.Lock()
        renew_lock_in_children(self)

    def add(self, value: int, attributes: Attributes) -> None:
        with self._lock:
            self._sums[attributes] += value

    def observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            sums = list(self._sums.items())
        return [Observation(value, dict(attributes)) for attributes, value in sums]


# Until the global provider is set, each Telemetry has a proxy meter of its own. Then all proxies become one real meter,
# which keeps only the first callback of each counter. So they share their sums from the start.
_global = Counters()
_of_meter: WeakKeyDictionary[Meter, Counters] = WeakKeyDictionary()
_lock = threading.Lock()


def counters_of(meter: Meter, provider: MeterProvider | None) -> Counters:
    """The counters of a meter. `provider` is the meter's, None for the global one."""
    with _lock:
        known = _of_meter.get(meter)
        if known is None:
            known = _global if provider is None or provider is get_meter_provider() else Counters()
            known.register(meter)
            _of_meter[meter] = known
        return known
