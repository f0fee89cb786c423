"""The test streams of `otel-llm doctor` through each SDK that it can use: the same calls, events and an anomaly."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import groupby
from typing import Any

import pytest
from opentelemetry.sdk.trace import Event, ReadableSpan

from otel_llm.demo.scripted_server import ScriptedServer
from otel_llm.doctor.jaeger import LIFE
from otel_llm.doctor.sdk_requests import STREAMS_OF
from otel_llm.doctor.sdks import package_of
from otel_llm.doctor.trial import BROKEN_CALLS, HEALTHY_CALLS
from otel_llm.instrumentor import instrumentors
from otel_llm.telemetry import semconv
from tests.helpers.seen import Seen

OBSERVED = {package_of(one): one for one in instrumentors()}


def attributes(event: Event) -> Any:
    return event.attributes


def events(span: ReadableSpan, name: str) -> list[Event]:
    return [one for one in span.events if one.name == name]


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def test_each_sdk_that_is_observed_has_test_streams() -> None:
    assert set(STREAMS_OF) == set(OBSERVED)


@pytest.mark.parametrize("package", STREAMS_OF)
def test_the_streams_through_an_sdk(package: str, seen: Seen) -> None:
    streams = STREAMS_OF[package]
    if not is_installed(streams.module):
        pytest.skip(f"{package} is not installed")
    instrumentor: Any = OBSERVED[package]
    instrumentor.instrument(**seen.providers, log=False)
    try:
        with ScriptedServer(streams.scripts()) as server:
            for _ in range(2):
                streams.read(server.base_url)
    finally:
        instrumentor.uninstrument()
    spans: Any = seen.spans
    healthy, broken = spans
    for span, calls in ((healthy, HEALTHY_CALLS), (broken, BROKEN_CALLS)):
        completed = events(span, semconv.EVENT_TOOL_CALL_COMPLETED)
        assert tuple(attributes(one)[semconv.GEN_AI_TOOL_NAME] for one in completed) == calls
        assert span.attributes[semconv.OTEL_LLM_STREAM_TOOL_CALL_COUNT] == len(calls)
    for index in range(len(HEALTHY_CALLS)):
        of_call = [one for one in healthy.events if attributes(one).get(semconv.OTEL_LLM_TOOL_CALL_INDEX) == index]
        assert tuple(name for name, _ in groupby(one.name for one in of_call)) == LIFE
    assert not events(healthy, semconv.EVENT_ANOMALY)
    found = [attributes(one)[semconv.OTEL_LLM_ANOMALY_TYPE] for one in events(broken, semconv.EVENT_ANOMALY)]
    assert found == [streams.anomaly]
