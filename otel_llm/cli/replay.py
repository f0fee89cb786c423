"""``otel-llm replay FILE --listen HOST:PORT``: serves recordings with their timing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_llm.cli.output import say
from otel_llm.cli.processes import interruption, until_interrupted

if TYPE_CHECKING:
    import argparse
    import socket

    from otel_llm.exchanges.replaying import Replay


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "replay",
        help="serve a recorded stream with its timing",
        description="Answers every request with a recording, until it is interrupted: for example to show a bug to the"
        " maintainers of a client or a server. Several files are served in turn. A file of raw server-sent events is"
        " sent at once.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:0", help="default: a free port of 127.0.0.1"
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, metavar="N", help="N times faster than recorded; 0: at once"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted; the exit status of the interrupt, or 2 if a file or the address cannot be used."""
    from otel_llm.exchanges.replaying import Replay, open_replay
    from otel_llm.protocol.errors import UnreadableError

    try:
        from otel_llm.serving import server as _server  # noqa: F401 - needs Hypercorn
        from otel_llm.serving.sockets import listen_on
    except ImportError as error:
        say(f"otel-llm replay needs {error.name}: pip install 'otel-llm[cli]'")
        return 2
    path = None
    try:
        for path in arguments.files:
            next(open_replay(path))
    except (OSError, UnreadableError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        say(f"otel-llm: {path}: {why}")
        return 2
    try:
        if not arguments.speed >= 0:
            raise ValueError("--speed must not be negative")
        listener = listen_on(arguments.listen)
    except (OSError, ValueError) as error:
        say(f"otel-llm replay: {error}")
        return 2
    return asyncio.run(_serve(Replay(arguments.files, arguments.speed), listener))


async def _serve(replay: Replay, listener: socket.socket) -> int:
    from otel_llm.serving.server import serving
    from otel_llm.serving.sockets import address_of

    base_url = f"{address_of(listener)}/v1"
    interrupted = interruption()
    async with serving(replay, [listener]) as server:
        say(f"otel-llm replay: listening on {base_url}")
        return await until_interrupted(interrupted, server.task)
