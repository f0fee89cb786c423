"""The API of the page: requests, traces and facets as JSON, live events, and the files of the page itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from otel_llm.exchanges import otlp
from otel_llm.view.database import StoreError
from otel_llm.view.http import RefusedError, Request, Room, decompress
from otel_llm.view.intake import Intake
from otel_llm.view.store import Store

_PAGE: Final = Path(__file__).with_name("page")
_FILTERS: Final = ("q", "model", "service", "tool", "anomaly", "outcome", "trace")
_SECONDS_BETWEEN_KEEP_ALIVES: Final = 15.0
_MOST_UNREAD: Final = 1000  # events
_MOST_WATCHERS: Final = 64

Given = TypeVar("Given")


class Live:
    """The clients of `/api/live`, each with a queue of events. One that does not keep up is disconnected."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[bytes | None]] = set()

    def tell(self, event: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """Send an event for each document to every client."""
        if not self._watchers:
            return
        for document in documents:
            data = f"event: {event}\ndata: {json.dumps(document)}\n\n".encode()
            for watcher in list(self._watchers):
                if watcher.qsize() >= _MOST_UNREAD:
                    self._watchers.discard(watcher)
                    watcher.put_nowait(None)
                else:
                    watcher.put_nowait(data)

    def end(self) -> None:
        """Disconnect every client."""
        for watcher in self._watchers:
            watcher.put_nowait(None)
        self._watchers.clear()

    async def watch(self, request: Request) -> None:
        """Answer with events from now on, until the client disconnects or is disconnected."""
        if len(self._watchers) >= _MOST_WATCHERS:
            raise RefusedError(503, "Too many clients are watching.")
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watchers.add(queue)
        gone = asyncio.ensure_future(request.disconnected())
        try:
            await request.start(200, [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")])
            await request.write(b"retry: 1000\n\n", more=True)
            while not gone.done():
                waiting = asyncio.ensure_future(queue.get())
                await asyncio.wait(
                    {waiting, gone}, timeout=_SECONDS_BETWEEN_KEEP_ALIVES, return_when=asyncio.FIRST_COMPLETED
                )
                if not waiting.done():
                    waiting.cancel()
                    if not gone.done():
                        await request.write(b": keep-alive\n\n", more=True)
                    continue
                data = waiting.result()
                if data is None:
                    break
                await request.write(data, more=True)
            await request.write(b"")
        finally:
            self._watchers.discard(queue)
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone


class Api:
    """Answers the page. `store`: a connection of its own, for reading."""

    def __init__(self, store: Store, intake: Intake, live: Live, room: Room) -> None:
        self._store = store
        self._intake = intake
        self._live = live
        self._room = room
        self._thread = ThreadPoolExecutor(1, "otel-llm-read")

    def close(self) -> None:
        self._thread.shutdown()
        self._store.close()

    async def _read(self, read: Callable[[], Given]) -> Given:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, read)
        except StoreError as error:
            raise RefusedError(500, str(error)) from None

    async def answer(self, request: Request) -> None:
        """Answer a request. Raises RefusedError."""
        match [request.method, *request.path.strip("/").split("/")]:
            case ["GET", "api", "requests"]:
                await self._list(request)
            case ["DELETE", "api", "requests"]:
                await self._intake.clear()
                self._live.tell("cleared", [{}])
                await request.answer_json({})
            case ["GET", "api", "requests", request_id]:
                await self._detail(request, request_id)
            case ["GET", "api", "requests", request_id, "export"]:
                await self._export(request, request_id)
            case ["GET", "api", "traces", trace_id]:
                body = await self._read(lambda: json.dumps(self._store.trace(trace_id)).encode())
                await request.answer(200, body, "application/json")
            case ["GET", "api", "facets"]:
                await request.answer_json(await self._read(self._store.facets))
            case ["GET", "api", "live"]:
                await self._live.watch(request)
            case ["POST", "api", "import"]:
                await self._import(request)
            case [_, "api", *_]:
                raise RefusedError(404, "There is no such endpoint.")
            case ["GET", *names]:
                await self._file(request, "/".join(names) or "index.html")
            case _:
                raise RefusedError(405, "Use GET for pages.")

    async def _list(self, request: Request) -> None:
        filters = {name: request.query[name] for name in _FILTERS if request.query.get(name)}
        try:
            limit = int(request.query.get("limit") or 100)
            after = request.query.get("after") or None
            page = await self._read(lambda: self._store.page(filters, limit, after))
        except (ValueError, OverflowError):
            raise RefusedError(400, "`limit` must be a number, and `after` the `next` of a page.") from None
        await request.answer_json(page._asdict())

    async def _detail(self, request: Request, request_id: str) -> None:
        def read() -> bytes | None:
            document = self._store.detail(request_id)
            return None if document is None else json.dumps(document, separators=(",", ":")).encode()

        body = await self._read(read)
        if body is None:
            raise RefusedError(404, "There is no such request. It may have been deleted by age or size.")
        await request.answer(200, body, "application/json")

    async def _export(self, request: Request, request_id: str) -> None:
        def read() -> bytes | None:
            message = self._store.message(request_id)
            return None if message is None else json.dumps(otlp.to_json(message)).encode()

        body = await self._read(read)
        if body is None:
            raise RefusedError(404, "There is no such request. It may have been deleted by age or size.")
        name = f'attachment; filename="{request_id}.json"'.encode()
        await request.answer(200, body, "application/json", [(b"content-disposition", name)])

    async def _import(self, request: Request) -> None:
        if request.content_type != "application/json":
            raise RefusedError(415, "Import OTLP JSON, as application/json.")
        encoding = request.headers.get(b"content-encoding", b"").decode("latin-1")
        with self._room.share() as take:
            body = await request.body(take)
            summaries = await self._intake.take(lambda: otlp.parse_file(decompress(body, encoding)))
        if not summaries:
            raise RefusedError(400, "It contains no request to a model.")
        await request.answer_json({"requests": [summary["id"] for summary in summaries]})

    async def _file(self, request: Request, name: str) -> None:
        # Names are compared with existing files: no path from a request is opened.
        found = next((path for path in _PAGE.rglob("*") if path.relative_to(_PAGE).as_posix() == name), None)
        if found is None or not found.is_file() or found.suffix == ".py":
            raise RefusedError(404, "There is no such page.")
        kind = _TYPES.get(found.suffix) or mimetypes.guess_type(found.name)[0] or "application/octet-stream"
        await request.answer(200, found.read_bytes(), kind)


# The system's own table of types may be wrong for these.
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
