"""The application of the test: two streamed requests by the plain OpenAI SDK, run by `opentelemetry-instrument`.

usage: python -m otel_llm.doctor.application BASE_URL

Its telemetry is that of any application. Beyond that it prints, behind REPORT, how many of otel-llm's spans ended.
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
    """Read both streams to the end. Raises what the SDK raises."""
    _say_every_error()
    spans = _count_spans()
    # What the environment says of proxies is for the exporter: the test's server is on this machine.
    http_client = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=base_url, api_key="unused", timeout=20, max_retries=0, http_client=http_client
    ) as client:
        for _ in range(2):
            for _ in client.chat.completions.create(
                model="scripted-model", messages=_QUESTION, tools=TOOLS, stream=True
            ):
                pass
    # A line of its own, whatever an exporter for the terminal has written.
    print(f"\n{REPORT}{json.dumps({'spans': len(spans)})}", flush=True)
    return 0


def _say_every_error() -> None:
    """Exporters hold back what was logged before, of whichever signal; here each signal's failure is wanted."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("opentelemetry."):
            logging.getLogger(name).filters.clear()


def _count_spans() -> list[str]:
    """Names of the spans of otel-llm's that end from now on; none where the SDK was not started."""
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
