"""Hugging Face's synchronous and asynchronous client behind one face."""

from __future__ import annotations

from typing import Any

from huggingface_hub import AsyncInferenceClient, InferenceClient

from otel_llm.demo.scripted_server import ScriptedServer
from tests.helpers.chat_request import REQUEST
from tests.helpers.reading import AsyncReading, Reading


class Caller(Reading):
    """Uses `InferenceClient`. `by_alias`: by its OpenAI-like name."""

    def __init__(self, server: ScriptedServer, **options: Any) -> None:
        self.by_alias = False
        self.client: Any = self._make(base_url=server.base_url.removesuffix("/v1"), token="unused", **options)

    def _make(self, **options: Any) -> Any:
        return InferenceClient(**options)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        method = self.client.chat.completions.create if self.by_alias else self.client.chat_completion
        return method(*args, **{**REQUEST, **kwargs} if not args else kwargs)

    async def chat(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    async def close_stream(self, stream: Any) -> None:
        stream.close()

    async def close(self) -> None:
        """Its client has no connections of its own."""


class AsyncCaller(AsyncReading, Caller):
    """Uses `AsyncInferenceClient`."""

    def _make(self, **options: Any) -> Any:
        return AsyncInferenceClient(**options)

    async def chat(self, *args: Any, **kwargs: Any) -> Any:
        return await self._call(*args, **kwargs)

    async def close_stream(self, stream: Any) -> None:
        await stream.aclose()

    async def close(self) -> None:
        close = getattr(self.client, "close", None)
        if close is not None:
            await close()
