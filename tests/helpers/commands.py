"""The command `otel-llm`, run as a process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OTEL_LLM = str(Path(sys.executable).with_name("otel-llm"))


@contextmanager
def running(*command: str) -> Iterator[str]:
    """A subcommand that listens; the value is the URL that it prints."""
    process = subprocess.Popen([OTEL_LLM, *command], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    too_late = threading.Timer(60, process.kill)
    too_late.start()
    try:
        line = process.stderr.readline()
        found = re.search(r"listening on (\S+)", line)
        assert found, line + process.stderr.read()
        # Its output must not fill the pipe.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield found.group(1)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        too_late.cancel()
        process.stderr.close()
