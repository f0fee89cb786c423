"""The synchronous and the asynchronous SDK behind one face, so that every test of behaviour runs on both."""

from __future__ import annotations

from typing import Any

import openai

MESSAGES = [{"role": "user", "content": "add a task"}]
ADD_TASK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add_task",
        "description": "add a task",
        "parameters": {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}},
    },
}
# The same, as the Responses API has it.
RESPONSE_TOOL: dict[str, Any] = {"type": "function", **ADD_TASK["function"]}
RESPONSE_REQUEST: dict[str, Any] = {"model": "tiny", "input": "add a task", "tools": [RESPONSE_TOOL]}
REQUEST: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "tools": [ADD_TASK]}


class SyncCaller:
    """Uses `openai.OpenAI`; its methods are coroutines only in name."""

    stream_class: type = openai.Stream

    def __init__(self, base_url: str, **options: Any) -> None:
        options = {"max_retries": 0, "timeout": 10, **options}
        self.client: Any = openai.OpenAI(api_key="unused", base_url=base_url, **options)

    async def create(self, **kwargs: Any) -> Any:
        return self.client.chat.completions.create(**{**REQUEST, **kwargs})

    async def stream(self, **kwargs: Any) -> Any:
        return await self.create(stream=True, **kwargs)

    async def respond(self, **kwargs: Any) -> Any:
        """A request of the Responses API."""
        return await self.result(self.client.responses.create(**{**RESPONSE_REQUEST, **kwargs}))

    async def read(self, stream: Any, count: int | None = None) -> list[Any]:
        chunks: list[Any] = []
        for chunk in stream:
            chunks.append(chunk)
            if len(chunks) == count:
                break
        return chunks

    async def read_in_block(self, stream: Any, count: int | None = None, error: BaseException | None = None) -> Any:
        with stream as entered:
            await self.read(entered, count)
            if error is not None:
                raise error
        return entered

    async def close(self, stream: Any) -> None:
        stream.close()

    async def result(self, value: Any) -> Any:
        """What a call of the SDK gives: already there, or to be awaited."""
        return value

    async def close_client(self) -> None:
        self.client.close()


class AsyncCaller(SyncCaller):
    """Uses `openai.AsyncOpenAI`."""

    stream_class = openai.AsyncStream

    def __init__(self, base_url: str, **options: Any) -> None:
        options = {"max_retries": 0, "timeout": 10, **options}
        self.client = openai.AsyncOpenAI(api_key="unused", base_url=base_url, **options)

    async def create(self, **kwargs: Any) -> Any:
        return await self.client.chat.completions.create(**{**REQUEST, **kwargs})

    async def read(self, stream: Any, count: int | None = None) -> list[Any]:
        chunks: list[Any] = []
        async for chunk in stream:
            chunks.append(chunk)
            if len(chunks) == count:
                break
        return chunks

    async def read_in_block(self, stream: Any, count: int | None = None, error: BaseException | None = None) -> Any:
        async with stream as entered:
            await self.read(entered, count)
            if error is not None:
                raise error
        return entered

    async def close(self, stream: Any) -> None:
        await stream.close()

    async def result(self, value: Any) -> Any:
        return await value

    async def close_client(self) -> None:
        await self.client.close()
