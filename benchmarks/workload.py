"""The measured work: responses of prebuilt chunks, streamed by the real OpenAI SDK without HTTP.

The SDK's client, resources and stream classes are real. Only sending the request and parsing the body are replaced, so
what remains is the cost of the SDK and of its instrumentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import cycle, islice
from time import perf_counter_ns
from typing import Any, Literal

import openai
from openai.types.chat import ChatCompletionChunk

try:
    import httpx2 as httpx
except ModuleNotFoundError:  # SDKs before httpx2
    import httpx  # type: ignore[no-redef, import-not-found, unused-ignore]

Kind = Literal["text", "tool"]
Mode = Literal["sync", "async"]
KINDS: tuple[Kind, ...] = ("text", "tool")
MODES: tuple[Mode, ...] = ("sync", "async")

MODEL = "stub-model"
REQUEST: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Add a task for each item of the list."}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "add_task",
                "description": "Add a task",
                "parameters": {
                    "type": "object",
                    "properties": {"title": {"type": "string"}},
                    "required": ["title"],
                },
            },
        }
    ],
}
# Distinct deltas; a longer response repeats them. The processor's caches hold them, as they hold a real chunk that has
# just been parsed.
_DISTINCT = 100
_USAGE = {"prompt_tokens": 50, "completion_tokens": 1000, "total_tokens": 1050}


def chunk(
    delta: dict[str, Any] | None = None, finish_reason: str | None = None, usage: dict[str, int] | None = None
) -> ChatCompletionChunk:
    """A validated chunk. Without a delta it has no choice, like the last chunk of a stream that reports usage."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    return ChatCompletionChunk.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": MODEL,
            "system_fingerprint": "fp_1",
            "choices": [] if delta is None else [choice],
            "usage": usage,
        }
    )


def delta_chunk(kind: Kind, text: str) -> ChatCompletionChunk:
    """A delta of text, or of the arguments of a call."""
    if kind == "text":
        return chunk({"content": text})
    return chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})


def beginning(kind: Kind) -> list[ChatCompletionChunk]:
    if kind == "text":
        # Not empty: an answer without text is an anomaly, which costs an event.
        return [chunk({"role": "assistant", "content": "Hello"})]
    call = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "add_task", "arguments": ""},
    }
    return [chunk({"role": "assistant", "tool_calls": [call]}), delta_chunk(kind, '{"title":"')]


def ending(kind: Kind) -> list[ChatCompletionChunk]:
    usage = chunk(usage=_USAGE)
    if kind == "text":
        return [chunk({}, "stop"), usage]
    return [delta_chunk(kind, '"}'), chunk({}, "tool_calls"), usage]


class Responses:
    """Prebuilt responses: the chunks that every response has, with any number of deltas between them."""

    def __init__(self) -> None:
        self._deltas = {kind: [delta_chunk(kind, f"word{number} ") for number in range(_DISTINCT)] for kind in KINDS}
        self._frames = {kind: (beginning(kind), ending(kind)) for kind in KINDS}

    def response(self, kind: Kind, deltas: int) -> list[ChatCompletionChunk]:
        first, last = self._frames[kind]
        return [*first, *islice(cycle(self._deltas[kind]), deltas), *last]

    def frame_length(self, kind: Kind) -> int:
        """How many chunks a response without deltas has."""
        return sum(map(len, self._frames[kind]))


class _OpenBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a response that is still open, as while a stream is read."""

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for part in nothing:
            yield part


def _http_response() -> Any:
    return httpx.Response(200, request=httpx.Request("POST", "http://127.0.0.1/v1"), stream=_OpenBody())


class StubStream(openai.Stream[Any]):
    """The SDK's stream, with chunks from `chunks` instead of a body."""

    def __init__(self, client: openai.OpenAI, chunks: Iterable[Any]) -> None:
        self._chunks = chunks
        super().__init__(cast_to=ChatCompletionChunk, response=_http_response(), client=client)

    def __stream__(self) -> Iterator[Any]:
        try:
            yield from self._chunks
        finally:
            self.response.close()


class AsyncStubStream(openai.AsyncStream[Any]):
    """The SDK's asynchronous stream, with chunks from `chunks` instead of a body."""

    def __init__(self, client: openai.AsyncOpenAI, chunks: Iterable[Any]) -> None:
        self._chunks = chunks
        super().__init__(cast_to=ChatCompletionChunk, response=_http_response(), client=client)

    async def __stream__(self) -> AsyncIterator[Any]:
        try:
            for one in self._chunks:
                yield one
        finally:
            await self.response.aclose()


class StubClients:
    """The SDK's two clients. Their chat completions respond with the given chunks."""

    def __init__(self) -> None:
        self._chunks: Iterable[Any] = ()
        options: dict[str, Any] = {"api_key": "none", "base_url": "http://127.0.0.1:8000/v1", "max_retries": 0}
        self.sync = openai.OpenAI(**options)
        self.asynchronous = openai.AsyncOpenAI(**options)

        def post(*_args: Any, **_kwargs: Any) -> StubStream:
            return StubStream(self.sync, self._chunks)

        async def post_async(*_args: Any, **_kwargs: Any) -> AsyncStubStream:
            return AsyncStubStream(self.asynchronous, self._chunks)

        # Resources take this method from the client when they are created.
        self.sync.post = post  # type: ignore[method-assign, assignment]
        self.asynchronous.post = post_async  # type: ignore[method-assign, assignment]

    def open(self, chunks: Iterable[Any]) -> Any:
        self._chunks = chunks
        return self.sync.chat.completions.create(**REQUEST)

    async def open_async(self, chunks: Iterable[Any]) -> Any:
        self._chunks = chunks
        return await self.asynchronous.chat.completions.create(**REQUEST)

    def time_request(self, mode: Mode, chunks: Iterable[Any], loop: asyncio.AbstractEventLoop) -> int:
        """Make a request and read the whole response. Returns nanoseconds."""
        return loop.run_until_complete(self._time_async(chunks)) if mode == "async" else self._time(chunks)

    def _time(self, chunks: Iterable[Any]) -> int:
        began = perf_counter_ns()
        for _ in self.open(chunks):
            pass
        return perf_counter_ns() - began

    async def _time_async(self, chunks: Iterable[Any]) -> int:
        began = perf_counter_ns()
        async for _ in await self.open_async(chunks):
            pass
        return perf_counter_ns() - began
