"""An ASGI application on an address, by uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

_QUIET: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"uvicorn": {"level": "CRITICAL", "handlers": [], "propagate": False}},
}


def listen_on(address: str) -> socket.socket:
    """A socket that listens on `HOST:PORT`, where port 0 is any free one. Raises ValueError and OSError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is no HOST:PORT")
    host = host.strip("[]") or "127.0.0.1"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, int(port)), family=family)
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of what listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_of(application: Any) -> uvicorn.Server:
    """A server that adds nothing of its own to what the application answers."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=_QUIET,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )


@asynccontextmanager
async def serving(application: Any, listener: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    """Serve for the length of a block; the value is the task, which ends by itself on SIGINT and SIGTERM."""
    server = server_of(application)
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        yield task
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
