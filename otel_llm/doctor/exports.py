"""What an exporter's complaints mean, and what to do.  Pure.

The complaints are the lines that OpenTelemetry's OTLP exporters log, over gRPC ("Failed to export traces to ...") and
over HTTP ("Failed to export spans batch ..."). The last of a signal is its end; those before it tell the cause, where
the last one does not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.doctor.destination import GRPC, HTTP
from otel_llm.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otel_llm.doctor.destination import Destination, Signal

_FAILED: Final = re.compile(r"Failed to export (traces|spans|metrics|logs)\b")
_TRANSIENT: Final = re.compile(r"Transient error .* while exporting (traces|spans|metrics|logs)\b")
_RAISED: Final = re.compile(r"Exception while exporting (Span|metrics|Log)\b")
# What the last attempt fails with, whatever those before it failed with.
_OUT_OF_TIME: Final = re.compile(r"due to timeout, max retries or shutdown|DEADLINE_EXCEEDED")
_SIGNALS: Final = {"spans": "traces", "Span": "traces", "Log": "logs"}
_SHOWN: Final = 300  # characters of what nobody here understands


class Complaints(NamedTuple):
    """`failed`: what was said last of a signal that was given up. `tried_again`: of one that got through."""

    failed: dict[str, str]
    tried_again: dict[str, str]


class _Cause(NamedTuple):
    """`pattern` finds it. `sentence` may name {url}, {signal}, {other} (the other protocol), {headers}, {said_by}."""

    pattern: re.Pattern[str]
    sentence: str


def _cause(pattern: str, sentence: str) -> _Cause:
    return _Cause(re.compile(pattern, re.IGNORECASE), sentence)


# The first that fits counts: what is particular stands before what is general.
_CAUSES: Final = (
    _cause(
        r"http1\.x server|Failed parsing HTTP/2",
        "{url} speaks HTTP/1, and grpc was spoken to it. Set OTEL_EXPORTER_OTLP_PROTOCOL={other}, or send to the "
        "collector's port for gRPC (4317).",
    ),
    _cause(
        r"BadStatusLine|Connection aborted|RemoteDisconnected",
        "{url} did not answer as an HTTP server does: it may be a port for gRPC. Set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, "
        "or send to the collector's port for HTTP (4318).",
    ),
    _cause(
        r"WRONG_VERSION_NUMBER|record layer failure|PACKET_LENGTH_TOO_LONG",
        "TLS was spoken to {url}, which does not speak it. Begin {said_by} with http://, or turn TLS on at the "
        "collector.",
    ),
    _cause(
        r"CERTIFICATE_VERIFY_FAILED|unable to get local issuer|certificate has expired|Hostname mismatch",
        "The certificate of {url} is not trusted. Name that of its authority in OTEL_EXPORTER_OTLP_CERTIFICATE, and "
        "send to the name that is in it.",
    ),
    _cause(
        r"SSLError|handshake failed|certificate required",
        "No TLS connection to {url} comes about: {detail}",
    ),
    _cause(
        r"NameResolutionError|Name or service not known|name resolution|Domain name not found|DNS|errors resolving",
        "The name of the host in {url} is not known here. Correct {said_by}.",
    ),
    _cause(
        r"Connection refused|ECONNREFUSED",
        "Nothing listens at {url}. Start the collector (`make stack`), or say in {said_by} where it is.",
    ),
    _cause(r"Network is unreachable|No route to host", "No way leads to {url} from here: a network or a firewall."),
    _cause(
        r"UNAUTHENTICATED|code: 401",
        "{url} wants another token: {headers}. Set OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20TOKEN with the "
        "token that the gateway has.",
    ),
    _cause(r"PERMISSION_DENIED|code: 403", "{url} knows who sends and does not let them: ask who runs it."),
    _cause(
        r"UNIMPLEMENTED",
        "{url} speaks gRPC and takes no {signal}: it is no collector's OTLP port, or its configuration has no pipeline "
        "for {signal}.",
    ),
    _cause(
        r"code: (404|405)",
        "{url} is not where {signal} are taken. The path is /v1/{signal}, which the SDK adds to "
        "OTEL_EXPORTER_OTLP_ENDPOINT alone; or the collector has no pipeline for {signal}.",
    ),
    _cause(r"code: 415|code: 400", "{url} does not understand what it was sent: it is no OTLP receiver. ({detail})"),
    _cause(r"code: 413|larger than max|too large", "{url} refuses requests of this size."),
    _cause(
        r"memory|RESOURCE_EXHAUSTED|code: 429|code: 503|sending queue is full",
        "The collector at {url} takes no more now: its memory limit or its queue is full. Look at what it cannot "
        "deliver, and whether one is enough.",
    ),
    _cause(
        r"No connection adapters|No scheme supplied|Invalid URL",
        "{url} has no http:// or https:// at its beginning. Write {said_by} with it.",
    ),
    _cause(
        r"DEADLINE_EXCEEDED|timed out|ConnectTimeout|ReadTimeout",
        "{url} did not answer in time: a firewall that drops, a proxy, or a collector that is overloaded.",
    ),
    _cause(
        r"ProxyError|Tunnel connection failed",
        "The proxy on the way to {url} does not let it through. Name the host in NO_PROXY if it needs no proxy.",
    ),
)

_START: Final = (
    _cause(
        r"DependencyConflict",
        "otel-llm was not switched on, since it does not know this version of the OpenAI SDK: {detail}",
    ),
    _cause(r"Failed to auto initialize OpenTelemetry", "OpenTelemetry did not start: {detail}"),
)


def read_complaints(log: str) -> Complaints:
    """Find them among the lines of an application's standard error."""
    said: dict[str, list[str]] = {}
    given_up: dict[str, str] = {}
    lines = log.splitlines()
    for number, line in enumerate(lines):
        match = _FAILED.search(line) or _RAISED.search(line) or _TRANSIENT.search(line)
        if match is None:
            continue
        signal = _SIGNALS.get(match[1], match[1])
        said.setdefault(signal, []).append(line)
        if match.re is _FAILED:
            given_up[signal] = line
        elif match.re is _RAISED:
            given_up[signal] = f"{line} {_last_of_exception(lines[number + 1 :] or [''])}"
    for signal, line in given_up.items():
        if _OUT_OF_TIME.search(line):
            given_up[signal] = _first_known(said[signal]) or line
    tried_again = {signal: of_it[-1] for signal, of_it in said.items() if signal not in given_up}
    return Complaints(given_up, tried_again)


def export_findings(
    complaints: Complaints, destinations: Mapping[Signal, Destination], headers: Mapping[Signal, str]
) -> Iterator[Finding]:
    """One for each signal that was not sent at once. `headers`: of each signal, what was sent as its headers."""
    for signal, destination in destinations.items():
        check = f"export of {signal}"
        if signal in complaints.failed:
            line = complaints.failed[signal]
            yield Finding(check, "failed", _explain(line, destination, headers[signal]))
        elif signal in complaints.tried_again:
            line = complaints.tried_again[signal]
            why = _explain(line, destination, headers[signal])
            yield Finding(check, "warning", f"{signal.capitalize()} were sent, but not at the first attempt. {why}")


def start_problem(log: str) -> str | None:
    """Why no telemetry was made at all; None where the lines do not tell."""
    for cause in _START:
        match = cause.pattern.search(log)
        if match:
            after = [line.strip() for line in log[match.start() :].splitlines() if line.strip()]
            # Of an exception the last line says what it is.
            detail = after[0] if "{detail}" in cause.sentence and len(after) == 1 else _last_of_exception(after)
            return cause.sentence.format(detail=detail[:_SHOWN])
    return None


def _last_of_exception(lines: list[str]) -> str:
    return next((line for line in lines if re.match(r"[\w.]+(Error|Exception|Conflict)\b.*", line)), lines[0])


def _first_known(lines: list[str]) -> str | None:
    return next((line for line in lines if any(cause.pattern.search(line) for cause in _CAUSES)), None)


def _explain(line: str, destination: Destination, headers: str) -> str:
    for cause in _CAUSES:
        if cause.pattern.search(line):
            return cause.sentence.format(
                url=destination.url,
                signal=destination.signal,
                other=HTTP if destination.protocol == GRPC else GRPC,
                headers=headers,
                said_by=destination.variable or "OTEL_EXPORTER_OTLP_ENDPOINT",
                detail=line[:_SHOWN],
            )
    return f"The exporter says: {line[:_SHOWN]}"
