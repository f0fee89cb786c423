"""Meters that are requested before the global meter provider is set.

OpenTelemetry's proxy provider keeps every meter and instrument that it creates, to connect them once the real provider
is set. So each is requested only once and then shared: otherwise they would pile up with every client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.metrics import Histogram, Meter, MeterProvider, get_meter_provider

from otel_llm.telemetry.opentelemetry_internals import is_proxy_provider
from otel_llm.transparency.proxies import ObjectProxy


class _ProxyMeterProvider(MeterProvider):
    """Creates one meter for each name, version and schema, and one instrument of each name."""

    def __init__(self, provider: MeterProvider) -> None:
        self.provider = provider
        self._meters: dict[tuple[str, str | None, str | None], Meter] = {}

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> Meter:
        key = name, version, schema_url
        known = self._meters.get(key)
        if known is None:
            made: Any = _ProxyMeter(self.provider.get_meter(name, version, schema_url, attributes))
            known = self._meters.setdefault(key, made)
        return known


class _ProxyMeter(ObjectProxy):
    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self._self_histograms: dict[str, Histogram] = {}

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> Histogram:
        known = self._self_histograms.get(name)
        if known is None:
            made = self.__wrapped__.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=explicit_bucket_boundaries_advisory
            )
            known = self._self_histograms.setdefault(name, made)
        return known


_current: _ProxyMeterProvider | None = None


def proxy_meter_provider() -> MeterProvider | None:
    """The provider to get meters from while the global one is a proxy; None once that is set."""
    global _current  # noqa: PLW0603
    provider = get_meter_provider()
    if not is_proxy_provider(provider):
        return None
    known = _current
    if known is None or known.provider is not provider:
        _current = known = _ProxyMeterProvider(provider)
    return known
