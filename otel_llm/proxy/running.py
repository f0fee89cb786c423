"""One process that serves: its telemetry, its signals, its end. `workers.py` runs several of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from opentelemetry import trace

from otel_llm.config import read_config
from otel_llm.proxy.configuration import Configuration, ConfigurationError
from otel_llm.proxy.gateway import Gateway
from otel_llm.proxy.observed import Observing
from otel_llm.proxy.recording import Recorder
from otel_llm.proxy.server import ProxyServer, serving
from otel_llm.telemetry.handler import Telemetry
from otel_llm.telemetry.opentelemetry_internals import is_proxy_provider

if TYPE_CHECKING:
    import socket

SERVICE_NAME = "otel-llm-proxy"
# Of the open files that a process may have, so many are kept for everything but connections.
_OTHER_FILES = 64


def run_process(
    configuration: Configuration,
    listeners: Sequence[socket.socket],
    reload: Callable[[], Configuration],
    tell: Callable[[str], None],
) -> int:
    """Serve until SIGTERM or an interrupt, and then until the requests under way are over. The exit status.

    `reload` reads the configuration anew. `tell` is called with sentences for whoever runs the proxy.
    """
    configuration = _within_open_files(configuration, tell)
    if configuration.observes:
        start_telemetry()
    main = _run(configuration, listeners, lambda: _within_open_files(reload(), tell), tell)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def start_telemetry() -> None:
    """Set the OpenTelemetry SDK up as the standard variables say, unless that was done."""
    if not is_proxy_provider(trace.get_tracer_provider()):
        return
    from opentelemetry.distro import OpenTelemetryConfigurator, OpenTelemetryDistro

    os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE_NAME)
    OpenTelemetryDistro().configure()
    OpenTelemetryConfigurator().configure()  # type: ignore[no-untyped-call]


def gateway_for(configuration: Configuration, tell: Callable[[str], None]) -> Gateway:
    """A gateway with the global telemetry. Raises OSError if there is no folder for recordings."""
    observing = None
    if configuration.observes:
        observing = Observing(Telemetry(read_config()), header_names=configuration.span_headers)
    recorder = None
    if configuration.record is not None:
        configuration.record.mkdir(parents=True, exist_ok=True)
        recorder = Recorder(configuration.record, tell)
    return Gateway(configuration, observing, recorder)


async def _run(
    configuration: Configuration,
    listeners: Sequence[socket.socket],
    reload: Callable[[], Configuration],
    tell: Callable[[str], None],
) -> int:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    at_once = asyncio.Event()
    numbers: list[int] = []

    def end(number: int) -> None:
        numbers.append(number)
        if ending.is_set():
            at_once.set()
        ending.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    gateway = gateway_for(configuration, tell)
    async with serving(gateway, listeners) as server:
        loop.add_signal_handler(signal.SIGHUP, _reload, server, reload, tell)
        await ending.wait()
        draining = asyncio.ensure_future(server.drain(gateway.limits.drain_seconds))
        hurrying = asyncio.ensure_future(at_once.wait())
        await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurrying):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return 130 if numbers[0] == signal.SIGINT else 0


def _reload(server: ProxyServer, reload: Callable[[], Configuration], tell: Callable[[str], None]) -> None:
    try:
        server.reload(reload())
    except (ConfigurationError, OSError, ssl.SSLError) as error:
        tell(f"the configuration stays as it was: {error}")
    else:
        tell("the configuration was read anew")


def _within_open_files(configuration: Configuration, tell: Callable[[str], None]) -> Configuration:
    """Raise the limit of open files as far as it goes; the configuration, with no more connections than it allows."""
    try:
        import resource
    except ImportError:
        return configuration
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1_048_576)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    # A client's connection needs one to a server.
    most = max(1, (soft - _OTHER_FILES) // 2)
    limits = configuration.limits
    if limits.connections <= most:
        return configuration
    tell(f"this process may have {soft} open files: {most} connections at a time instead of {limits.connections}")
    return replace(configuration, limits=replace(limits, connections=most))
