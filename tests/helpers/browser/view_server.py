"""`otel-llm view` as a process, on free ports, with its own file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

_SECONDS = 20
_COMMAND = "import sys; from otel_llm.cli import main; sys.exit(main())"


class View:
    """A running view. `url`: the page's address."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", _COMMAND, "view", "--no-open", "--db", str(folder / "view.sqlite3")]
        for port in ("--port", "--otlp-http", "--otlp-grpc"):
            command += [port, "0"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        said = self._process.stderr
        assert said is not None
        for line in said:
            found = re.search(r"the page is at (\S+)", line)
            if found:
                self.url = found.group(1)
                break
        else:
            raise RuntimeError(f"otel-llm view ended with status {self._process.wait(_SECONDS)}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(_SECONDS)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def receive(self, body: bytes) -> None:
        """Send OTLP to the view, as an exporter does."""
        headers = {"Content-Type": "application/x-protobuf"}
        httpx.post(f"{self.url}/v1/traces", content=body, headers=headers, timeout=60).raise_for_status()

    def clear(self) -> None:
        httpx.delete(f"{self.url}/api/requests", timeout=60).raise_for_status()

    def requests(self, **query: Any) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/requests", params={"limit": 1000, **query}, timeout=60)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["requests"]
        return found
