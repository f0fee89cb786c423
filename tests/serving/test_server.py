"""Serving an ASGI application: what HTTP/1.1 and HTTP/2 clients see of its faults, and of the end of the server."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from otel_llm.serving.asgi import ConnectionDropped, Receive, Scope, Send
from otel_llm.serving.server import Server, serving
from otel_llm.serving.sockets import address_of, listen

FAULTS = {"/dropped": ConnectionDropped(), "/broken": RuntimeError("a fault of the application")}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with a piece of a body; then the path says how it ends."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"piece", "more_body": True})
    if scope["path"] in FAULTS:
        raise FAULTS[scope["path"]]
    if scope["path"] == "/endless":
        await asyncio.Event().wait()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@asynccontextmanager
async def served(version: int) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    listener = listen("127.0.0.1", 0)
    url = address_of(listener)
    async with (
        httpx.AsyncClient(base_url=url, http1=version == 1, http2=version == 2, timeout=60, trust_env=False) as client,
        serving(application, [listener]) as server,
    ):
        yield server, client


@pytest.mark.parametrize("version", [1, 2])
async def test_a_response(version: int) -> None:
    async with served(version) as (_, client):
        response = await client.get("/")
    assert response.text == "piece"
    assert set(response.headers) <= {"content-type", "transfer-encoding"}, "nothing is added"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("path", FAULTS)
async def test_an_unfinished_response_breaks_the_connection(
    version: int, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with served(version) as (_, client):
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(path)
            assert (await client.get("/")).text == "piece", "the next connection is a new one"
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert logged == ([FAULTS[path]] if path == "/broken" else [])


@pytest.mark.parametrize("version", [1, 2])
async def test_it_ends_during_an_endless_response(version: int) -> None:
    async with served(version) as (server, client):
        async with client.stream("GET", "/endless") as response:
            pieces = response.aiter_raw()
            assert await anext(pieces) == b"piece"
            await server.end()
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(pieces)
        assert server.task.done()
        with pytest.raises(httpx.TransportError):
            await client.get("/")


async def test_half_a_request_does_not_delay_the_end() -> None:
    listener = listen("127.0.0.1", 0)
    with socket.create_connection(listener.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        async with serving(application, [listener]) as server:
            await server.idle()
        assert server.task.done()
        client.settimeout(30)
        assert client.recv(100) == b""
