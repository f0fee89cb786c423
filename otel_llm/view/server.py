"""The server of `otel-llm view`: one application on three ports, for the page, OTLP/HTTP and OTLP/gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sqlite3
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from hypercorn.asyncio import serve
from hypercorn.config import Config

from otel_llm.view import otlp
from otel_llm.view.api import Api, Live
from otel_llm.view.http import ClientGoneError, Receive, RefusedError, Request, Room, Send
from otel_llm.view.intake import Intake
from otel_llm.view.otlp import Otlp
from otel_llm.view.safety import COOKIE, is_token, refusal
from otel_llm.view.store import Store, StoreError

_log = logging.getLogger("otel_llm.view")
_SECONDS_TO_END = 2.0
_SECONDS_BETWEEN_LOOKS = 0.01
_FOR_GOOD = 24 * 3600  # seconds: an exporter's connection that is closed while it sends costs it a batch


class Addresses(NamedTuple):
    """Where it listens: URLs without a path."""

    page: str
    otlp_http: str
    otlp_grpc: str


class Application:
    """The ASGI application. `token`: what must be shown, None where the Host must be of the loopback."""

    def __init__(self, api: Api, receiver: Otlp, token: str | None) -> None:
        self._api = api
        self._receiver = receiver
        self._token = token
        self._busy = 0
        self._is_ending = False

    async def end(self) -> None:
        """Answer what has come, and tell all else to come again; what a broken connection held would be lost."""
        self._is_ending = True
        while self._busy:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            self._busy += 1
            try:
                await self._answer(Request(scope, receive, send))
            finally:
                self._busy -= 1

    async def _answer(self, request: Request) -> None:
        try:
            if self._is_ending:
                raise RefusedError(503, "This server is about to end.")
            refused = refusal(request.headers, request.query.get("token"), self._token)
            if refused is not None:
                raise RefusedError(*refused)
            if otlp.is_otlp(request):
                await self._receiver.answer(request)
            elif self._token is not None and is_token(request.query.get("token"), self._token):
                await _keep_token(request, self._token)
            else:
                await self._api.answer(request)
        except ClientGoneError:
            pass
        except RefusedError as error:
            with contextlib.suppress(ClientGoneError):
                await request.discard()
                await _refuse(request, error)
        except Exception:  # noqa: BLE001 - one request's fault is not the next one's
            _log.exception("a request could not be answered")
            await _refuse(request, RefusedError(500, "Something is wrong here; the log says what."))


async def _refuse(request: Request, error: RefusedError) -> None:
    if request.has_answered:
        return
    if otlp.is_otlp(request):
        await otlp.refuse(request, error)
        return
    headers = [(b"www-authenticate", b"Bearer")] if error.status == 401 else []
    await request.answer_json({"error": error.sentence}, error.status, headers)


async def _keep_token(request: Request, token: str) -> None:
    """Give the token to the browser to keep, and take it out of the address."""
    cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict".encode()
    where = quote(request.path).encode() if not request.path.startswith("//") else b"/"
    await request.answer(303, b"", "text/plain", [(b"set-cookie", cookie), (b"location", where)])


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def listen(host: str, port: int, *, or_any: bool) -> socket.socket:
    """A socket that is bound to `port`, or to a free one where it is taken and `or_any` says so. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            bound.bind((host, port))
            # Two may bind to a port on which nobody listens yet.
            bound.listen()
        except OSError:
            if not or_any:
                raise
            bound.close()
            return listen(host, 0, or_any=False)
    except BaseException:
        bound.close()
        raise
    return bound


def address_of(bound: socket.socket) -> str:
    """The URL of what listens there, on this machine where it listens on all addresses."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Running(NamedTuple):
    """A server that serves. `intake` takes what does not come by the network; `task` ends only when it fails."""

    intake: Intake
    task: asyncio.Task[None]


@contextlib.asynccontextmanager
async def serving(
    path: Path, sockets: list[socket.socket], *, token: str | None = None, most_bytes: int, most_seconds: float
) -> AsyncIterator[Running]:
    """Serve what is in the store at `path` on sockets that listen, for the length of a block.

    Raises StoreError where the store cannot be used.
    """
    live, room = Live(), Room()
    store = Store(path, most_bytes=most_bytes, most_seconds=most_seconds)
    try:
        store.keep_bounds()
    except sqlite3.Error as broken:
        raise StoreError(f"{path}: {broken}") from None
    intake = Intake(store, lambda told: live.tell("request", told))
    api = Api(Store(path), intake, live, room)
    asyncio.get_running_loop().set_exception_handler(_connection_failed)
    ending = asyncio.Event()
    application = Application(api, Otlp(intake, room), token)
    task = asyncio.ensure_future(serve(application, _config(sockets), shutdown_trigger=ending.wait))  # type: ignore[arg-type]
    try:
        yield Running(intake, task)
    finally:
        live.end()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(application.end(), _SECONDS_TO_END)
        ending.set()
        await asyncio.wait({task}, timeout=_SECONDS_TO_END)
        if not task.done():
            # A client that neither sends nor goes.
            task.cancel()
            await asyncio.wait({task}, timeout=_SECONDS_TO_END)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            _log.info("the server did not end well", exc_info=error)
        intake.close()
        api.close()


def _connection_failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Hypercorn trips over what still arrives on a stream of HTTP/2 that it has reset, as it does at the end.
    if "client_connected_cb" in context.get("message", ""):
        _log.info("a connection ended badly", exc_info=context.get("exception"))
    else:
        loop.default_exception_handler(context)


def _config(sockets: list[socket.socket]) -> Config:
    config = Config()
    config.bind = [f"fd://{one.detach()}" for one in sockets]
    config.errorlog = logging.getLogger("otel_llm.view.http")
    config.include_server_header = False
    config.keep_alive_timeout = _FOR_GOOD
    config.keep_alive_max_requests = 10**9
    return config
