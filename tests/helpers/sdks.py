"""The SDKs that are instrumented, synchronous and asynchronous, behind one interface."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from otel_llm import CerebrasInstrumentor, GroqInstrumentor, OpenAIInstrumentor
from otel_llm.demo.scripted_server import ScriptedServer

_PACKAGES = {"openai": "openai", "groq": "groq", "cerebras": "cerebras.cloud.sdk"}
_CLIENTS = {"openai": "OpenAI", "groq": "Groq", "cerebras": "Cerebras"}
_INSTRUMENTORS: dict[str, Any] = {
    "openai": OpenAIInstrumentor,
    "groq": GroqInstrumentor,
    "cerebras": CerebrasInstrumentor,
}


class SDK:
    """One SDK by its short name. Skips the test where its package is not installed."""

    def __init__(self, name: str, *, asynchronous: bool) -> None:
        self.asynchronous = asynchronous
        try:
            self.package: Any = import_module(_PACKAGES[name])
        except ModuleNotFoundError as missing:
            pytest.skip(f"the package of {name}'s SDK is not installed: {missing}")
        self._prefix = "Async" if asynchronous else ""
        self.client_class = getattr(self.package, self._prefix + _CLIENTS[name])
        self.stream_class = getattr(self.package, self._prefix + "Stream")
        self.instrumentor = _INSTRUMENTORS[name]()
        self.provider = name
        self._clients: list[Any] = []

    def __repr__(self) -> str:
        return f"{self.package.__name__} {self.package.__version__}"

    def client(self, server: ScriptedServer, **options: Any) -> Any:
        client = self.client_class(api_key="unused", base_url=server.base_url, max_retries=0, **options)
        self._clients.append(client)
        return client

    def http_client(self, **options: Any) -> Any:
        """An HTTP client of the library that this SDK uses, httpx or httpx2."""
        name = "DefaultAsyncHttpxClient" if self.asynchronous else "DefaultHttpxClient"
        return getattr(self.package, name)(**options)

    async def close(self) -> None:
        for client in self._clients:
            await self.result(client.close())
        if self.instrumentor.is_instrumented_by_opentelemetry:
            self.instrumentor.uninstrument()

    async def result(self, value: Any) -> Any:
        return await value if self.asynchronous else value

    async def read(self, stream: Any) -> list[Any]:
        return [part async for part in stream] if self.asynchronous else list(stream)
