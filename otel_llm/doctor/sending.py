"""Problems with how telemetry is sent: address, port, path, proxy, headers, certificates."""

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
    """What is wrong with a signal's destination, or None."""
    set_by = found.variable or "OTEL_EXPORTER_OTLP_ENDPOINT"
    if not found.has_scheme:
        insecure = environ.get("OTEL_EXPORTER_OTLP_INSECURE", "").lower() == "true"
        if found.protocol == HTTP:
            return (
                "failed",
                f"{set_by} does not start with http:// or https://: nothing can be sent to {found.url}.",
            )
        if not insecure:
            sentence = (
                f"{set_by} ({found.url}) does not start with http:// or https://, so gRPC uses TLS. Add the scheme."
            )
            return "warning", sentence
    if found.address is None:
        return "failed", f"{set_by} is not a URL with a host and a port: {found.url}"
    path = f"/v1/{found.signal}"
    if found.protocol == HTTP and found.variable == "OTEL_EXPORTER_OTLP_ENDPOINT":
        if re.search(r"/v1/(traces|metrics|logs)/v1/", found.url):
            sentence = (
                f"OTEL_EXPORTER_OTLP_ENDPOINT ends in a signal's path, and the OpenTelemetry SDK appends another: "
                f"{found.url}. Remove /v1/... from its end."
            )
            return "failed", sentence
    elif found.protocol == HTTP and not found.url.rstrip("/").endswith(path):
        sentence = (
            f"{set_by} ({found.url}) is used as it is, but a collector accepts {found.signal} at {path}. Append it."
        )
        return "warning", sentence
    if found.address[1] == _PORT_OF_THE_OTHER[found.protocol]:
        other = HTTP if found.protocol == GRPC else GRPC
        sentence = (
            f"{found.url} is used with {found.protocol}, but port {found.address[1]} is usually for {other}. Set "
            f"OTEL_EXPORTER_OTLP_PROTOCOL={other}, or send to port {_PORT_OF_THE_OTHER[other]}."
        )
        return "warning", sentence
    return _problem_on_the_way(found, environ)


def _problem_on_the_way(found: Destination, environ: Mapping[str, str]) -> tuple[Status, str] | None:
    timeout, set_by = of_signal("TIMEOUT", found.signal, environ)
    try:
        seconds = float(timeout or 0)
    except ValueError:
        return "warning", f"{set_by}={timeout} is not a number of seconds."
    if seconds > _LONGEST_LIKELY_TIMEOUT:
        return (
            "warning",
            f"{set_by}={timeout}: in Python this is in seconds, and an application waits that long at exit.",
        )
    host = found.address[0] if found.address else ""
    proxy = _proxy_for(host, found.url, environ)
    if proxy is not None:
        sentence = (
            f"{proxy} is set, so {found.signal} go through that proxy. If they should not, list {host} in NO_PROXY."
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
    """Whether headers are well-formed, and tokens are sent over TLS only. Values of headers are never shown."""
    for found in destinations:
        signal = found.signal
        names, unusable = header_names(signal, environ)
        _, set_by = of_signal("HEADERS", signal, environ)
        shown = (
            f"{signal} are sent with the header {', '.join(names)}" if names else f"{signal} are sent without headers"
        )
        if unusable:
            sentence = (
                f"{unusable} of the headers in {set_by} is malformed and not sent. Write name=value,name=value; now "
                f"{shown}."
            )
            yield Finding("headers", "failed", sentence)
        elif "authorization" in names and _is_plain(found):
            sentence = f"{set_by} has a token, but {found.url} does not use TLS: the token is readable on the network."
            yield Finding("headers", "warning", sentence)
        elif names:
            yield Finding("headers", "ok", f"{shown[0].upper()}{shown[1:]}.")
        else:
            continue
        if set_by == "OTEL_EXPORTER_OTLP_HEADERS":
            return  # it applies to both signals


def _is_plain(found: Destination) -> bool:
    return found.url.lower().startswith("http://") and not (found.address and is_loopback(found.address[0]))


def tls_findings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the certificate and key files exist."""
    for name in sorted(environ):
        if re.fullmatch(r"OTEL_EXPORTER_OTLP_(\w+_)?(CERTIFICATE|CLIENT_KEY|CLIENT_CERTIFICATE)", name):
            path = environ[name]
            if path and not Path(path).is_file():
                yield Finding("tls", "failed", f"{name} names a file that does not exist: {path}")
