"""Ollama's synchronous and asynchronous client behind one face."""

from __future__ import annotations

from typing import Any

import ollama

from otel_llm.demo.scripted_server import ScriptedServer
from tests.helpers.chat_request import REQUEST
from tests.helpers.reading import AsyncReading, Reading

# Loading certificates takes most of a test's time.
_OPTIONS: dict[str, Any] = {"verify": False, "trust_env": False, "timeout": 20}


def client_at(server: ScriptedServer) -> ollama.Client:
    return ollama.Client(host=server.base_url.removesuffix("/v1"), **_OPTIONS)


class Caller(Reading):
    """Uses `ollama.Client`."""

    def __init__(self, server: ScriptedServer) -> None:
        self.client: Any = self._make(server.base_url.removesuffix("/v1"))

    def _make(self, host: str) -> Any:
        return ollama.Client(host=host, **_OPTIONS)

    async def chat(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.chat(*args, **{**REQUEST, **kwargs} if not args else kwargs)

    async def close_stream(self, stream: Any) -> None:
        stream.close()

    async def close(self) -> None:
        self.client._client.close()


class AsyncCaller(AsyncReading, Caller):
    """Uses `ollama.AsyncClient`."""

    def _make(self, host: str) -> Any:
        return ollama.AsyncClient(host=host, **_OPTIONS)

    async def chat(self, *args: Any, **kwargs: Any) -> Any:
        return await self.client.chat(*args, **{**REQUEST, **kwargs} if not args else kwargs)

    async def close_stream(self, stream: Any) -> None:
        await stream.aclose()

    async def close(self) -> None:
        await self.client._client.aclose()
