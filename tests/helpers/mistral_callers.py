"""Mistral's synchronous and asynchronous SDK behind one face."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from otel_llm.demo.scripted_server import ScriptedServer
from tests.helpers.chat_request import REQUEST
from tests.helpers.reading import AsyncReading, Reading

if find_spec("mistralai.sdk") is None:
    from mistralai.client import Mistral
else:
    # Before 2.0.
    from mistralai import Mistral  # type: ignore[attr-defined, no-redef]
# The library that the SDK sends its requests with: httpx or httpx2.
_httpx = import_module(Mistral.__module__.rpartition(".")[0] + ".basesdk").httpx

__all__ = ["AsyncCaller", "Caller", "Mistral", "client_at"]


def _client_of(server: ScriptedServer) -> Any:
    """It checks no certificates, since loading these takes most of a test's time."""
    options = {"verify": False, "trust_env": False, "timeout": 20}
    return Mistral(
        api_key="unused",
        server_url=server.base_url.removesuffix("/v1"),
        client=_httpx.Client(**options),
        async_client=_httpx.AsyncClient(**options),
    )


@contextmanager
def client_at(server: ScriptedServer) -> Iterator[Any]:
    """A client, for synchronous calls."""
    client = _client_of(server)
    yield client
    client.sdk_configuration.client.close()


class Caller(Reading):
    """Uses the methods of `client.chat` that are not asynchronous."""

    def __init__(self, server: ScriptedServer) -> None:
        self.client = _client_of(server)

    async def complete(self, **kwargs: Any) -> Any:
        return self.client.chat.complete(**{**REQUEST, **kwargs})

    async def stream(self, **kwargs: Any) -> Any:
        return self.client.chat.stream(**{**REQUEST, **kwargs})

    async def parse(self, kind: Any, **kwargs: Any) -> Any:
        return self.client.chat.parse(kind, **{**REQUEST, **kwargs})

    async def parse_stream(self, kind: Any, **kwargs: Any) -> Any:
        return self.client.chat.parse_stream(kind, **{**REQUEST, **kwargs})

    async def read_in_block(self, stream: Any, count: int | None = None) -> list[Any]:
        with stream as entered:
            return await self.read(entered, count)

    async def close(self) -> None:
        self.client.sdk_configuration.client.close()


class AsyncCaller(AsyncReading, Caller):
    """Uses the asynchronous ones."""

    async def complete(self, **kwargs: Any) -> Any:
        return await self.client.chat.complete_async(**{**REQUEST, **kwargs})

    async def stream(self, **kwargs: Any) -> Any:
        return await self.client.chat.stream_async(**{**REQUEST, **kwargs})

    async def parse(self, kind: Any, **kwargs: Any) -> Any:
        return await self.client.chat.parse_async(kind, **{**REQUEST, **kwargs})

    async def parse_stream(self, kind: Any, **kwargs: Any) -> Any:
        return await self.client.chat.parse_stream_async(kind, **{**REQUEST, **kwargs})

    async def read_in_block(self, stream: Any, count: int | None = None) -> list[Any]:
        async with stream as entered:
            return await self.read(entered, count)

    async def close(self) -> None:
        await self.client.sdk_configuration.async_client.aclose()
