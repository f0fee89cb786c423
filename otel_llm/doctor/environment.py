"""What in the environment keeps telemetry from being created or sent.

Variables are read as the OpenTelemetry SDK and `opentelemetry-instrument` read them. What cannot work has failed. What
rarely works is a warning, and the test streams show its effect.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass, field, fields
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from otel_llm.config import Config, read_config
from otel_llm.doctor.destination import (
    GRPC,
    HTTP,
    OTLP_EXPORTERS,
    Destination,
    Signal,
    destination,
    exporters,
    of_signal,
    protocol,
)
from otel_llm.doctor.finding import Finding, Status
from otel_llm.doctor.sdk_requests import STREAMS_OF
from otel_llm.doctor.sdks import SDK, installed_sdks, other_instrumentations
from otel_llm.doctor.sending import header_findings, problem_of, tls_findings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics")
_ALWAYS_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.distro")
_EXPORTER_MODULES: Final = {
    GRPC: "opentelemetry.exporter.otlp.proto.grpc",
    HTTP: "opentelemetry.exporter.otlp.proto.http",
}
_OUR_NAME: Final = "otel_llm"
_RATIO_SAMPLERS: Final = frozenset({"traceidratio", "parentbased_traceidratio"})


@dataclass
class Environment:
    """`traces` and `metrics`: where they go over OTLP, None if they do not.

    `sdk`: the one that the test's requests go through, None if none is observed. `makes_spans`: nothing prevents spans
    for the test streams. `is_complete`: no package is missing.
    """

    traces: Destination | None = None
    metrics: Destination | None = None
    sdk: SDK | None = None
    makes_spans: bool = True
    is_complete: bool = True
    config: Config = field(default_factory=Config)
    findings: list[Finding] = field(default_factory=list)

    def _add(self, check: str, status: Status, sentence: str) -> None:
        self.findings.append(Finding(check, status, sentence))


def read_environment(environ: Mapping[str, str]) -> Environment:
    """Check the environment of an application that would be started with these variables."""
    read = Environment()
    _packages(read, environ)
    _instrumentations(read, environ)
    _sampler(read, environ)
    _options(read, environ)
    if environ.get("OTEL_CONFIG_FILE"):
        read._add(
            "destination",
            "warning",
            "OTEL_CONFIG_FILE configures the OpenTelemetry SDK, which then ignores the variables for destinations. The "
            "following checks only show where telemetry arrives.",
        )
        read.traces, read.metrics = (destination(signal, {}) for signal in _SIGNALS)
        return read
    for signal in _SIGNALS:
        _destination(read, signal, environ)
    read.findings += header_findings([found for found in (read.traces, read.metrics) if found], environ)
    read.findings += tls_findings(environ)
    return read


def _packages(read: Environment, environ: Mapping[str, str]) -> None:
    needed = [*_ALWAYS_NEEDED]
    for signal in _SIGNALS:
        if not set(OTLP_EXPORTERS).isdisjoint(exporters(signal, environ)):
            transport = protocol(signal, environ)
            needed += [_EXPORTER_MODULES[transport]] if transport in _EXPORTER_MODULES else []
    missing = [name for name in dict.fromkeys(needed) if not _is_installed(name)]
    problems = [f"{' and '.join(missing)} cannot be imported"] if missing else []
    sdks = [streams.module for streams in STREAMS_OF.values()]
    if not any(map(_is_installed, sdks)):
        problems.append(f"none of {', '.join(sdks)} can be imported, which otel-llm observes")
    if problems:
        read.is_complete = False
        read._add("packages", "failed", f"{'; '.join(problems)}: pip install 'otel-llm[instruments,otlp]'")
    else:
        read._add(
            "packages", "ok", "An SDK that otel-llm observes, the OpenTelemetry SDK and its exporters are installed."
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # its parent package is missing, or it is blocked
        return False


def _instrumentations(read: Environment, environ: Mapping[str, str]) -> None:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        read.makes_spans = False
        read._add("instrumentation", "failed", "OTEL_SDK_DISABLED=true turns all telemetry off. Unset it.")
        return
    disabled = {name.strip() for name in environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    if "*" in disabled:
        read.makes_spans = False
        sentence = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS contains *, which turns otel-llm off. Remove it."
        read._add("instrumentation", "failed", sentence)
        return
    sdks = installed_sdks()
    for sdk in sdks:
        if sdk.entry in disabled and sdk.entry == _OUR_NAME:
            sentence = (
                f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS contains {_OUR_NAME}, which turns otel-llm off for "
                f"{sdk.package}, and for no other SDK. Remove it."
            )
            read._add("instrumentation", "failed", sentence)
        elif sdk.entry in disabled:
            sentence = f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS contains {sdk.entry}, so {sdk.package} is not observed."
            read._add("instrumentation", "warning", sentence)
        elif sdk.conflict:
            sentence = f"{sdk.package} {sdk.version} is installed, and {sdk.conflict}: its requests are not observed."
            read._add("instrumentation", "warning", sentence)
    observed = [sdk for sdk in sdks if sdk.entry not in disabled and not sdk.conflict]
    read.sdk = _tested(observed)
    if read.sdk is None:
        read.makes_spans = False
        read._add("instrumentation", "failed", "otel-llm observes none of the SDKs that are installed.")
    others = sorted(set(other_instrumentations([sdk.package for sdk in observed], disabled)))
    if others:
        found = dict.fromkeys(f"{package} (as {name})" for package, name, _ in others)
        packages, verb = " and ".join(found), "instruments" if len(found) == 1 else "instrument"
        twice = " and ".join(sorted({of for _, _, of in others}))
        read._add(
            "instrumentation",
            "warning",
            f"{packages} also {verb} {twice}, so requests may be traced twice. Keep one: list the other in "
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, or uninstall it.",
        )
    alone = [sdk for sdk in observed if sdk.package not in {of for _, _, of in others}]
    if alone:
        named = ", ".join(f"{sdk.package} {sdk.version}" for sdk in alone)
        read._add("instrumentation", "ok", f"otel-llm observes {named}, and nothing else instruments them.")


def _tested(observed: Sequence[SDK]) -> SDK | None:
    """The SDK that the test's requests go through."""
    by_package = {sdk.package: sdk for sdk in observed}
    candidates = (by_package[package] for package in STREAMS_OF if package in by_package)
    return next((sdk for sdk in candidates if _is_installed(STREAMS_OF[sdk.package].module)), None)


def _sampler(read: Environment, environ: Mapping[str, str]) -> None:
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if not name or name in {"always_on", "parentbased_always_on"}:
        return
    if name in {"always_off", "parentbased_always_off"}:
        sentence = f"OTEL_TRACES_SAMPLER={name} drops every trace. Unset it."
        read._add("sampler", "failed", sentence)
    elif name in _RATIO_SAMPLERS:
        value = environ.get("OTEL_TRACES_SAMPLER_ARG", "")
        try:
            ratio = float(value)
        except ValueError:
            ratio = -1.0
        if ratio == 0:
            sentence = f"OTEL_TRACES_SAMPLER={name} with OTEL_TRACES_SAMPLER_ARG={value} drops every trace."
            read._add("sampler", "failed", sentence)
        elif 0 < ratio < 1:
            read._add(
                "sampler",
                "warning",
                f"OTEL_TRACES_SAMPLER={name}: the application keeps {ratio * 100:g}% of its traces, and loses "
                "anomalies with the rest. Sample in a gateway instead, which keeps all of them "
                "(collector-config/gateway.yaml).",
            )
        elif ratio != 1:
            sentence = (
                f"OTEL_TRACES_SAMPLER_ARG={value!r} is not a ratio between 0 and 1: the OpenTelemetry SDK uses 1, or "
                "does not start."
            )
            read._add("sampler", "warning", sentence)
    elif not entry_points(group="opentelemetry_traces_sampler", name=name):
        sentence = f"OTEL_TRACES_SAMPLER={name} is not an installed sampler: the OpenTelemetry SDK keeps all traces."
        read._add("sampler", "warning", sentence)
    else:
        read._add("sampler", "warning", f"OTEL_TRACES_SAMPLER={name} decides which traces the application keeps.")


def _options(read: Environment, environ: Mapping[str, str]) -> None:
    """The OTEL_LLM_* variables, read by the same code as in the application, which logs those it cannot use."""
    problems = _Messages()
    logger = logging.getLogger("otel_llm")
    logger.addHandler(problems)
    propagated, logger.propagate = logger.propagate, False
    try:
        read.config = read_config({}, environ)
    finally:
        logger.propagate = propagated
        logger.removeHandler(problems)
    known = {f"OTEL_LLM_{entry.name.upper()}" for entry in fields(Config)}
    bad = [*problems.messages]
    bad += [
        f"{name} is not a variable of otel-llm. They are {', '.join(sorted(known))}"
        for name in sorted(environ)
        if name.startswith("OTEL_LLM_") and name not in known
    ]
    for message in bad:
        read._add("options", "warning", f"{message}. The default applies.")
    if "span" not in read.config.events:
        read._add(
            "options",
            "warning",
            f"OTEL_LLM_EVENTS={environ['OTEL_LLM_EVENTS']}: spans have no events, so Jaeger does not show the life of "
            "a tool call. Set `span` or `span,log`.",
        )


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _destination(read: Environment, signal: Signal, environ: Mapping[str, str]) -> None:
    check = f"destination of {signal}"
    names = exporters(signal, environ)
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    unknown = [name for name in names if not entry_points(group=f"opentelemetry_{signal}_exporter", name=name)]
    if unknown and read.is_complete:
        read.makes_spans = False
        read._add(
            check,
            "failed",
            f"{variable} names {' and '.join(unknown)}, which is not installed: the OpenTelemetry SDK does not start.",
        )
        return
    if not any(name in OTLP_EXPORTERS for name in names):
        _no_otlp(read, signal, check, variable, names)
        return
    found = destination(signal, environ)
    if found.protocol not in _EXPORTER_MODULES:
        read.makes_spans = False
        _, set_by = of_signal("PROTOCOL", signal, environ)
        sentence = f"{set_by}={found.protocol}: the OpenTelemetry SDK only starts with grpc or http/protobuf."
        read._add(check, "failed", sentence)
        return
    if signal == "traces":
        read.traces = found
    else:
        read.metrics = found
    problem = problem_of(found, environ)
    if problem is not None:
        read._add(check, *problem)
    else:
        why = "the default" if found.variable is None else f"set by {found.variable}"
        read._add(check, "ok", f"{signal.capitalize()} go to {found.url} over {found.protocol} ({why}).")


def _no_otlp(read: Environment, signal: Signal, check: str, variable: str, names: list[str]) -> None:
    where = f"go to {' and '.join(names)}" if names else "go nowhere"
    if signal == "traces":
        sentence = f"{variable}={','.join(names) or 'none'}: traces {where}, not to a collector. Unset it."
        read._add(check, "failed", sentence)
    else:
        sentence = (
            f"{variable}={','.join(names) or 'none'}: metrics {where}, not to a collector. Dashboards and alerts have "
            "only the metrics that the collector derives from spans."
        )
        read._add(check, "warning", sentence)
