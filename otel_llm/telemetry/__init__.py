"""All telemetry that leaves the process: spans, events, metrics and log lines.

No other package sends telemetry. Data that the GenAI semantic conventions define goes through opentelemetry-util-genai;
the names of the telemetry contract (docs/telemetry.md) are in `semconv`.
"""
