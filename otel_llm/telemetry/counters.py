"""Counters that cost a request a dictionary entry instead of a call into the SDK for every count.

They are the SDK's observable counters: it asks for the sums when it collects. What they lack are exemplars, which our
histograms have.
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

# As pairs, because attributes are a key here. Always in the same order for one counter.
Attributes = tuple[tuple[str, str], ...]


class Counters:
    """The counters of one meter provider. Adding is safe from any thread."""

    def __init__(self) -> None:
        self.tool_calls = _Sum()
        self.anomalies = _Sum()
        self.streams = _Sum()
        self.tag_rewrites = _Sum()
        self.forgotten_calls = _Sum()

    def send_by(self, meter: Meter) -> None:
        """Have `meter` ask for the sums."""
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


# Before the global provider is set, each Telemetry gets a proxy of a meter; once it is, all of them are one real meter,
# which keeps the first callback of a counter and none of the others. So they count in one place from the start.
_global = Counters()
_of_meter: WeakKeyDictionary[Meter, Counters] = WeakKeyDictionary()
_lock = threading.Lock()


def counters_of(meter: Meter, provider: MeterProvider | None) -> Counters:
    """The counters of a meter of `provider`, which is None for the global one."""
    with _lock:
        known = _of_meter.get(meter)
        if known is None:
            known = _global if provider is None or provider is get_meter_provider() else Counters()
            known.send_by(meter)
            _of_meter[meter] = known
        return known
