"""Meters of the global provider, while there is none: each is made once, and each of its histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.metrics import Histogram, Meter, MeterProvider, get_meter_provider

from otel_llm.proxies import ObjectProxy


def is_awaited(provider: object) -> bool:
    """Whether it stands in for one of the whole process that is not set yet."""
    return "Proxy" in type(provider).__name__


class _AwaitedProvider(MeterProvider):
    """The stand-in keeps whatever it gave for the provider to come, so it is asked only once for the same."""

    def __init__(self, provider: MeterProvider) -> None:
        self.provider = provider
        self._meters: dict[tuple[str, str | None, str | None], Meter] = {}

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> Meter:
        key = name, version, schema_url
        known = self._meters.get(key)
        if known is None:
            made: Any = _AwaitedMeter(self.provider.get_meter(name, version, schema_url, attributes))
            known = self._meters.setdefault(key, made)
        return known


class _AwaitedMeter(ObjectProxy):
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


_awaited: _AwaitedProvider | None = None


def awaited_meters() -> MeterProvider | None:
    """What to ask instead of the global provider, until that is set; None from then on."""
    global _awaited  # noqa: PLW0603
    provider = get_meter_provider()
    if not is_awaited(provider):
        return None
    awaited = _awaited
    if awaited is None or awaited.provider is not provider:
        _awaited = awaited = _AwaitedProvider(provider)
    return awaited
