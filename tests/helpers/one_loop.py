"""A client that runs in the event loop of a proxy, as the server behind it does.

So the turns of the loop, and not time, tell when all is done; what then still waits for something is told that it took
too long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from otel_llm.proxy import gateway
from tests.helpers.proxying import RunningProxy

_MANY_SECONDS = 1e6
_QUIET_TURNS = 40
_QUIET_SECONDS = 0.01


class Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.is_closed = False

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True


class OneLoop:
    """`progress`: a number that changes when the server does something. `asked`: the addresses that the proxy asked."""

    def __init__(self, proxy: RunningProxy, progress: Callable[[], int]) -> None:
        self.proxy = proxy
        self._progress = progress
        self.asked: set[tuple[Any, Any]] = set()
        self._connect: Any = proxy.loop.create_connection

        def noted(factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
            self.asked.add((host, port))
            return self._connect(factory, host, port, **options)

        proxy.loop.create_connection = noted  # type: ignore[method-assign, assignment]

    def exchange(self, *pieces: bytes) -> bytes:
        """All that a client gets that sends these pieces one by one. Fails if its connection stays open."""
        got: bytes = self.proxy.call(lambda: self._exchange(pieces))
        return got

    async def _exchange(self, pieces: Sequence[bytes]) -> bytes:
        transport, client = await self._connect(Client, "127.0.0.1", self.proxy.port)
        for piece in pieces:
            if not client.is_closed:
                transport.write(piece)
            await _turns(3)
        for _ in range(4):
            await self._until_quiet(client)
            if client.is_closed:
                break
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(gateway, "perf_counter", lambda: time.perf_counter() + _MANY_SECONDS)
                self.proxy.gateway.sweep()
        assert client.is_closed, "the connection stays"
        await _turns(3)
        got: bytes = client.got
        return got

    async def _until_quiet(self, client: Client) -> None:
        state, since, count = -1, 0.0, 0
        while not client.is_closed and (count < _QUIET_TURNS or time.perf_counter() - since < _QUIET_SECONDS):
            await asyncio.sleep(0)
            count += 1
            if (now := len(client.got) + self._progress()) != state:
                state, since, count = now, time.perf_counter(), 0


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
