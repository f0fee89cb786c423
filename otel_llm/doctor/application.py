"""The test application: two streamed requests through the plain OpenAI SDK, run by `opentelemetry-instrument`.

usage: python -m otel_llm.doctor.application BASE_URL

It is instrumented like any application. Besides, it prints how many spans of otel-llm ended, on a line that starts with
REPORT.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final

import openai
from opentelemetry import trace

from otel_llm.demo.agent import TOOLS
from otel_llm.telemetry.semconv import OTEL_LLM_STREAM_OUTCOME

REPORT: Final = "otel-llm-doctor: "

_QUESTION: Final[Any] = [{"role": "user", "content": "Note that I have to buy milk, and read me my list."}]


def main(base_url: str) -> int:
    """Read both streams to the end. Raises what the OpenAI SDK raises."""
    _log_every_error()
    spans = _count_spans()
    # Proxy variables are meant for the exporter: the test's server is on this machine.
    http_client = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=base_url, api_key="unused", timeout=20, max_retries=0, http_client=http_client
    ) as client:
        for _ in range(2):
            for _ in client.chat.completions.create(
                model="scripted-model", messages=_QUESTION, tools=TOOLS, stream=True
            ):
                pass
    # On a line of its own, even after the output of a console exporter.
    print(f"\n{REPORT}{json.dumps({'spans': len(spans)})}", flush=True)
    return 0


def _log_every_error() -> None:
    """Exporters do not repeat a message, even for another signal; here the failure of each signal is needed."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("opentelemetry."):
            logging.getLogger(name).filters.clear()


def _count_spans() -> list[str]:
    """The names of otel-llm's spans that end from now on; stays empty if the OpenTelemetry SDK was not started."""
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

    names: list[str] = []

    class Counting(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            if OTEL_LLM_STREAM_OUTCOME in (span.attributes or {}):
                names.append(span.name)

    add = getattr(trace.get_tracer_provider(), "add_span_processor", None)
    if add is not None:
        add(Counting())
    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
