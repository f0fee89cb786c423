"""A proxy in a thread of its own, between a real client and a scripted server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from otel_llm.config import read_config
from otel_llm.proxy.configuration import Configuration, Given, configured
from otel_llm.proxy.gateway import Gateway
from otel_llm.proxy.limits import Limits
from otel_llm.proxy.observed import Observing
from otel_llm.proxy.recording import Recorder
from otel_llm.proxy.server import ProxyServer, serving
from otel_llm.serving.sockets import listen
from otel_llm.telemetry.handler import Telemetry
from tests.helpers.seen import Seen


class RunningProxy:
    """`url`: without a path. `seen`: the telemetry of what passed."""

    def __init__(self, configuration: Configuration, seen: Seen | None, record: Path | None = None) -> None:
        self.seen = seen
        self.told: list[str] = []
        self._configuration = configuration
        self._record = record
        self._listener = listen("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if configuration.tls_cert else 'http'}://127.0.0.1:{self.port}"
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="proxy")
        self.loop: asyncio.AbstractEventLoop
        self.server: ProxyServer
        self.gateway: Gateway

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        if not self._thread.is_alive():
            return
        self.loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def settle(self) -> None:
        """Wait until all that was observed so far is sent."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: self.gateway.when_done(done.set))
        assert done.wait(10)

    def call(self, function: Any) -> Any:
        """Call a function in the proxy's event loop."""

        async def called() -> Any:
            result = function()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(20)

    async def _run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        observing = None
        if self.seen is not None:
            telemetry = Telemetry(read_config({}, {}), **self.seen.providers)
            observing = Observing(telemetry, self.seen.meter_provider, self._configuration.span_headers)
        recorder = None if self._record is None else Recorder(self._record, self.told.append)
        self.gateway = Gateway(self._configuration, observing, recorder)
        async with serving(self.gateway, [self._listener]) as self.server:
            self._started.set()
            await self._ending.wait()


@contextmanager
def proxying(
    *upstreams: str,
    observed: bool = True,
    record: Path | None = None,
    limits: Limits | None = None,
    environ: dict[str, str] | None = None,
    **given: Any,
) -> Iterator[RunningProxy]:
    """A proxy in front of these servers, `URL` or `NAME=URL`."""
    configuration = configured(Given(upstreams=upstreams, **given), environ=environ or {})
    if limits is not None:
        configuration = replace(configuration, limits=limits)
    proxy = RunningProxy(configuration, Seen() if observed else None, record)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


def names(values: Sequence[tuple[str, str]]) -> list[str]:
    return [name for name, _ in values]
