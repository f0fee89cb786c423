"""What the files in deploy/ may name: variables of the OpenTelemetry SDK and of otel-llm, and how long an end takes."""

from __future__ import annotations

from dataclasses import fields

from opentelemetry.sdk import environment_variables

from otel_llm.config import Config

SECONDS_TO_END = 30
"""After the last stream: the spans that wait are sent. The SDK's exporter gives up after 10 seconds, each for spans,
metrics and logs."""

OTEL_VARIABLES = frozenset(
    {
        *(name for name in dir(environment_variables) if name.startswith("OTEL_")),
        *(f"OTEL_LLM_{entry.name.upper()}" for entry in fields(Config)),
        "OTEL_PYTHON_LOG_LEVEL",
        "OTEL_TRACES_EXPORTER",
        "OTEL_METRICS_EXPORTER",
        "OTEL_LOGS_EXPORTER",
    }
)


def host_of(image: str) -> str:
    """The registry that an image's name begins with, empty without one."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else ""
