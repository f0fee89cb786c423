"""Asks Jaeger for the spans of the test streams, and checks that they are complete."""

from __future__ import annotations

import time
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm.doctor.finding import Finding, unreachable
from otel_llm.doctor.trial import BROKEN_CALLS, HEALTHY_CALLS, STREAMS
from otel_llm.doctor.web import NoAnswer, get_json
from otel_llm.telemetry import semconv

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL_INTERVAL: Final = 0.5  # seconds
# After the first span arrived: the second was sent with it.
_GRACE: Final = 3.0  # seconds
LIFE: Final = (
    semconv.EVENT_TOOL_CALL_DETECTED,
    semconv.EVENT_TOOL_CALL_NAME,
    semconv.EVENT_TOOL_CALL_ARGUMENTS_DELTA,
    semconv.EVENT_TOOL_CALL_COMPLETED,
)
_CHECK: Final = "Jaeger"


def is_there(url: str) -> Finding:
    """Whether Jaeger answers at `url`."""
    try:
        services = get_json(f"{url}/api/services")
        if not isinstance(services, dict) or "data" not in services:
            raise NoAnswer("the answer is not from Jaeger's API: something else listens there")
    except NoAnswer as why:
        return unreachable(_CHECK, url, why)
    return Finding(_CHECK, "ok", f"Jaeger answers at {url}.")


class Sighting(NamedTuple):
    """What Jaeger has of the test streams, and whether a span is missing that no sampling explains."""

    findings: list[Finding]
    is_one_missing: bool


def look_for(url: str, service: str, *, has_events: bool, anomaly: str, wait: float) -> Sighting:
    """Wait up to `wait` seconds for the spans of the test streams. `has_events`: whether they should have events.

    `anomaly`: what the broken stream's span names.
    """
    try:
        spans = _wait_for_spans(lambda: _spans(url, service), wait)
    except NoAnswer as why:
        finding = Finding(_CHECK, "failed", f"Jaeger at {url} could not be queried for {service}: {why}.")
        return Sighting([finding], is_one_missing=True)
    # Not told apart by anomalies: with a low span limit the healthy one has an anomaly, too.
    by_calls = {_tags(span).get(semconv.OTEL_LLM_STREAM_TOOL_CALL_COUNT): span for span in spans}
    healthy, broken = by_calls.get(len(HEALTHY_CALLS)), by_calls.get(len(BROKEN_CALLS))
    findings = []
    if healthy is not None:
        findings.append(_healthy_finding(url, service, healthy, has_events=has_events))
    elif broken is not None:
        findings.append(_sampled_finding(service, broken))
    if broken is not None:
        findings.append(_anomaly_finding(broken, anomaly, has_events=has_events))
    elif healthy is not None:
        sentence = (
            "The healthy stream's span arrived, but not the broken stream's, which has an anomaly: something on the "
            "way samples without keeping anomalies, as collector-config/gateway.yaml does."
        )
        findings.append(Finding("anomaly", "failed", sentence))
    else:
        sentence = (
            f"The spans were sent, but Jaeger has none of {service} after {wait:.0f} s. Either the collector delivers "
            "to another Jaeger, or it cannot deliver, or something on the way drops spans."
        )
        findings.append(Finding("trace", "failed", sentence))
    return Sighting(findings, is_one_missing=broken is None)


def _wait_for_spans(ask: Callable[[], list[Any]], wait: float) -> list[Any]:
    deadline = time.monotonic() + wait
    while True:
        spans = ask()
        now = time.monotonic()
        if spans:
            deadline = min(deadline, now + _GRACE)
        if len(spans) >= STREAMS or now >= deadline:
            return spans
        time.sleep(_POLL_INTERVAL)


def _spans(url: str, service: str) -> list[dict[str, Any]]:
    """The spans of otel-llm that this service sent, each once. Raises NoAnswer."""
    answer = get_json(f"{url}/api/traces", service=service, limit=20)
    found: dict[str, dict[str, Any]] = {}
    try:
        for trace in answer["data"] or ():
            for span in trace["spans"]:
                if semconv.OTEL_LLM_STREAM_OUTCOME in _tags(span):
                    found.setdefault(span["spanID"], span)
    except (KeyError, TypeError) as error:
        raise NoAnswer("the answer is not from Jaeger's API") from error
    return list(found.values())


def _healthy_finding(url: str, service: str, span: dict[str, Any], *, has_events: bool) -> Finding:
    check = "trace"
    where = f"{url}/trace/{span['traceID']}"
    if not has_events:
        return Finding(check, "ok", f"The span of {service} arrived: {where}")
    recorded = _events(span)
    for index, name in enumerate(HEALTHY_CALLS):
        of_call = [event for event in recorded if event.get(semconv.OTEL_LLM_TOOL_CALL_INDEX) == index]
        order = tuple(name for name, _ in groupby(event.get("event", "") for event in of_call))
        completed = [
            event.get(semconv.GEN_AI_TOOL_NAME)
            for event in of_call
            if event.get("event") == semconv.EVENT_TOOL_CALL_COMPLETED
        ]
        if order != LIFE or completed != [name]:
            sentence = (
                f"The span arrived, but without all events of its tool call {index} ({name}). It has "
                f"{', '.join(order) or 'none'}. Check the span limit (OTEL_SPAN_EVENT_COUNT_LIMIT), and processors of "
                f"the collector that drop or change span events. {where}"
            )
            return Finding(check, "failed", sentence)
    sentence = f"The span of {service} arrived with all events of both tool calls, in order: {where}"
    return Finding(check, "ok", sentence)


def _sampled_finding(service: str, broken: dict[str, Any]) -> Finding:
    reason = _tags(broken).get(semconv.OTEL_LLM_SAMPLING_REASON)
    why = (
        f"The gateway samples, as it should: it kept the other for the reason {reason!r}"
        if reason
        else "Something on the way samples"
    )
    sentence = (
        f"The healthy stream's span of {service} did not arrive, the broken stream's did. {why}. You see only a share "
        "of healthy requests."
    )
    return Finding("trace", "warning", sentence)


def _anomaly_finding(span: dict[str, Any], anomaly: str, *, has_events: bool) -> Finding:
    check = "anomaly"
    if not has_events:
        return Finding(check, "ok", "The broken stream's span arrived with its anomaly count.")
    named = {
        event.get(semconv.OTEL_LLM_ANOMALY_TYPE)
        for event in _events(span)
        if event.get("event") == semconv.EVENT_ANOMALY
    }
    if anomaly in named:
        return Finding(check, "ok", f"The broken stream's span names its anomaly, {anomaly}.")
    sentence = (
        f"The broken stream's span arrived without its anomaly, {anomaly}: a processor of the collector drops or "
        "changes span events."
    )
    return Finding(check, "failed", sentence)


def _tags(thing: dict[str, Any], key: str = "tags") -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in thing.get(key) or ()}


def _events(span: dict[str, Any]) -> list[dict[str, Any]]:
    return [_tags(log, "fields") for log in sorted(span.get("logs") or (), key=_time)]


def _time(log: dict[str, Any]) -> int:
    return int(log["timestamp"])
