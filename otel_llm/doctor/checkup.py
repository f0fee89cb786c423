"""The checks in order: the environment first, then the path of telemetry from the application on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from otel_llm.doctor import collector
from otel_llm.doctor.destination import Destination, Signal, header_names
from otel_llm.doctor.environment import Environment, read_environment
from otel_llm.doctor.exports import export_findings, read_failures, start_problem
from otel_llm.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otel_llm.doctor.trial import Trial

_LINES_SHOWN = 5


class Questions(NamedTuple):
    """URLs to ask, None for those to skip. `wait`: seconds within which sent telemetry must arrive."""

    collector_health: str
    collector_metrics: str
    jaeger: str | None
    prometheus: str | None
    wait: float


class PackagesMissing(Exception):  # noqa: N818 - a way out: the findings say which
    """The checks ended early: the test cannot run."""


def checkup(environ: Mapping[str, str], questions: Questions) -> Iterator[Finding]:
    """Yield each finding as soon as it is known. Raises PackagesMissing."""
    environment = read_environment(environ)
    yield from environment.findings
    if not environment.is_complete:
        raise PackagesMissing
    yield collector.health_finding(questions.collector_health, environment.traces or environment.metrics)

    sent: set[Signal] = set()
    service = anomaly = ""
    if environment.makes_spans and environment.sdk is not None:
        from otel_llm.doctor.trial import run_trial

        trial = run_trial(environ, environment.sdk.package)
        service, anomaly = trial.service, trial.anomaly
        yield from _trial_findings(trial, environment, environ, sent)
    else:
        yield Finding("test streams", "skipped", "No span would be created, see above.")
    yield from _jaeger_findings(questions, environment, service, anomaly, is_sent="traces" in sent)
    yield from _prometheus_findings(questions, service, is_sent="metrics" in sent)


def _trial_findings(
    trial: Trial, environment: Environment, environ: Mapping[str, str], sent: set[Signal]
) -> Iterator[Finding]:
    """What was created and exported. Adds the signals that were accepted to `sent`."""
    check = "test streams"
    problem = start_problem(trial.log)
    if trial.spans is None:
        sentence = f"The test application failed. {problem or _end_of(trial.log)}"
        yield Finding(check, "failed", sentence)
        return
    if trial.spans == 0:
        sentence = f"The test streams created no span. {problem or _end_of(trial.log)}"
        yield Finding(check, "failed", sentence)
    else:
        sdk = environment.sdk
        through = "" if sdk is None else f", read through {sdk.package} {sdk.version}"
        made = f"An instrumented application created {trial.spans} spans for the test streams"
        sentence = f"{made}{through}, as {trial.service}."
        yield Finding(check, "ok", sentence)
    destinations: dict[Signal, Destination] = {}
    if environment.traces is not None and trial.spans:
        destinations["traces"] = environment.traces
    # Without instrumentation there are no metrics, either.
    if environment.metrics is not None and trial.spans:
        destinations["metrics"] = environment.metrics
    failures = read_failures(trial.log)
    yield from export_findings(failures, destinations, {signal: _headers(signal, environ) for signal in destinations})
    arrived = [signal for signal in destinations if signal not in failures.final]
    sent.update(arrived)
    if arrived:
        urls = " and ".join(dict.fromkeys(destinations[signal].url for signal in arrived))
        yield Finding("export", "ok", f"{' and '.join(arrived).capitalize()} were accepted at {urls}.")


def _headers(signal: Signal, environ: Mapping[str, str]) -> str:
    names, _ = header_names(signal, environ)
    if "authorization" in names:
        return "it rejects the token in the authorization header"
    return "no authorization header is sent"


def _end_of(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if not lines:
        return "It logged nothing."
    return f"The end of its log: {' / '.join(lines[-_LINES_SHOWN:])}"


def _jaeger_findings(
    questions: Questions, environment: Environment, service: str, anomaly: str, *, is_sent: bool
) -> Iterator[Finding]:
    from otel_llm.doctor import jaeger

    if questions.jaeger is None:
        yield Finding("Jaeger", "skipped", "Skipped by --no-jaeger.")
        return
    there = jaeger.is_there(questions.jaeger)
    yield there
    if not is_sent:
        yield Finding("trace", "skipped", "No span was accepted, so there is none to look for.")
        return
    if there.status == "ok":
        has_events = "span" in environment.config.events
        seen = jaeger.look_for(questions.jaeger, service, has_events=has_events, anomaly=anomaly, wait=questions.wait)
        yield from seen.findings
        if not seen.is_one_missing:
            return
    yield collector.why_spans_are_missing(questions.collector_metrics)


def _prometheus_findings(questions: Questions, service: str, *, is_sent: bool) -> Iterator[Finding]:
    from otel_llm.doctor import prometheus

    if questions.prometheus is None:
        yield Finding("Prometheus", "skipped", "Skipped by --no-prometheus.")
        return
    there = prometheus.is_there(questions.prometheus)
    yield there
    if there.status != "ok":
        return
    if is_sent:
        found = prometheus.metric_finding(questions.prometheus, service, wait=questions.wait)
        yield found
        if found.status != "failed":
            yield prometheus.exemplar_finding(questions.prometheus, service)
    else:
        yield Finding("metrics", "skipped", "No metric was accepted, so there is none to look for.")
    yield from prometheus.target_findings(questions.prometheus, wait=questions.wait)
