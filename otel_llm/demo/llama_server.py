"""A real, OpenAI-compatible llama.cpp HTTP server with the tiny model of :mod:`otel_llm.demo.tiny_model`.

It runs in a process of its own, because llama.cpp writes to file descriptor 2 and does not stop its threads in order.
The process ends when its standard input is closed, so it does not outlive a parent that is killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_llm.demo.tiny_model import CALL_OPENS, CONTEXT_LENGTH, END_OF_TURN, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL: Final = "tiny-random"
"""The model's name in requests; the server accepts any."""

WELL_FORMED_CALLS: Final = {str(CALL_OPENS): 30, str(END_OF_TURN): 31, str(ord("\t")): -9, str(ord("\n")): -9}
"""The ``logit_bias`` that makes the noise start tool calls and then end, with little white space in them.

With ``tool_choice="required"`` the server's grammar does the rest: the result is one to a few well-formed calls.
"""

_START_TIMEOUT: Final = 60.0  # seconds
_STOP_TIMEOUT: Final = 10.0  # seconds
_TEMPLATE: Final = Path(__file__).parent / "chat_template.jinja"


class LlamaServerUnavailable(ImportError):  # noqa: N818 - a state, more than an error
    """There is no llama.cpp server here; the message is a sentence that says why and what to install."""


@contextlib.contextmanager
def llama_server() -> Iterator[str]:
    """Run the server for the length of a ``with`` block; the value is its ``base_url``.

    Raises :class:`LlamaServerUnavailable` if a package is missing or the server does not start.
    """
    missing = [name for name in ("xllamacpp", "gguf", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise LlamaServerUnavailable(
            f"A llama.cpp server needs {' and '.join(missing)}: pip install 'otel-llm[demo]'"
            " (xllamacpp has wheels for Linux and macOS)."
        )
    with tempfile.TemporaryDirectory(prefix="otel-llm-") as folder, contextlib.ExitStack() as cleanup:
        model, log = Path(folder, "tiny.gguf"), Path(folder, "log")
        write_tiny_model(model)
        errors = cleanup.enter_context(log.open("wb"))
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", __name__, str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        cleanup.callback(_stop, process)
        yield f"{_address(process, log)}/v1"


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the server prints once it listens."""
    too_late = threading.Timer(_START_TIMEOUT, process.kill)
    too_late.start()
    try:
        address = process.stdout.readline().decode().strip() if process.stdout else ""
    finally:
        too_late.cancel()
    if not address:
        last_words = log.read_text(errors="replace").strip()[-2000:]
        raise LlamaServerUnavailable(f"The llama.cpp server did not start: {last_words or 'it logged nothing.'}")
    return address


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        process.communicate(timeout=_STOP_TIMEOUT)  # closes its standard input, which ends the process
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _serve(model: str) -> None:
    """Serve ``model``, print the address, and end when standard input is closed."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.chat_template = _TEMPLATE.read_text(encoding="utf-8")
    params.use_jinja = True
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = 2
    params.n_ctx = params.n_parallel * CONTEXT_LENGTH
    params.ui = False
    params.verbosity = 1  # errors only
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.buffer.read()
    os._exit(0)  # stopping the server waits for its requests, forever if one is running


if __name__ == "__main__":
    _serve(sys.argv[1])
