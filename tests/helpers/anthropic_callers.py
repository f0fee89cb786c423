"""Anthropic's synchronous and asynchronous SDK behind one face."""

from __future__ import annotations

from typing import Any

import anthropic

from otel_llm.demo.scripted_server import ScriptedServer
from tests.helpers.reading import AsyncReading, Reading

TOOL: dict[str, Any] = {
    "name": "add_task",
    "description": "add a task",
    "input_schema": {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}},
}
MESSAGES = [{"role": "user", "content": "add a task"}]
REQUEST: dict[str, Any] = {"model": "tiny", "max_tokens": 100, "messages": MESSAGES, "tools": [TOOL]}


class Caller(Reading):
    """Uses `anthropic.Anthropic`; its methods are coroutines only in name."""

    stream_class: type = anthropic.Stream

    def __init__(self, server: ScriptedServer, **options: Any) -> None:
        self.client: Any = self._make(base_url=server.base_url.removesuffix("/v1"), **options)
        self.beta = False

    def _make(self, **options: Any) -> Any:
        return anthropic.Anthropic(api_key="unused", max_retries=0, timeout=10, **options)

    @property
    def messages(self) -> Any:
        return self.client.beta.messages if self.beta else self.client.messages

    async def create(self, **kwargs: Any) -> Any:
        return self.messages.create(**{**REQUEST, **kwargs})

    async def helper(self, count: int | None = None, **kwargs: Any) -> tuple[list[Any], Any]:
        """The events of `messages.stream()` and its final message, None if it was left after `count` events."""
        with self.messages.stream(**{**REQUEST, **kwargs}) as stream:
            events = await self.read(stream, count)
            return events, stream.get_final_message() if count is None else None

    async def texts(self, **kwargs: Any) -> list[str]:
        with self.messages.stream(**{**REQUEST, **kwargs}) as stream:
            return list(stream.text_stream)

    async def result(self, value: Any) -> Any:
        """What a call of the SDK gives: already there, or to be awaited."""
        return value

    async def close(self, stream: Any) -> None:
        stream.close()

    async def close_client(self) -> None:
        self.client.close()


class AsyncCaller(AsyncReading, Caller):
    """Uses `anthropic.AsyncAnthropic`."""

    stream_class = anthropic.AsyncStream

    def _make(self, **options: Any) -> Any:
        return anthropic.AsyncAnthropic(api_key="unused", max_retries=0, timeout=10, **options)

    async def create(self, **kwargs: Any) -> Any:
        return await self.messages.create(**{**REQUEST, **kwargs})

    async def helper(self, count: int | None = None, **kwargs: Any) -> tuple[list[Any], Any]:
        async with self.messages.stream(**{**REQUEST, **kwargs}) as stream:
            events = await self.read(stream, count)
            return events, await stream.get_final_message() if count is None else None

    async def texts(self, **kwargs: Any) -> list[str]:
        async with self.messages.stream(**{**REQUEST, **kwargs}) as stream:
            return [text async for text in stream.text_stream]

    async def result(self, value: Any) -> Any:
        return await value

    async def close(self, stream: Any) -> None:
        await stream.close()

    async def close_client(self) -> None:
        await self.client.close()
