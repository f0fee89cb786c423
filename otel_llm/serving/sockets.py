"""Listening sockets."""

from __future__ import annotations

import socket


def listen(host: str, port: int, *, or_any: bool = False, reuse_port: bool = False) -> socket.socket:
    """A socket that listens on `port` (0: any free port), or on a free port if that one is taken and `or_any` is set.

    `reuse_port`: other sockets may listen there too. Raises OSError.
    """
    is_ipv6 = ":" in host
    try:
        listener = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            reuse_port=reuse_port,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError:
        if not or_any:
            raise
        return listen(host, 0)
    # For its connections, too: each piece leaves when it is written. asyncio does not see that these are TCP's.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def listen_on(address: str, *, reuse_port: bool = False) -> socket.socket:
    """A socket that listens on `HOST:PORT`. Raises ValueError and OSError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return listen(host.strip("[]") or "127.0.0.1", int(port), reuse_port=reuse_port)


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket, on the loopback interface if it listens on all interfaces."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
