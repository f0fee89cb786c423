"""The metric instruments of otel-llm. Those of the conventions are util-genai's."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.metrics import Histogram, Meter, MeterProvider

from otel_llm.telemetry.counters import counters_of


class Instruments:
    """One meter's histograms, and the counters that it asks for."""

    def __init__(self, meter: Meter, provider: MeterProvider | None) -> None:
        seconds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
        characters = [0, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576]

        def histogram(name: str, unit: str, description: str, boundaries: Sequence[float]) -> Histogram:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=boundaries)

        counters = counters_of(meter, provider)
        self.tool_calls, self.anomalies, self.streams = counters.tool_calls, counters.anomalies, counters.streams
        self.tag_rewrites = counters.tag_rewrites
        self.forgotten_calls = counters.forgotten_calls
        self.time_to_first_tool_call = histogram(
            "otel_llm.stream.time_to_first_tool_call",
            "s",
            "From the request to the first tool-call delta",
            seconds,
        )
        self.tool_call_duration = histogram(
            "otel_llm.tool_call.duration", "s", "From a call's first delta to its last", seconds
        )
        self.tool_call_turnaround = histogram(
            "otel_llm.tool_call.turnaround", "s", "From a call's completion to its result being sent back", seconds
        )
        self.tag_rewrite_duration = histogram(
            "otel_llm.tag_rewrite.duration",
            "s",
            "What rewriting a call in the text took",
            [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0],
        )
        self.arguments_size = histogram(
            "otel_llm.tool_call.arguments.size", "{character}", "Length of a call's arguments", characters
        )
