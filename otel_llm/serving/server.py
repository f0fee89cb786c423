"""Serves an ASGI application on listening sockets, by Hypercorn: HTTP/1.1, and the HTTP/2 that gRPC needs.

Nothing is added to what the application answers, and no time limit is put on a response.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from otel_llm.serving.asgi import Application, ConnectionDropped, Receive, Scope, Send

_log = logging.getLogger("otel_llm.serving")
_SECONDS_TO_END = 2.0
# An exporter whose idle connection is closed while it sends loses a batch.
_KEEP_ALIVE = 24 * 3600  # seconds


class _Abort(BaseException):
    """Ends a connection by way of its task group; Hypercorn handles only what derives from Exception."""


class Server:
    """A running server. `task` ends by itself only if the server fails."""

    def __init__(self, application: Application, listeners: Sequence[socket.socket]) -> None:
        self._application = application
        self._requests: set[asyncio.Task[Any]] = set()
        self._ending = asyncio.Event()
        self.task: asyncio.Task[None] = asyncio.ensure_future(
            serve(self._call, _config(listeners), shutdown_trigger=self._ending.wait)  # type: ignore[arg-type]
        )

    async def idle(self) -> None:
        """Return when no request is being answered."""
        while self._requests:
            await asyncio.wait(self._requests)

    async def end(self) -> None:
        """Stop listening, and end the requests that are still being answered after a moment."""
        self._ending.set()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.idle(), _SECONDS_TO_END / 2)
        for request in self._requests:
            request.cancel()
        await asyncio.wait({self.task}, timeout=_SECONDS_TO_END)
        if not self.task.done():
            # A client that neither reads nor disconnects.
            self.task.cancel()
            await asyncio.wait({self.task}, timeout=_SECONDS_TO_END)
        if self.task.done() and not self.task.cancelled() and (error := self.task.exception()) is not None:
            _log.info("the server did not end well", exc_info=error)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            request = asyncio.current_task()
            assert request is not None  # noqa: S101 - for the type checker
            self._requests.add(request)
            try:
                await self._answer(scope, receive, send)
            finally:
                self._requests.discard(request)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def send_on(message: Mapping[str, Any]) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._application(scope, receive, send_on)
        except Exception as error:
            if not isinstance(error, ConnectionDropped):
                _log.exception("a request could not be answered")
            # Where a response is not finished Hypercorn closes the connection of HTTP/1, but leaves a stream of HTTP/2
            # open, and its client waiting.
            if has_started and scope["http_version"] == "2":
                raise _Abort from error


@contextlib.asynccontextmanager
async def serving(application: Application, listeners: Sequence[socket.socket]) -> AsyncIterator[Server]:
    """Serve for the length of a block. The sockets are closed at its end.

    An exception of the application closes the connection; all but ConnectionDropped are logged.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_connection_failed)
    server = Server(application, listeners)
    try:
        yield server
    finally:
        await server.end()


def _connection_failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep the task of a failed connection off the terminal.

    It fails by `_Abort`, when it is cancelled at the end, and when Hypercorn trips over what still arrives on an HTTP/2
    stream that it has reset.
    """
    error = context.get("exception")
    # asyncio's words for it; Python 3.10 has none, but there only Hypercorn raises groups of exceptions.
    if any(name in context.get("message", "") for name in ("client_connected_cb", "connection_made")) or hasattr(
        error, "exceptions"
    ):
        _log.info("a connection ended badly", exc_info=error)
    else:
        loop.default_exception_handler(context)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _config(listeners: Sequence[socket.socket]) -> Config:
    config = Config()
    config.bind = [f"fd://{listener.detach()}" for listener in listeners]
    config.errorlog = _log
    config.include_server_header = False
    config.include_date_header = False
    config.keep_alive_timeout = _KEEP_ALIVE
    config.keep_alive_max_requests = 10**9
    return config
