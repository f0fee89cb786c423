"""Measures how long it takes to import otel_llm and to instrument the OpenAI SDK. Writes milliseconds as JSON.

The OpenAI SDK and the OpenTelemetry SDK are imported before. Each process measures once, because a module is imported
once.
"""

from __future__ import annotations

import json
from time import perf_counter_ns

import openai  # noqa: F401
import opentelemetry.sdk._logs
import opentelemetry.sdk.metrics
import opentelemetry.sdk.trace  # noqa: F401


def main() -> None:
    began = perf_counter_ns()
    from otel_llm import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    print(json.dumps((perf_counter_ns() - began) / 1e6))


if __name__ == "__main__":
    main()
