"""Google's synchronous and asynchronous SDK behind one face."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

from google import genai
from google.genai import types
from google.genai.chats import Chats

from otel_llm.demo.scripted_server import ScriptedServer
from tests.helpers.reading import AsyncReading, Reading

DECLARATION: dict[str, Any] = {
    "name": "add_task",
    "description": "add a task",
    "parameters": {"type": "OBJECT", "required": ["title"], "properties": {"title": {"type": "STRING"}}},
}
CONFIG: dict[str, Any] = {"tools": [{"function_declarations": [DECLARATION]}]}
REQUEST: dict[str, Any] = {"model": "tiny", "contents": "add a task", "config": CONFIG}


def client_of(server: ScriptedServer, **options: Any) -> genai.Client:
    address: dict[str, Any] = {"base_url": server.base_url.removesuffix("/v1"), "timeout": 10_000}
    if "client_args" in types.HttpOptions.model_fields:
        # Reading the certificates takes most of a test's time.
        address |= {"client_args": {"verify": False}, "async_client_args": {"verify": False}}
    return genai.Client(api_key="unused", http_options=types.HttpOptions(**address), **options)


def copied(client: genai.Client) -> Any:
    """What scenarios use of a client, with resources of their own and the same connections."""
    models = copy.copy(client.models)
    # Not a copy of the client, which would close the connections when it is dropped.
    return SimpleNamespace(models=models, chats=Chats(models), aio=SimpleNamespace(models=copy.copy(client.aio.models)))


class Caller(Reading):
    """Uses `client.models`; its methods are coroutines only in name."""

    def __init__(self, server: ScriptedServer, **options: Any) -> None:
        self.client = client_of(server, **options)

    async def create(self, **kwargs: Any) -> Any:
        return self.client.models.generate_content(**{**REQUEST, **kwargs})

    async def stream(self, **kwargs: Any) -> Any:
        return self.client.models.generate_content_stream(**{**REQUEST, **kwargs})

    async def responses(self, **kwargs: Any) -> list[Any]:
        return await self.read(await self.stream(**kwargs))

    def chat(self, **kwargs: Any) -> Any:
        return self.client.chats.create(**{"model": "tiny", "config": CONFIG, **kwargs})

    async def send(self, chat: Any, message: Any) -> Any:
        return chat.send_message(message)

    async def send_stream(self, chat: Any, message: Any) -> list[Any]:
        return list(chat.send_message_stream(message))

    async def close(self, stream: Any) -> None:
        stream.close()

    async def close_client(self) -> None:
        # Not all versions of the SDK have a way to close a client.
        getattr(self.client, "close", lambda: None)()


class AsyncCaller(AsyncReading, Caller):
    """Uses `client.aio.models`."""

    async def create(self, **kwargs: Any) -> Any:
        return await self.client.aio.models.generate_content(**{**REQUEST, **kwargs})

    async def stream(self, **kwargs: Any) -> Any:
        return await self.client.aio.models.generate_content_stream(**{**REQUEST, **kwargs})

    def chat(self, **kwargs: Any) -> Any:
        return self.client.aio.chats.create(**{"model": "tiny", "config": CONFIG, **kwargs})

    async def send(self, chat: Any, message: Any) -> Any:
        return await chat.send_message(message)

    async def send_stream(self, chat: Any, message: Any) -> list[Any]:
        return [response async for response in await chat.send_message_stream(message)]

    async def close(self, stream: Any) -> None:
        await stream.aclose()

    async def close_client(self) -> None:
        if hasattr(self.client.aio, "aclose"):
            await self.client.aio.aclose()
        await super().close_client()
