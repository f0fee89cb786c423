"""Sends a request to a server, streamed or not, and diagnoses the response. It needs httpx."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, NamedTuple

import httpx

from otel_llm.exchanges.bodies import BodyReader
from otel_llm.exchanges.entries import Entry
from otel_llm.exchanges.verdicts import Verdict, judge
from otel_llm.protocol import json_values
from otel_llm.protocol.choice import Choice
from otel_llm.protocol.errors import UnreadableError, message_in_body
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.unicode_text import one_line


class Call(NamedTuple):
    """A tool call of a response: its arguments as they arrived, and in canonical form."""

    name: str
    arguments: str
    meaning: str


@dataclass(frozen=True)
class ChoiceSummary:
    """What is compared of a choice."""

    index: int
    calls: tuple[Call, ...]
    has_text: bool
    finish_reason: str | None

    def __str__(self) -> str:
        what = [f"{call.name}({call.arguments[:60]})" for call in self.calls] or [
            "text" if self.has_text else "nothing"
        ]
        return f"{', '.join(what)}, then {self.finish_reason}"


@dataclass(frozen=True)
class Answer:
    """A response. `error`: why there is nothing to judge. `status`: the HTTP status, 0 if there was no response."""

    streamed: bool
    status: int
    error: str = ""
    verdict: Verdict | None = None
    recording: Recording | None = None

    @property
    def refused(self) -> bool:
        """Whether the server rejects the request."""
        return 400 <= self.status < 500

    @property
    def busy(self) -> bool:
        """Whether the server asks to retry later."""
        return self.status in {408, 425, 429}

    @property
    def way(self) -> str:
        return "streamed" if self.streamed else "not streamed"

    def choices(self) -> list[ChoiceSummary]:
        recording = self.recording
        if recording is None:
            return []
        summaries = [
            ChoiceSummary(choice.index, tuple(_calls(choice)), choice.has_text, choice.finish_reason)
            for choice in recording.choices
        ]
        return sorted(summaries, key=lambda choice: choice.index)

    @property
    def calls(self) -> list[Call]:
        return [call for choice in self.choices() for call in choice.calls]


def _calls(choice: Choice) -> Iterator[Call]:
    for call in choice.calls:
        reading = json_values.read(call.arguments)
        whole = reading.shape in {json_values.Shape.OBJECT, json_values.Shape.OTHER}
        empty = reading.shape is json_values.Shape.NOTHING
        meaning = json_values.canonical(reading.value) if whole else "{}" if empty else call.arguments
        yield Call(call.name or "", call.arguments, meaning)


class Server:
    """A client for one server. `extra`: fields that are added to every request."""

    def __init__(
        self, base_url: str, model: str, *, api_key: str, extra: Mapping[str, Any], timeout: float, stall_seconds: float
    ) -> None:
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._defaults = {"model": model, "temperature": 0, "seed": 7, "max_tokens": 512}
        self._extra = extra
        self._stall_seconds = stall_seconds
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        # A connection for each request: servers may close one after a response that failed.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=timeout, headers=headers, limits=limits)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ask(self, request: Mapping[str, Any], *, stream: bool, chunks: int | None = None) -> Answer:
        """Send a request. `chunks`: disconnect after so many reads of the body."""
        body = {**self._defaults, **request, **self._extra, "stream": stream}
        if not stream:
            body.pop("stream_options", None)
        began = perf_counter_ns()
        entries: list[Entry] = []
        reader = BodyReader("answer", body)
        status = 0
        try:
            async with self._client.stream("POST", self._url, json=body) as response:
                status = response.status_code
                if status != httpx.codes.OK:
                    return Answer(stream, status, one_line(message_in_body(await response.aread())))
                count = 0
                stopped = False
                async for data in response.aiter_bytes():
                    entries.extend(reader.feed(data, perf_counter_ns() - began))
                    count += 1
                    if chunks is not None and count >= chunks:
                        stopped = True
                        break
            entries.extend(reader.finish("closed" if stopped else "completed", time_ns=perf_counter_ns() - began))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Answer(stream, status, one_line(f"{type(error).__name__} {error}".strip()))
        except UnreadableError as error:
            return Answer(stream, status, f"the response cannot be read: {error}")
        verdict = next(judge(entries, stall_seconds=self._stall_seconds), None)
        if verdict is None or verdict.recording is None:
            return Answer(stream, status, "the body contains no response")
        if verdict.outcome == "error":
            return Answer(stream, status, one_line(verdict.note), verdict, verdict.recording)
        if stream and not verdict.recording.streamed:
            return Answer(
                stream, status, "a stream was requested, but a whole response arrived", verdict, verdict.recording
            )
        return Answer(stream, status, "", verdict, verdict.recording)
