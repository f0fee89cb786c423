"""The server of `otel-llm view`: one application on three ports, for the page, OTLP/HTTP and OTLP/gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from otel_llm.serving.asgi import Receive, Scope, Send
from otel_llm.serving.server import Server
from otel_llm.serving.server import serving as serving_application
from otel_llm.view import receiver
from otel_llm.view.api import Api, Live
from otel_llm.view.database import StoreError
from otel_llm.view.http import ClientGoneError, RefusedError, Request, Room
from otel_llm.view.intake import Intake
from otel_llm.view.receiver import Receiver
from otel_llm.view.safety import COOKIE, is_token, refusal
from otel_llm.view.store import Store

_log = logging.getLogger("otel_llm.view")
_SECONDS_TO_END = 2.0


class Addresses(NamedTuple):
    """The URLs of the ports, without a path."""

    page: str
    otlp_http: str
    otlp_grpc: str


class Application:
    """The ASGI application. `token`: what clients must send, None if the Host must belong to the loopback interface."""

    def __init__(self, api: Api, otlp: Receiver, token: str | None) -> None:
        self._api = api
        self._otlp = otlp
        self._token = token
        self.is_ending = False
        """Whether every further request is refused with a status that tells exporters to try again."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Request(scope, receive, send))

    async def _answer(self, request: Request) -> None:
        try:
            if self.is_ending:
                raise RefusedError(503, "The server is shutting down.")
            refused = refusal(request.headers, request.query.get("token"), self._token)
            if refused is not None:
                raise RefusedError(*refused)
            if receiver.is_otlp(request):
                await self._otlp.answer(request)
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
        except Exception:  # noqa: BLE001 - the next request is answered
            _log.exception("a request could not be answered")
            await _refuse(request, RefusedError(500, "Internal error; see the log."))


async def _refuse(request: Request, error: RefusedError) -> None:
    if request.has_answered:
        return
    if receiver.is_otlp(request):
        await receiver.refuse(request, error)
        return
    headers = [(b"www-authenticate", b"Bearer")] if error.status == 401 else []
    await request.answer_json({"error": error.sentence}, error.status, headers)


async def _keep_token(request: Request, token: str) -> None:
    """Store the token as a cookie, and remove it from the address."""
    cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict".encode()
    where = quote(request.path).encode() if not request.path.startswith("//") else b"/"
    await request.answer(303, b"", "text/plain", [(b"set-cookie", cookie), (b"location", where)])


class Running(NamedTuple):
    """A view that is served. `intake` takes what does not come over the network."""

    intake: Intake
    server: Server


@contextlib.asynccontextmanager
async def serving(
    path: Path, listeners: list[socket.socket], *, token: str | None = None, most_bytes: int, most_seconds: float
) -> AsyncIterator[Running]:
    """Serve the store at `path` on listening sockets for the length of a block.

    Raises StoreError if the store cannot be used.
    """
    live, room = Live(), Room()
    store = Store(path, most_bytes=most_bytes, most_seconds=most_seconds)
    try:
        store.keep_bounds()
    except sqlite3.Error as broken:
        raise StoreError(f"{path}: {broken}") from None
    intake = Intake(store, lambda summaries: live.tell("request", summaries))
    api = Api(Store(path), intake, live, room)
    application = Application(api, Receiver(intake, room), token)
    try:
        async with serving_application(application, listeners) as server:
            try:
                yield Running(intake, server)
            finally:
                live.end()
                # What a broken connection held would be lost: everything that has arrived is answered first.
                application.is_ending = True
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(server.idle(), _SECONDS_TO_END)
    finally:
        intake.close()
        api.close()
