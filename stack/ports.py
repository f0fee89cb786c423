"""Ports on the loopback interface."""

from __future__ import annotations

import contextlib
import socket

_HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports that are free at the moment."""
    with contextlib.ExitStack() as cleanup:
        sockets = [cleanup.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((_HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def preferred_port(default: int) -> int:
    """Return ``default`` if nothing listens on it, else a free port."""
    with socket.socket() as one:
        # As servers do: a port whose last connection is in TIME_WAIT counts as free.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((_HOST, default))
        except OSError:
            return free_ports(1)[0]
    return default
