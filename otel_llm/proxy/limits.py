"""Limits of the proxy, each with a reason, all of them options of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1_048_576
# Bytes of sizes, extensions and line ends around a byte of a body in chunks. Chunks of a single byte have five.
MOST_FRAMING = 8


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    body_bytes: int = 256 * MEGABYTE
    """Of a request. Longer ones are refused with 413."""
    header_bytes: int = 64 * 1024
    """Of the head of a request or a response, of its trailers, and of the framing of its body."""
    observed_bytes: int = 16 * MEGABYTE
    """Of a request. Longer ones are forwarded and not observed."""
    connections: int = 10_000
    """Of clients at a time, in one worker. More are refused with 503."""
    connect_seconds: float = 10.0
    """To connect to a server, TLS included."""
    idle_seconds: float = 600.0
    """Without a byte in either direction while a request is being answered."""
    total_seconds: float = 3600.0
    """For a request, from its head to the end of its response."""
    keep_alive_seconds: float = 300.0
    """For a client's connection without a request; for one of ours to a server it is 30 seconds at most."""
    head_seconds: float = 30.0
    """For the head of a request, once its first byte came, and for a body that is collected first."""
    drain_seconds: float = 30.0
    """For running requests to finish after SIGTERM."""


RECORDING = Limits(body_bytes=64 * MEGABYTE, observed_bytes=64 * MEGABYTE)
"""A recording has the whole request."""
