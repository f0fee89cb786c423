"""What is wrong with where telemetry is sent and with what: address, port, path, proxy, headers, certificates."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_llm.doctor.destination import GRPC, HTTP, Destination, header_names, of_signal
from otel_llm.doctor.finding import Finding, Status
from otel_llm.serving.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PORT_OF_THE_OTHER: Final = {GRPC: 4318, HTTP: 4317}
_LONGEST_LIKELY_TIMEOUT: Final = 600.0  # seconds


def problem_of(found: Destination, environ: Mapping[str, str]) -> tuple[Status, str] | None:
    """What is wrong with where a signal is sent, or None."""
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
    scheme = "https" if url.lower().startswith("https") else "http"
    named = next((name for name in environ if name.lower() == f"{scheme}_proxy" and environ[name]), None)
    exempt = {name.lower(): value for name, value in environ.items() if name.lower() == "no_proxy"}
    if named is None or urllib.request.proxy_bypass_environment(host, {"no": exempt.get("no_proxy", "")}):  # type: ignore[attr-defined]
        return None
    return named


def header_findings(destinations: Iterable[Destination], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the headers can be sent, and their values be read by nobody else; their names alone are told."""
    for found in destinations:
        signal = found.signal
        names, unusable = header_names(signal, environ)
        _, said_by = of_signal("HEADERS", signal, environ)
        shown = (
            f"{signal} are sent with the header {', '.join(names)}" if names else f"{signal} are sent without headers"
        )
        if unusable:
            sentence = (
                f"{unusable} of the headers in {said_by} cannot be read and is not sent. The form is "
                f"name=value,name=value; {shown}."
            )
            yield Finding("headers", "failed", sentence)
        elif "authorization" in names and _is_plain(found):
            sentence = f"{said_by} has a token, and {found.url} is no TLS: it goes over the network for all to read."
            yield Finding("headers", "warning", sentence)
        elif names:
            yield Finding("headers", "ok", f"{shown[0].upper()}{shown[1:]}.")
        else:
            continue
        if said_by == "OTEL_EXPORTER_OTLP_HEADERS":
            return  # the same for both


def _is_plain(found: Destination) -> bool:
    return found.url.lower().startswith("http://") and not (found.address and is_loopback(found.address[0]))


def tls_findings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the files are there that TLS is told to use."""
    for name in sorted(environ):
        if re.fullmatch(r"OTEL_EXPORTER_OTLP_(\w+_)?(CERTIFICATE|CLIENT_KEY|CLIENT_CERTIFICATE)", name):
            path = environ[name]
            if path and not Path(path).is_file():
                yield Finding("tls", "failed", f"{name} names a file that is not there: {path}")
