"""``otel-llm record``: the exact bytes of each response and when they came, kept in files.

    otel-llm record -- python app.py
    otel-llm record --listen 127.0.0.1:8001 --upstream http://127.0.0.1:8000/v1

API keys are never written.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_llm.cli.base_url import OPENAI, chosen_base_url

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "record",
        help="keep the exact bytes of each response, and their timing, in files",
        description="Runs a command whose OPENAI_BASE_URL leads through a recording proxy; or, without one, only the"
        " proxy, until it is interrupted. Each response becomes a file for `otel-llm inspect` and `otel-llm replay`."
        " API keys are never written.",
    )
    parser.add_argument(
        "--upstream",
        "--base-url",
        metavar="URL",
        help=f"the server (default: OPENAI_BASE_URL, or {OPENAI})",
    )
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:0", help="default: any free port")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", default=Path("recordings"), help="where the files go (./recordings)"
    )
    parser.add_argument("command", nargs="*", metavar="-- COMMAND", help="what to run, and its arguments")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Record; the command's exit status, 0 without one, or 2 where it cannot begin."""
    try:
        from otel_llm.exchanges.recorder import RecordingProxy
        from otel_llm.serving.asgi_server import listen_on
    except ImportError as error:
        print(f"otel-llm record needs {error.name}: pip install 'otel-llm[cli]'", file=sys.stderr)
        return 2
    upstream = chosen_base_url(arguments.upstream)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        proxy = RecordingProxy(upstream, arguments.out, _tell)
        listener = listen_on(arguments.listen)
    except (OSError, ValueError) as error:
        print(f"otel-llm record: {error}", file=sys.stderr)
        return 2
    return asyncio.run(_record(proxy, listener, arguments.command))


def _tell(sentence: str) -> None:
    print(f"otel-llm record: {sentence}", file=sys.stderr, flush=True)


async def _record(proxy: Any, listener: Any, command: list[str]) -> int:
    from otel_llm.serving.asgi_server import address_of, serving

    base_url = address_of(listener) + proxy.path
    try:
        async with serving(proxy, listener) as server:
            if not command:
                _tell(f"listening on {base_url}")
                await server
                return 0
            environ = os.environ | {"OPENAI_BASE_URL": base_url}
            try:
                process = await asyncio.create_subprocess_exec(*command, env=environ)
            except OSError as error:
                _tell(f"{command[0]}: {error.strerror}")
                return 127
            ended = asyncio.ensure_future(process.wait())
            # An interrupt ends the server, and reaches the command by itself.
            await asyncio.wait({ended, server}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await _stop(process, ended)
            status = await ended
            return status if status >= 0 else 128 - status
    finally:
        await proxy.aclose()


async def _stop(process: asyncio.subprocess.Process, ended: asyncio.Future[int]) -> None:
    """Let the command end, which may clean up."""
    for signal in (process.terminate, process.kill):
        await asyncio.wait({ended}, timeout=5)
        if ended.done():
            return
        signal()
