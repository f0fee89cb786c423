"""`otel-llm` in this process: a process of its own takes a second to import what is here already.

What depends on the process (signals, encodings of its streams, a missing package) is tested in one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from otel_llm.cli import main
from otel_llm.exchanges.replaying import Replay
from otel_llm.proxy.configuration import Configuration
from otel_llm.proxy.limits import RECORDING
from otel_llm.proxy.upstreams import Upstream, Upstreams
from otel_llm.serving.asgi import Application
from otel_llm.serving.server import serving
from otel_llm.serving.sockets import address_of, listen_on
from tests.helpers.proxying import RunningProxy


def run_command(*arguments: str, typed: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a subcommand with `typed` as its input and `variables` in its environment, in the main thread.

    What it prints is text in UTF-8, and that of the programs which it runs is among it.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(typed.encode("utf-8", "surrogateescape"))
        given.seek(0)
        with pytest.MonkeyPatch.context() as patch, _as_standard_streams(patch, given, out, err):
            for name in [name for name in os.environ if name.startswith(("OTEL_", "OPENAI_"))]:
                patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(name, value)
            try:
                status = main(arguments)
            except SystemExit as end:
                status = int(end.code or 0)
        return subprocess.CompletedProcess(arguments, status, _text_of(out), _text_of(err))


@contextlib.contextmanager
def _as_standard_streams(patch: pytest.MonkeyPatch, *files: IO[bytes]) -> Iterator[None]:
    """The descriptors too, which programs inherit."""
    with contextlib.ExitStack() as stack:
        for number, (name, file) in enumerate(zip(("stdin", "stdout", "stderr"), files, strict=True)):
            stack.callback(os.close, kept := os.dup(number))
            stack.callback(os.dup2, kept, number)
            os.dup2(file.fileno(), number)
            errors = "backslashreplace" if name == "stderr" else "surrogateescape"
            stream = open(number, "w" if number else "r", encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
            patch.setattr(sys, name, stack.enter_context(stream))
        yield


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def recording_proxy(upstream: str, folder: Path) -> Iterator[str]:
    """What `otel-llm record` serves while it runs; the value is the base URL for an SDK."""
    upstreams = Upstreams([Upstream("the server", upstream)])
    configuration = Configuration(upstreams, observes=False, record=folder, limits=RECORDING)
    proxy = RunningProxy(configuration, None, folder)
    proxy.start()
    try:
        yield proxy.url + upstreams.servers[0].base_path.decode()
    finally:
        proxy.stop()


@contextlib.contextmanager
def replaying(*files: Path, speed: float = 0) -> Iterator[str]:
    """What `otel-llm replay` serves while it runs; the value is the base URL for an SDK."""
    with _served(Replay(list(files), speed)) as address:
        yield f"{address}/v1"


@contextlib.contextmanager
def _served(application: Application) -> Iterator[str]:
    """Served by a thread, as a command serves it; the value is its address."""
    listener = listen_on("127.0.0.1:0")
    address = address_of(listener)
    started = threading.Event()
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        loop, ending = asyncio.get_running_loop(), asyncio.Event()
        ends.append(lambda: loop.call_soon_threadsafe(ending.set))
        async with serving(application, [listener]):
            started.set()
            await ending.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield address
    finally:
        ends[0]()
        thread.join(30)
