"""The metric instruments of otel-llm. Those of the GenAI conventions are created by opentelemetry-util-genai."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.metrics import Histogram, Meter, MeterProvider

from otel_llm.telemetry.counters import counters_of
from otel_llm.telemetry.semconv import (
    METRIC_STREAM_TIME_PER_OUTPUT_TOKEN,
    METRIC_STREAM_TIME_TO_FIRST_TOOL_CALL,
    METRIC_TAG_REWRITE_DURATION,
    METRIC_TOOL_CALL_ARGUMENTS_SIZE,
    METRIC_TOOL_CALL_DURATION,
    METRIC_TOOL_CALL_TURNAROUND,
    Metric,
)

# The bucket boundaries that the conventions advise for durations.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
# Those that the conventions advise for a server's time per output token.
_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_SHORT_SECONDS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_CHARACTERS = (0, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)


class Instruments:
    """One meter's histograms, and the counters that it collects."""

    def __init__(self, meter: Meter, provider: MeterProvider | None) -> None:
        def histogram(metric: Metric, boundaries: Sequence[float]) -> Histogram:
            return meter.create_histogram(
                metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=list(boundaries)
            )

        counters = counters_of(meter, provider)
        self.tool_calls, self.anomalies, self.streams = counters.tool_calls, counters.anomalies, counters.streams
        self.tag_rewrites = counters.tag_rewrites
        self.forgotten_calls = counters.forgotten_calls
        self.time_to_first_tool_call = histogram(METRIC_STREAM_TIME_TO_FIRST_TOOL_CALL, _SECONDS)
        self.time_per_output_token = histogram(METRIC_STREAM_TIME_PER_OUTPUT_TOKEN, _TOKEN_SECONDS)
        self.tool_call_duration = histogram(METRIC_TOOL_CALL_DURATION, _SECONDS)
        self.tool_call_turnaround = histogram(METRIC_TOOL_CALL_TURNAROUND, _SECONDS)
        self.tag_rewrite_duration = histogram(METRIC_TAG_REWRITE_DURATION, _SHORT_SECONDS)
        self.arguments_size = histogram(METRIC_TOOL_CALL_ARGUMENTS_SIZE, _CHARACTERS)
