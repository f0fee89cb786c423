"""The test application: two streamed requests through the plain SDK, run by `opentelemetry-instrument`.

usage: python -m otel_llm.doctor.application PACKAGE BASE_URL

It is instrumented like any application. Besides, it prints how many spans of otel-llm ended, on a line that starts with
REPORT.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import Final

from opentelemetry import trace

from otel_llm.doctor.sdk_requests import STREAMS_OF
from otel_llm.telemetry.semconv import OTEL_LLM_STREAM_OUTCOME

REPORT: Final = "otel-llm-doctor: "


def main(package: str, base_url: str) -> int:
    """Read both streams to the end, through the SDK of this package. Raises what the SDK raises."""
    _log_every_error()
    spans = _count_spans()
    streams = STREAMS_OF[package]
    importlib.import_module(streams.module)
    with _no_proxy():
        for _ in range(2):
            streams.read(base_url)
    # On a line of its own, even after the output of a console exporter.
    print(f"\n{REPORT}{json.dumps({'spans': len(spans)})}", flush=True)
    return 0


@contextlib.contextmanager
def _no_proxy() -> Iterator[None]:
    """Proxy variables are meant for the exporter: the test's server is on this machine."""
    before = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
    os.environ.update(dict.fromkeys(before, "*"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
    sys.exit(main(*sys.argv[1:]))
