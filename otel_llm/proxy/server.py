"""Runs the proxy on listening sockets in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from otel_llm.proxy.client_connection import ClientConnection

if TYPE_CHECKING:
    import socket

    from otel_llm.proxy.configuration import Configuration
    from otel_llm.proxy.gateway import Gateway

_SECONDS_BETWEEN_SWEEPS = 1.0
_BACKLOG = 4096


class ProxyServer:
    """A running proxy."""

    def __init__(self, gateway: Gateway, servers: Sequence[asyncio.AbstractServer], tls: ssl.SSLContext | None) -> None:
        self.gateway = gateway
        self._servers = servers
        self._tls = tls

    def reload(self, configuration: Configuration) -> None:
        """Follow another configuration from now on. Raises OSError and ssl.SSLError if its certificate is of no use."""
        if self._tls is not None and configuration.tls_cert is not None:
            # Connections that are made from now on get the new one.
            self._tls.load_cert_chain(configuration.tls_cert, configuration.tls_key)
        self.gateway.reload(configuration)

    async def drain(self, seconds: float) -> None:
        """Listen no more, and wait for the requests that are under way, at most so long."""
        for server in self._servers:
            server.close()
        self.gateway.drain()
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.gateway.is_idle and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving(gateway: Gateway, listeners: Sequence[socket.socket]) -> AsyncIterator[ProxyServer]:
    """Serve for the length of a block; at its end, whatever is still open is closed."""
    loop = asyncio.get_running_loop()
    tls = tls_context(gateway.configuration)
    servers = [
        await loop.create_server(lambda: ClientConnection(gateway), sock=listener, ssl=tls, backlog=_BACKLOG)
        for listener in listeners
    ]
    sweeping = asyncio.ensure_future(_sweep(gateway))
    try:
        yield ProxyServer(gateway, servers, tls)
    finally:
        sweeping.cancel()
        for server in servers:
            server.close()
        gateway.close()
        # Closed connections are told so in the next turns of the loop.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def tls_context(configuration: Configuration) -> ssl.SSLContext | None:
    """The context for clients, None without a certificate. Raises OSError and ssl.SSLError."""
    if configuration.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(configuration.tls_cert, configuration.tls_key)
    return context


async def _sweep(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_SWEEPS)
        gateway.sweep()
