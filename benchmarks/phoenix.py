"""Starts Arize Phoenix, if `phoenix` is on the PATH, on free ports, in its own folder, with its telemetry off."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from stack.ports import free_ports

_SECONDS_TO_START: Final = 120
_SECONDS_TO_STORE: Final = 600


class Phoenix(NamedTuple):
    """A running Phoenix. `seconds`: from the command to the first page."""

    process: psutil.Popen
    address: str
    seconds: float
    database: Path

    def wait_for(self, count: int) -> None:
        """Return when `count` spans are stored, which happens after the response. Raises TimeoutError."""
        until = time.monotonic() + _SECONDS_TO_STORE
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            while connection.execute("SELECT count(*) FROM spans").fetchone()[0] < count:
                if time.monotonic() > until:
                    raise TimeoutError(f"Phoenix has not stored {count} spans in {_SECONDS_TO_STORE} s")
                time.sleep(0.1)


def is_there() -> bool:
    """Whether Phoenix is installed."""
    return shutil.which("phoenix") is not None


@contextlib.contextmanager
def phoenix(folder: Path) -> Iterator[Phoenix]:
    """Run `phoenix serve`. Raises TimeoutError if its page does not respond."""
    port, grpc_port = free_ports(2)
    settings = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }
    # Phoenix has its own Python environment.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PHOENIX_", "PYTHON"))}
    began = time.perf_counter()
    process = psutil.Popen(
        ["phoenix", "serve"], env=environment | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        address = f"127.0.0.1:{port}"
        while not _answers(address):
            if process.poll() is not None or time.perf_counter() - began > _SECONDS_TO_START:
                raise TimeoutError("Phoenix does not respond")
            time.sleep(0.05)
        yield Phoenix(process, address, time.perf_counter() - began, folder / "phoenix.db")
    finally:
        process.terminate()
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=10) as page:
            return bool(page.read())
    except OSError:
        return False
