"""What leaves this process: spans, events, metrics and log lines.

The only package that speaks OpenTelemetry on the way out. What the GenAI semantic conventions name goes through
opentelemetry-util-genai; the names of the telemetry contract (docs/telemetry.md) are in `semconv`.
"""
