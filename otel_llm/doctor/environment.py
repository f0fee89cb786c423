"""What in the environment keeps telemetry from being made or sent.

It is read as the SDK and `opentelemetry-instrument` read it. What is surely wrong has failed; what is seldom right is a
warning, and the test streams show what becomes of it.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from dataclasses import dataclass, field, fields
from importlib.metadata import entry_points
from pathlib import Path
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
    header_names,
    is_loopback,
    of_signal,
    protocol,
)
from otel_llm.doctor.finding import Finding, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics")
_ALWAYS_NEEDED: Final = ("openai", "opentelemetry.sdk", "opentelemetry.distro")
_EXPORTER_MODULES: Final = {
    GRPC: "opentelemetry.exporter.otlp.proto.grpc",
    HTTP: "opentelemetry.exporter.otlp.proto.http",
}
_PORT_OF_THE_OTHER: Final = {GRPC: 4318, HTTP: 4317}
_OUR_NAME: Final = "otel_llm"
_LONGEST_LIKELY_TIMEOUT: Final = 600.0  # seconds
_RATIO_SAMPLERS: Final = frozenset({"traceidratio", "parentbased_traceidratio"})
_OPENAI_REQUIREMENT: Final = re.compile(r"openai(?![\w.-])", re.IGNORECASE)


@dataclass
class Environment:
    """What was read. `traces` and `metrics`: where they go by OTLP, None where they do not.

    `makes_spans`: nothing found keeps the test streams' spans from being made. `is_complete`: no package is missing.
    """

    traces: Destination | None = None
    metrics: Destination | None = None
    makes_spans: bool = True
    is_complete: bool = True
    config: Config = field(default_factory=Config)
    findings: list[Finding] = field(default_factory=list)

    def _add(self, check: str, status: Status, sentence: str) -> None:
        self.findings.append(Finding(check, status, sentence))


def read_environment(environ: Mapping[str, str]) -> Environment:
    """Read all of it; where an application was started with these variables, it would behave as is found here."""
    read = Environment()
    _packages(read, environ)
    _instrumentations(read, environ)
    _sampler(read, environ)
    _options(read, environ)
    if environ.get("OTEL_CONFIG_FILE"):
        read._add(
            "destination",
            "warning",
            "OTEL_CONFIG_FILE configures the SDK, and the variables that say where telemetry goes are not read; what "
            "follows tells only where it arrives.",
        )
        read.traces, read.metrics = (destination(signal, {}) for signal in _SIGNALS)
        return read
    for signal in _SIGNALS:
        _destination(read, signal, environ)
    _headers(read, environ)
    _tls(read, environ)
    return read


def _packages(read: Environment, environ: Mapping[str, str]) -> None:
    needed = [*_ALWAYS_NEEDED]
    for signal in _SIGNALS:
        if not set(OTLP_EXPORTERS).isdisjoint(exporters(signal, environ)):
            spoken = protocol(signal, environ)
            needed += [_EXPORTER_MODULES[spoken]] if spoken in _EXPORTER_MODULES else []
    missing = [name for name in dict.fromkeys(needed) if not _is_installed(name)]
    if missing:
        read.is_complete = False
        sentence = f"{' and '.join(missing)} cannot be imported: pip install 'otel-llm[instruments,otlp]'"
        read._add("packages", "failed", sentence)
    else:
        read._add("packages", "ok", "The OpenAI SDK, OpenTelemetry's SDK and its exporters are installed.")


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # not even the package around it, or it is blocked
        return False


def _instrumentations(read: Environment, environ: Mapping[str, str]) -> None:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        read.makes_spans = False
        read._add("instrumentation", "failed", "OTEL_SDK_DISABLED=true: no telemetry is made at all. Unset it.")
        return
    disabled = {name.strip() for name in environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    for name in (_OUR_NAME, "*"):
        if name in disabled:
            read.makes_spans = False
            sentence = f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS has {name} in it: otel-llm is off. Take it out."
            read._add("instrumentation", "failed", sentence)
            return
    others = sorted(set(_other_instrumentations(disabled)))
    if others:
        packages = " and ".join(f"{package} (as {name})" for package, name in others)
        read._add(
            "instrumentation",
            "warning",
            f"{packages} also instruments the OpenAI SDK, so requests may be traced twice. Keep one: name the other in "
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, or uninstall it.",
        )
    else:
        read._add("instrumentation", "ok", "otel-llm is on, and nothing else instruments the OpenAI SDK.")


def _other_instrumentations(disabled: set[str]) -> Iterator[tuple[str, str]]:
    """Package and entry point of each that says it instruments the `openai` package."""
    for entry in entry_points(group="opentelemetry_instrumentor"):
        if entry.name == _OUR_NAME or entry.name in disabled or entry.dist is None:
            continue
        if any(_OPENAI_REQUIREMENT.match(requirement) for requirement in entry.dist.requires or ()):
            yield entry.dist.name, entry.name


def _sampler(read: Environment, environ: Mapping[str, str]) -> None:
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if not name or name in {"always_on", "parentbased_always_on"}:
        return
    if name in {"always_off", "parentbased_always_off"}:
        sentence = f"OTEL_TRACES_SAMPLER={name}: no trace of the application's is kept. Unset it."
        read._add("sampler", "failed", sentence)
    elif name in _RATIO_SAMPLERS:
        value = environ.get("OTEL_TRACES_SAMPLER_ARG", "")
        try:
            ratio = float(value)
        except ValueError:
            ratio = -1.0
        if ratio == 0:
            sentence = f"OTEL_TRACES_SAMPLER={name} with OTEL_TRACES_SAMPLER_ARG={value}: no trace is kept."
            read._add("sampler", "failed", sentence)
        elif 0 < ratio < 1:
            read._add(
                "sampler",
                "warning",
                f"OTEL_TRACES_SAMPLER={name}: the application keeps {ratio * 100:g}% of its traces, and anomalies are "
                "lost with the rest. A gateway that samples behind it keeps them all (collector-config/gateway.yaml).",
            )
        elif ratio != 1:
            sentence = (
                f"OTEL_TRACES_SAMPLER_ARG={value!r} is no share between 0 and 1: the SDK takes 1, or does not start."
            )
            read._add("sampler", "warning", sentence)
    elif not entry_points(group="opentelemetry_traces_sampler", name=name):
        sentence = f"OTEL_TRACES_SAMPLER={name} is no sampler that is installed; the SDK keeps all traces."
        read._add("sampler", "warning", sentence)
    else:
        read._add("sampler", "warning", f"OTEL_TRACES_SAMPLER={name} decides what the application keeps.")


def _options(read: Environment, environ: Mapping[str, str]) -> None:
    """The OTEL_LLM_* variables; what cannot be used is named by the same reader as in the application."""
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
        f"{name} is none of otel-llm's variables, which are {', '.join(sorted(known))}"
        for name in sorted(environ)
        if name.startswith("OTEL_LLM_") and name not in known
    ]
    for message in bad:
        read._add("options", "warning", f"{message}. The default is kept.")
    if "span" not in read.config.events:
        read._add(
            "options",
            "warning",
            f"OTEL_LLM_EVENTS={environ['OTEL_LLM_EVENTS']}: spans have no events, so that Jaeger does not show what "
            "became of a tool call. `span` or `span,log` puts them there.",
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
            f"{variable} names {' and '.join(unknown)}, which is not installed: the SDK does not start.",
        )
        return
    if not any(name in OTLP_EXPORTERS for name in names):
        _no_otlp(read, signal, check, variable, names)
        return
    found = destination(signal, environ)
    if found.protocol not in _EXPORTER_MODULES:
        read.makes_spans = False
        _, said_by = of_signal("PROTOCOL", signal, environ)
        sentence = (
            f"{said_by}={found.protocol}: the SDK speaks grpc and http/protobuf, and does not start with another."
        )
        read._add(check, "failed", sentence)
        return
    if signal == "traces":
        read.traces = found
    else:
        read.metrics = found
    problem = _problem_of(found, environ)
    if problem is not None:
        read._add(check, *problem)
    else:
        where = "by default" if found.variable is None else f"by {found.variable}"
        read._add(check, "ok", f"{signal.capitalize()} go to {found.url} with {found.protocol}, {where}.")


def _no_otlp(read: Environment, signal: Signal, check: str, variable: str, names: list[str]) -> None:
    kept = f"goes to {' and '.join(names)}" if names else "goes nowhere"
    if signal == "traces":
        sentence = (
            f"{variable}={','.join(names) or 'none'}: what is traced {kept}, none of it to a collector. Unset it."
        )
        read._add(check, "failed", sentence)
    else:
        sentence = (
            f"{variable}={','.join(names) or 'none'}: what is measured {kept}, none of it to a collector; dashboards "
            "and alerts have only what the collector makes of spans."
        )
        read._add(check, "warning", sentence)


def _problem_of(found: Destination, environ: Mapping[str, str]) -> tuple[Status, str] | None:
    said_by = found.variable or "OTEL_EXPORTER_OTLP_ENDPOINT"
    if not found.has_scheme:
        insecure = environ.get("OTEL_EXPORTER_OTLP_INSECURE", "").lower() == "true"
        if found.protocol == HTTP:
            return (
                "failed",
                f"{said_by} has no http:// or https:// at its beginning: nothing can be sent to {found.url}.",
            )
        if not insecure:
            sentence = (
                f"{said_by} ({found.url}) has no http:// at its beginning: gRPC then speaks TLS. Say which is meant."
            )
            return "warning", sentence
    if found.address is None:
        return "failed", f"{said_by} is no URL with a host and a port: {found.url}"
    path = f"/v1/{found.signal}"
    if found.protocol == HTTP and found.variable == "OTEL_EXPORTER_OTLP_ENDPOINT":
        if re.search(r"/v1/(traces|metrics|logs)/v1/", found.url):
            sentence = (
                f"OTEL_EXPORTER_OTLP_ENDPOINT has the path of a signal in it, and the SDK adds its own: {found.url}. "
                "Take /v1/... off its end."
            )
            return "failed", sentence
    elif found.protocol == HTTP and not found.url.rstrip("/").endswith(path):
        sentence = f"{said_by} ({found.url}) is used as it is, and a collector takes {found.signal} at {path}. Add it."
        return "warning", sentence
    if found.address[1] == _PORT_OF_THE_OTHER[found.protocol]:
        other = HTTP if found.protocol == GRPC else GRPC
        sentence = (
            f"{found.url} is spoken to with {found.protocol}, but port {found.address[1]} is commonly that of {other}. "
            f"Set OTEL_EXPORTER_OTLP_PROTOCOL={other}, or send to port {_PORT_OF_THE_OTHER[other]}."
        )
        return "warning", sentence
    return _problem_on_the_way(found, environ)


def _problem_on_the_way(found: Destination, environ: Mapping[str, str]) -> tuple[Status, str] | None:
    timeout, said_by = of_signal("TIMEOUT", found.signal, environ)
    try:
        seconds = float(timeout or 0)
    except ValueError:
        return "warning", f"{said_by}={timeout} is no number of seconds."
    if seconds > _LONGEST_LIKELY_TIMEOUT:
        return (
            "warning",
            f"{said_by}={timeout}: in Python these are seconds, and an application waits so long at its end.",
        )
    host = found.address[0] if found.address else ""
    proxy = _proxy_for(host, found.url, environ)
    if proxy is not None:
        sentence = (
            f"{proxy} is set, so that {found.signal} go through that proxy. If it shall not, name {host} in NO_PROXY."
        )
        return "warning", sentence
    return None


def _proxy_for(host: str, url: str, environ: Mapping[str, str]) -> str | None:
    import urllib.request

    scheme = "https" if url.lower().startswith("https") else "http"
    named = next((name for name in environ if name.lower() == f"{scheme}_proxy" and environ[name]), None)
    exempt = {name.lower(): value for name, value in environ.items() if name.lower() == "no_proxy"}
    if named is None or urllib.request.proxy_bypass_environment(host, {"no": exempt.get("no_proxy", "")}):  # type: ignore[attr-defined]
        return None
    return named


def _headers(read: Environment, environ: Mapping[str, str]) -> None:
    for signal, found in (("traces", read.traces), ("metrics", read.metrics)):
        if found is None:
            continue
        names, unusable = header_names(found.signal, environ)
        _, said_by = of_signal("HEADERS", found.signal, environ)
        shown = (
            f"{signal} are sent with the header {', '.join(names)}" if names else f"{signal} are sent without headers"
        )
        if unusable:
            sentence = (
                f"{unusable} of the headers in {said_by} cannot be read and is not sent. The form is "
                f"name=value,name=value; {shown}."
            )
            read._add("headers", "failed", sentence)
        elif "authorization" in names and _is_plain(found):
            sentence = f"{said_by} has a token, and {found.url} is no TLS: it goes over the network for all to read."
            read._add("headers", "warning", sentence)
        elif names:
            read._add("headers", "ok", f"{shown[0].upper()}{shown[1:]}.")
        else:
            continue
        if said_by == "OTEL_EXPORTER_OTLP_HEADERS":
            return  # the same for both


def _is_plain(found: Destination) -> bool:
    return found.url.lower().startswith("http://") and not (found.address and is_loopback(found.address[0]))


def _tls(read: Environment, environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if re.fullmatch(r"OTEL_EXPORTER_OTLP_(\w+_)?(CERTIFICATE|CLIENT_KEY|CLIENT_CERTIFICATE)", name):
            path = environ[name]
            if path and not Path(path).is_file():
                read._add("tls", "failed", f"{name} names a file that is not there: {path}")
