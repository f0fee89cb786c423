"""Serves recordings with their timing. An ASGI application."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import IO, Any

from otel_llm.exchanges.opening import opened
from otel_llm.exchanges.reading import is_stream, saved_head
from otel_llm.exchanges.recorded import LONGEST_LINE, MARK, lines_of, open_recording
from otel_llm.protocol.apis import OLLAMA, kind_of
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.event_stream import MEDIA_TYPE, begins_message
from otel_llm.protocol.json_values import parse_json
from otel_llm.serving.asgi import ConnectionDropped, Receive, Scope, Send, while_connected

_BLOCK = 65_536


class Replay:
    """Answers each POST with the next recording, and starts over after the last.

    A stream saved by `curl -N` is sent at once, one saved by `curl -iN` with its status. `speed`: how many times faster
    than it was recorded, 0 for at once.
    """

    def __init__(self, paths: Sequence[Path], speed: float = 1.0) -> None:
        self._paths = itertools.cycle(paths)
        self._speed = speed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        if scope["method"] != "POST":
            models = {"object": "list", "data": [{"id": "recorded", "object": "model", "owned_by": "otel-llm"}]}
            await _send_json(send, models if scope["path"].rstrip("/").endswith("/models") else {})
            return
        await while_connected(receive, self._play(next(self._paths), send))

    async def _play(self, path: Path, send: Send) -> None:
        began = perf_counter()
        with closing(open_replay(path)) as replay:
            status, headers = next(replay)
            await send({"type": "http.response.start", "status": status, "headers": headers})
            for seconds, data in replay:
                wait = began + seconds / self._speed - perf_counter() if self._speed else 0.0
                if wait > 0:
                    await asyncio.sleep(wait)
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def open_replay(path: Path) -> Generator[Any, None, None]:
    """Yields the status and headers, then each read (seconds, bytes). Raises UnreadableError, OSError, and
    ConnectionDropped at the end of a recording that did not end properly."""
    with opened(path) as file:
        head = file.read(4096)
        file.seek(0)
        if not head.lstrip().startswith(b"{") or MARK.encode() not in head[:200]:
            saved = saved_head(head)
            if saved is None and begins_message(head):
                yield 200, [(b"content-type", MEDIA_TYPE.encode("ascii"))]
            elif saved is None and _is_of_ollama(file):
                yield 200, [(b"content-type", b"application/x-ndjson")]
            elif saved is None:
                if b"\0" in head or not is_stream(head.removeprefix(b"\xef\xbb\xbf").lstrip()):
                    raise UnreadableError("it is neither a recording nor a saved stream")
                yield 200, [(b"content-type", b"text/event-stream")]
            else:
                file.seek(saved.length)
                yield saved.status, _headers(saved.fields)
            while block := file.read(_BLOCK):
                yield 0.0, block
            return
        lines = lines_of(file)
        recorded = open_recording(next(lines), lines)
        yield recorded.status, _headers(recorded.response_headers)
        for time_ns, data in recorded.reads():
            yield time_ns / 1e9, data
        if recorded.end != "completed":
            raise ConnectionDropped(recorded.end or "the recording is cut off")


def _is_of_ollama(file: IO[bytes]) -> bool:
    """Whether the first line is one of Ollama's, whose streams are lines of JSON. Leaves the file at its beginning."""
    try:
        return kind_of(parse_json(file.readline(LONGEST_LINE).decode("utf-8", "surrogateescape"))) is OLLAMA
    except UnreadableError:
        return False
    finally:
        file.seek(0)


def _headers(recorded: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    kept = ("content-type", "content-encoding", "retry-after", "x-request-id")
    return [
        (name.encode("latin-1"), str(value).encode("latin-1", "replace"))
        for name, value in recorded.items()
        if name in kept
    ]


async def _send_json(send: Send, value: Any) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
