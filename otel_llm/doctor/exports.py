"""What the error logs of OTLP exporters mean, and what to do.  Pure.

OpenTelemetry's exporters log over gRPC ("Failed to export traces to ...") and over HTTP ("Failed to export spans batch
..."). The last line about a signal is the final failure; if it gives no cause, an earlier line does.
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
# The last attempt fails like this, whatever the cause.
_OUT_OF_TIME: Final = re.compile(r"due to timeout, max retries or shutdown|DEADLINE_EXCEEDED")
_SIGNALS: Final = {"spans": "traces", "Span": "traces", "Log": "logs"}
_SHOWN: Final = 300  # characters of a message that is not understood here


class Failures(NamedTuple):
    """Log lines by signal. `final`: the signal was given up. `retried`: it got through in the end."""

    final: dict[str, str]
    retried: dict[str, str]


class _Cause(NamedTuple):
    """`sentence` may have {url}, {signal}, {other} (the other protocol), {headers}, {set_by} and {detail}."""

    pattern: re.Pattern[str]
    sentence: str


def _cause(pattern: str, sentence: str) -> _Cause:
    return _Cause(re.compile(pattern, re.IGNORECASE), sentence)


# The first match counts, so specific causes come before general ones.
_CAUSES: Final = (
    _cause(
        r"http1\.x server|Failed parsing HTTP/2",
        "{url} is an HTTP/1 server, but the protocol is grpc. Set OTEL_EXPORTER_OTLP_PROTOCOL={other}, or send to the "
        "collector's gRPC port (4317).",
    ),
    _cause(
        r"BadStatusLine|Connection aborted|RemoteDisconnected",
        "{url} does not answer like an HTTP server: it may be a gRPC port. Set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or "
        "send to the collector's HTTP port (4318).",
    ),
    _cause(
        r"WRONG_VERSION_NUMBER|record layer failure|PACKET_LENGTH_TOO_LONG",
        "The exporter uses TLS, but {url} does not. Start {set_by} with http://, or enable TLS in the collector.",
    ),
    _cause(
        r"CERTIFICATE_VERIFY_FAILED|unable to get local issuer|certificate has expired|Hostname mismatch",
        "The certificate of {url} is not trusted. Set OTEL_EXPORTER_OTLP_CERTIFICATE to the file of its certificate "
        "authority, and use a host name that the certificate is issued for.",
    ),
    _cause(
        r"SSLError|handshake failed|certificate required",
        "The TLS handshake with {url} fails: {detail}",
    ),
    _cause(
        r"NameResolutionError|Name or service not known|name resolution|Domain name not found|DNS|errors resolving",
        "The host name in {url} cannot be resolved. Correct {set_by}.",
    ),
    _cause(
        r"Connection refused|ECONNREFUSED",
        "Nothing listens at {url}. Start the collector (`make stack`), or set {set_by} to its address.",
    ),
    _cause(r"Network is unreachable|No route to host", "There is no route to {url}: check the network and firewalls."),
    _cause(
        r"UNAUTHENTICATED|code: 401",
        "{url} requires a token: {headers}. Set OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20TOKEN to the "
        "gateway's token.",
    ),
    _cause(r"PERMISSION_DENIED|code: 403", "{url} accepts the token, but denies permission. Ask its operator."),
    _cause(
        r"UNIMPLEMENTED",
        "{url} is a gRPC server that does not accept {signal}: it is not an OTLP port, or the collector has no "
        "pipeline for {signal}.",
    ),
    _cause(
        r"code: (404|405)",
        "{url} does not accept {signal}. The path must be /v1/{signal}, which the OpenTelemetry SDK appends only to "
        "OTEL_EXPORTER_OTLP_ENDPOINT; or the collector has no pipeline for {signal}.",
    ),
    _cause(r"code: 415|code: 400", "{url} is not an OTLP receiver: it does not understand the request. ({detail})"),
    _cause(r"code: 413|larger than max|too large", "{url} rejects requests of this size."),
    _cause(
        r"memory|RESOURCE_EXHAUSTED|code: 429|code: 503|sending queue is full",
        "The collector at {url} is overloaded: it is at its memory limit, or its queue is full. Check what it cannot "
        "deliver, and whether one collector is enough.",
    ),
    _cause(
        r"No connection adapters|No scheme supplied|Invalid URL",
        "{url} does not start with http:// or https://. Correct {set_by}.",
    ),
    _cause(
        r"DEADLINE_EXCEEDED|timed out|ConnectTimeout|ReadTimeout",
        "{url} did not answer in time: a firewall, a proxy, or an overloaded collector.",
    ),
    _cause(
        r"ProxyError|Tunnel connection failed",
        "The proxy does not connect to {url}. If the host needs no proxy, list it in NO_PROXY.",
    ),
)

_START: Final = (
    _cause(
        r"DependencyConflict",
        "otel-llm did not instrument the OpenAI SDK, whose version it does not support: {detail}",
    ),
    _cause(r"Failed to auto initialize OpenTelemetry", "OpenTelemetry did not start: {detail}"),
)


def read_failures(log: str) -> Failures:
    """The failures of exporters in an application's log."""
    logged: dict[str, list[str]] = {}
    final: dict[str, str] = {}
    lines = log.splitlines()
    for number, line in enumerate(lines):
        match = _FAILED.search(line) or _RAISED.search(line) or _TRANSIENT.search(line)
        if match is None:
            continue
        signal = _SIGNALS.get(match[1], match[1])
        logged.setdefault(signal, []).append(line)
        if match.re is _FAILED:
            final[signal] = line
        elif match.re is _RAISED:
            final[signal] = f"{line} {_last_of_exception(lines[number + 1 :] or [''])}"
    for signal, line in final.items():
        if _OUT_OF_TIME.search(line):
            final[signal] = _first_known(logged[signal]) or line
    retried = {signal: of_signal[-1] for signal, of_signal in logged.items() if signal not in final}
    return Failures(final, retried)


def export_findings(
    failures: Failures, destinations: Mapping[Signal, Destination], headers: Mapping[Signal, str]
) -> Iterator[Finding]:
    """A finding for each signal that failed at least once. `headers`: what to say about the token of each signal."""
    for signal, destination in destinations.items():
        check = f"export of {signal}"
        if signal in failures.final:
            yield Finding(check, "failed", _explain(failures.final[signal], destination, headers[signal]))
        elif signal in failures.retried:
            why = _explain(failures.retried[signal], destination, headers[signal])
            yield Finding(check, "warning", f"{signal.capitalize()} were sent only after retries. {why}")


def start_problem(log: str) -> str | None:
    """Why no telemetry was created at all, None if the log does not say."""
    for cause in _START:
        match = cause.pattern.search(log)
        if match:
            after = [line.strip() for line in log[match.start() :].splitlines() if line.strip()]
            # The last line of a traceback has the message.
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
                set_by=destination.variable or "OTEL_EXPORTER_OTLP_ENDPOINT",
                detail=line[:_SHOWN],
            )
    return f"The exporter reports: {line[:_SHOWN]}"
