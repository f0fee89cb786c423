"""Sends a request to a server, streamed or not, and diagnoses the response. It needs httpx."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter_ns, time
from typing import Any, NamedTuple

import httpx

from otel_llm.exchanges.bodies import BodyReader
from otel_llm.exchanges.entries import Chunk, Entry
from otel_llm.exchanges.redaction import Redactor, secrets_in_request
from otel_llm.exchanges.server_url import shown_url
from otel_llm.exchanges.verdicts import Verdict, judge
from otel_llm.probe.apis import CHAT, ProbedApi
from otel_llm.probe.patience import is_busy, named_wait, says_busy, wait_before
from otel_llm.protocol import json_values
from otel_llm.protocol.choice import Choice
from otel_llm.protocol.errors import UnreadableError, error_in, message_in_body
from otel_llm.protocol.fields import field, items_of, text_of
from otel_llm.protocol.json_values import parse_json
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.unicode_text import one_line

_END = 65_536  # bytes
_utf8 = codecs.getincrementaldecoder("utf-8")


class Call(NamedTuple):
    """A tool call of a response: its arguments as they arrived, and in canonical form."""

    name: str
    arguments: str
    meaning: str
    id: str = ""


@dataclass(frozen=True)
class ChoiceSummary:
    """What is compared of a choice. White space is no text: a stream may have sent it before it knows of a call."""

    index: int
    calls: tuple[Call, ...]
    has_text: bool
    finish_reason: str | None
    has_thoughts: bool = False

    def __str__(self) -> str:
        what = ["thoughts"] * self.has_thoughts + ["text"] * self.has_text
        what += [f"{call.name}({call.arguments[:60]})" for call in self.calls]
        if not self.has_text and not self.calls:
            what.append("nothing")
        return f"{', '.join(what)}, then {self.finish_reason}"


@dataclass(frozen=True)
class Answer:
    """A response. `error`: why there is nothing to judge. `status`: the HTTP status, 0 if there was no response."""

    streamed: bool
    status: int
    error: str = ""
    verdict: Verdict | None = None
    recording: Recording | None = None
    busy: bool = False
    """Whether the server, or a gateway before it, had no time for the request."""
    repeats_names: bool = False
    """Whether a call of a stream has its name in several deltas."""
    is_utf8: bool = True
    asks_for_usage: bool = False
    """Whether the request has a field that asks for the usage of a stream."""

    @property
    def refused(self) -> bool:
        """Whether the server rejects the request."""
        return 400 <= self.status < 500

    @property
    def way(self) -> str:
        return "streamed" if self.streamed else "not streamed"

    def choices(self) -> list[ChoiceSummary]:
        recording = self.recording
        if recording is None:
            return []
        summaries = [
            ChoiceSummary(
                choice.index,
                tuple(_calls(choice)),
                any(part.strip() for part in choice.text.parts),
                choice.finish_reason,
                bool(choice.reasoning.parts),
            )
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
        yield Call(call.name or "", call.arguments, meaning, call.id or "")


class Server:
    """A client for one API of a server. `extra`: fields that are added to every request, or left out if they are None.

    `token`: is sent where an API key is none. `waits`: is called with the seconds before a request is sent again.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str,
        token: str = "",
        api: ProbedApi = CHAT,
        extra: Mapping[str, Any],
        timeout: float,
        stall_seconds: float,
        waits: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.api = api
        self._url = api.url(base_url)
        self._defaults = {"model": model, "temperature": 0, "seed": 7, "max_tokens": 512}
        self._extra = extra
        self._stall_seconds = stall_seconds
        self._waits = waits
        self._waited = 0.0
        headers = api.headers(api_key, token)
        # Some servers repeat the key in their errors.
        self._hide = Redactor(secrets_in_request(headers.items(), "", extra, base_url)).hide
        # A connection for each request: servers may close one after a response that failed.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=timeout, headers=headers, limits=limits)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ask(self, request: Mapping[str, Any], *, stream: bool, chunks: int | None = None) -> Answer:
        """Send a request, again if the server is busy. `request`: fields of a chat completion, whatever the API is.

        `chunks`: disconnect after so many reads of the body.
        """
        body = self.api.body({**self._defaults, **request, "stream": stream})
        body = {name: value for name, value in {**body, **self._extra}.items() if value is not None}
        body["stream"] = stream
        if not stream:
            body.pop("stream_options", None)
        attempt = 1
        while True:
            answer, headers = await self._ask_once(body, stream, chunks)
            if not answer.busy:
                return replace(answer, asks_for_usage="stream_options" in body)
            attempt += 1
            named = named_wait(headers, time())
            seconds = wait_before(attempt, named, self._waited)
            if seconds is None:
                later = f" (it asks to wait for {named:.0f} s)" if named is not None and attempt == 2 else ""
                return replace(answer, error=answer.error + later)
            self._waited += seconds
            self._waits(seconds)
            await asyncio.sleep(seconds)

    async def _ask_once(
        self, body: Mapping[str, Any], stream: bool, chunks: int | None
    ) -> tuple[Answer, Mapping[str, str]]:
        """An answer, and the headers that it came with."""
        began = perf_counter_ns()
        entries: list[Entry] = []
        end = b""
        is_utf8 = True
        status = 0
        headers: Mapping[str, str] = {}
        reader: BodyReader | None = None
        try:
            async with self._client.stream("POST", self._url, json=body) as response:
                status, headers = response.status_code, response.headers
                if status != httpx.codes.OK:
                    error = self._told(message_in_body(await response.aread())) or _without_words(headers)
                    return Answer(stream, status, error, busy=is_busy(status, headers)), headers
                reader = BodyReader("answer", body, content_type=headers.get("content-type", ""))
                count = 0
                stopped = False
                text = _utf8()
                async for data in response.aiter_bytes():
                    entries.extend(reader.feed(data, perf_counter_ns() - began))
                    is_utf8 = is_utf8 and _decodes(text, data)
                    end = (end + data)[-_END:]
                    count += 1
                    if chunks is not None and count >= chunks:
                        stopped = True
                        break
            entries.extend(reader.finish("closed" if stopped else "completed", time_ns=perf_counter_ns() - began))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            told = self._told(f"{type(error).__name__} {error}".strip())
        except UnreadableError as error:
            told = f"the response cannot be read: {error}"
        else:
            return replace(self._judged(stream, status, entries, end), is_utf8=is_utf8), headers
        if reader is None:
            return Answer(stream, status, told), headers
        # What came before is judged, as it is in a recording.
        with suppress(UnreadableError):
            entries.extend(reader.finish("error", told, perf_counter_ns() - began))
        return replace(self._judged(stream, status, entries, end), error=told, is_utf8=is_utf8), headers

    def _judged(self, stream: bool, status: int, entries: list[Entry], end: bytes) -> Answer:
        verdict = next(judge(entries, stall_seconds=self._stall_seconds), None)
        if verdict is None or verdict.recording is None:
            return Answer(stream, status, "the body contains no response")
        if verdict.outcome == "error":
            busy = any(map(says_busy, _errors_in(end)))
            return Answer(stream, status, self._told(verdict.note), verdict, verdict.recording, busy)
        if stream and not verdict.recording.streamed:
            return Answer(
                stream, status, "a stream was requested, but a whole response arrived", verdict, verdict.recording
            )
        return Answer(stream, status, "", verdict, verdict.recording, repeats_names=_repeats_names(entries))

    def _told(self, message: str) -> str:
        return one_line(self._hide(message))


def _without_words(headers: Mapping[str, str]) -> str:
    """What is told of a response whose body tells nothing."""
    place = headers.get("location", "")
    return f"the server redirects to {shown_url(place)}" if place else "the body is empty"


def _decodes(text: codecs.IncrementalDecoder, data: bytes) -> bool:
    try:
        text.decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _repeats_names(entries: Sequence[Entry]) -> bool:
    named = set()
    for entry in entries:
        for choice in items_of(field(entry.value, "choices")) if isinstance(entry, Chunk) else ():
            for call in items_of(field(field(choice, "delta"), "tool_calls")):
                key = (field(choice, "index"), field(call, "index"), text_of(field(field(call, "function"), "name")))
                if not key[2]:
                    continue
                if key in named:
                    return True
                named.add(key)
    return False


def _errors_in(body: bytes) -> Iterator[Any]:
    """The errors that the last lines of a body tell."""
    for line in body.decode("utf-8", "replace").splitlines():
        text = line.removeprefix("data:").removeprefix("error:").strip()
        if text.startswith("{"):
            try:
                value = parse_json(text)
            except UnreadableError:
                continue
            yield error_in(value) or (value if line.startswith("error:") else None)
