"""Where the OpenTelemetry SDK sends a signal, by the same variables and the same precedence.  Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from otel_llm.serving.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

Signal: TypeAlias = Literal["traces", "metrics"]

GRPC: Final = "grpc"
HTTP: Final = "http/protobuf"
OTLP_EXPORTERS: Final = ("otlp", "otlp_proto_grpc", "otlp_proto_http")

_DEFAULT_ENDPOINTS: Final = {GRPC: "http://localhost:4317", HTTP: "http://localhost:4318"}
_SCHEME: Final = re.compile(r"https?://", re.IGNORECASE)
# What a header's name is made of (RFC 9110).
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Destination(NamedTuple):
    """`url`: the endpoint, with the signal's path for HTTP. `variable`: what sets it, None for the default."""

    signal: Signal
    protocol: str
    url: str
    variable: str | None

    @property
    def has_scheme(self) -> bool:
        """Whether the URL starts with http:// or https://."""
        return _SCHEME.match(self.url) is not None

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port, None if the URL has none."""
        parts = urlsplit(self.url if self.has_scheme else f"//{self.url}")
        try:
            port = parts.port
        except ValueError:
            return None
        if port is None:
            port = {"http": 80, "https": 443}.get(parts.scheme.lower(), 0)
        return (parts.hostname, port) if parts.hostname and port else None

    @property
    def is_local(self) -> bool:
        """Whether the host is this machine."""
        return self.address is not None and is_loopback(self.address[0])


def exporters(signal: Signal, environ: Mapping[str, str]) -> list[str]:
    """The names of the exporters, as `opentelemetry-instrument` reads them; an empty list for `none`."""
    names = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp")
    if not names or names.strip().lower() == "none":
        return []
    return [name.strip() for name in names.split(",")]


def protocol(signal: Signal, environ: Mapping[str, str]) -> str:
    """The protocol that the variables name, valid or not; gRPC by default."""
    exporter = next((name for name in exporters(signal, environ) if name in OTLP_EXPORTERS), "otlp")
    if exporter != "otlp":
        return GRPC if exporter == "otlp_proto_grpc" else HTTP
    return (of_signal("PROTOCOL", signal, environ)[0] or GRPC).strip()


def destination(signal: Signal, environ: Mapping[str, str]) -> Destination:
    """Where the signal goes if OTLP is among its exporters."""
    transport = protocol(signal, environ)
    url, variable = of_signal("ENDPOINT", signal, environ)
    if not url:
        url, variable = _DEFAULT_ENDPOINTS.get(transport, _DEFAULT_ENDPOINTS[GRPC]), None
    # Only the variable for all signals is a base URL.
    if transport == HTTP and variable in {None, "OTEL_EXPORTER_OTLP_ENDPOINT"}:
        url = f"{url.removesuffix('/')}/v1/{signal}"
    return Destination(signal, transport, url, variable)


def of_signal(what: str, signal: Signal, environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The value for this signal, or else for all signals, and the name of its variable."""
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}", f"OTEL_EXPORTER_OTLP_{what}"):
        if environ.get(variable):
            return environ[variable], variable
    return None, None


def header_names(signal: Signal, environ: Mapping[str, str]) -> tuple[list[str], int]:
    """The names of the headers that are sent, and the number of malformed entries."""
    value, _ = of_signal("HEADERS", signal, environ)
    entries = [entry.strip() for entry in (value or "").split(",") if entry.strip()]
    names = [entry.partition("=")[0].strip() for entry in entries if "=" in entry]
    usable = [name.lower() for name in names if _HEADER_NAME.fullmatch(name)]
    return usable, len(entries) - len(usable)
