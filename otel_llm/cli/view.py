"""``otel-llm view``: receives spans, stores them in a file, and serves a page that shows them.

otel-llm view
otel-llm view --run python app.py
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import re
import shutil
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otel_llm.cli.output import say
from otel_llm.cli.processes import NOT_FOUND, interruption, run_program, until_interrupted
from otel_llm.demo.command import opentelemetry_instrument

if TYPE_CHECKING:
    import socket

    from otel_llm.view.server import Addresses, Running

_PORT: Final = 4320
_OTLP_HTTP: Final = 4318
_OTLP_GRPC: Final = 4317
_SECONDS_TO_END: Final = 5
_MOST: Final = 10_000_000  # megabytes, or days
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]+")  # needs no quoting in a header, a cookie or a URL


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "view",
        help="serve a local page that shows requests as they arrive over OTLP",
        description="Receives OTLP (HTTP and gRPC) on the loopback interface, stores it in a file and serves a page."
        " With --run, also runs a program under opentelemetry-instrument that sends its spans here. Exit status: 0 when"
        " interrupted, the program's with --run, 2 if serving cannot start.",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="OTLP JSON or recorded responses to add")
    parser.add_argument("--port", type=_port, metavar="N", help=f"the port of the page ({_PORT}, or a free one)")
    parser.add_argument(
        "--otlp-http", type=_port, metavar="N", help=f"the port for OTLP/HTTP ({_OTLP_HTTP}, or a free one)"
    )
    parser.add_argument(
        "--otlp-grpc", type=_port, metavar="N", help=f"the port for OTLP/gRPC ({_OTLP_GRPC}, or a free one)"
    )
    parser.add_argument("--db", type=Path, metavar="FILE", help="the database (in the user's state directory)")
    parser.add_argument(
        "--max-size", type=_positive, default=1024, metavar="MB", help="the largest size of the database (1024)"
    )
    parser.add_argument("--max-age", type=_positive, default=30, metavar="DAYS", help="how long spans are kept (30)")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="listen on another address than 127.0.0.1; needs --token"
    )
    parser.add_argument("--token", metavar="TOKEN", help="a secret that every client must send (OTEL_LLM_VIEW_TOKEN)")
    parser.add_argument("--no-open", action="store_true", help="do not open the page in a browser")
    parser.add_argument("--keep", action="store_true", help="keep serving after the program of --run has ended")
    parser.add_argument(
        "--run",
        nargs=argparse.REMAINDER,
        dest="command",
        metavar="COMMAND",
        help="the rest of the line: a program to run with instrumentation; the exit status is the program's",
    )
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"a port from 0 to 65535 is expected, not {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _MOST:
        raise argparse.ArgumentTypeError(f"a number above 0, up to {_MOST}, is expected, not {text!r}")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted (0) or until the program ends (its exit status).

    127 if there is no such program, 2 if serving cannot start.
    """
    try:
        from otel_llm.serving.sockets import address_of, listen
        from otel_llm.view import safety, server
        from otel_llm.view.database import StoreError
    except ImportError as error:
        return _fail(f"needs {error.name}: pip install 'otel-llm[view]'")
    if arguments.command is not None:
        if not arguments.command:
            return _fail("--run needs a command")
        if importlib.util.find_spec("opentelemetry.distro") is None:
            return _fail("--run needs opentelemetry-distro: pip install 'otel-llm[otlp]'")
        if shutil.which(arguments.command[0]) is None:
            _tell(f"{arguments.command[0]}: there is no such program")
            return NOT_FOUND
    token = arguments.token or os.environ.get("OTEL_LLM_VIEW_TOKEN") or None
    if token is not None and not _TOKEN.fullmatch(token):
        return _fail("a token may contain only letters, digits, -, _, . and ~")
    if not safety.is_loopback(arguments.host) and token is None:
        return _fail(f"{arguments.host} can be reached from other machines: --token is required")
    sockets: list[socket.socket] = []
    try:
        for wanted, usual in (
            (arguments.port, _PORT),
            (arguments.otlp_http, _OTLP_HTTP),
            (arguments.otlp_grpc, _OTLP_GRPC),
        ):
            port = usual if wanted is None else wanted
            try:
                sockets.append(listen(arguments.host, port, or_any=wanted is None))
            except OSError as error:
                return _fail(f"port {port}: {error.strerror}")
        addresses = server.Addresses(*(address_of(one) for one in sockets))
        return asyncio.run(_serve(arguments, sockets, addresses, token))
    except (OSError, StoreError) as error:
        return _fail(str(error))
    finally:
        for one in sockets:
            one.close()


def _fail(sentence: str) -> int:
    _tell(sentence)
    return 2


def _tell(sentence: str) -> None:
    say(f"otel-llm view: {sentence}")


async def _serve(
    arguments: argparse.Namespace, sockets: list[socket.socket], addresses: Addresses, token: str | None
) -> int:
    from otel_llm.view.database import MEGABYTE, default_path
    from otel_llm.view.server import serving
    from otel_llm.view.store import DAY

    interrupted = interruption()
    path = arguments.db or default_path()
    bounds = {"most_bytes": int(arguments.max_size * MEGABYTE), "most_seconds": arguments.max_age * DAY}
    async with serving(path, sockets, token=token, **bounds) as running:
        for file in arguments.files:
            if not await _show_file(file, running):
                return 2
        _tell(f"the page is at {addresses.page}" + (", with the token" if token else ""))
        _tell(f"OTLP is received at {addresses.otlp_http} (HTTP) and {addresses.otlp_grpc} (gRPC)")
        for wanted, usual, address in (
            (arguments.otlp_http, _OTLP_HTTP, addresses.otlp_http),
            (arguments.otlp_grpc, _OTLP_GRPC, addresses.otlp_grpc),
        ):
            if wanted is None and not address.endswith(f":{usual}"):
                _tell(f"port {usual} is taken: set OTEL_EXPORTER_OTLP_ENDPOINT to the address above")
        if not arguments.no_open and _has_browser():
            url = f"{addresses.page}/?token={token}" if token else addresses.page
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        status = 0
        if arguments.command is not None:
            environ = _environment(arguments.command, addresses, token)
            try:
                status = await run_program([*opentelemetry_instrument(), *arguments.command], environ, interrupted)
            except OSError as error:
                _tell(f"{arguments.command[0]}: {error.strerror}")
                status = NOT_FOUND
            if not arguments.keep:
                return status
            _tell(f"the program ended with status {status}; the page stays until you interrupt it")
        await until_interrupted(interrupted, running.server.task)
        return status


async def _show_file(file: Path, running: Running) -> bool:
    from otel_llm.protocol.errors import UnreadableError
    from otel_llm.view.http import RefusedError
    from otel_llm.view.recordings import read_file

    try:
        read = read_file(file)
        taken = await running.intake.take(lambda: read.request)
    except (OSError, RefusedError, UnreadableError) as error:
        _tell(f"{file}: {getattr(error, 'strerror', None) or error}")
        return False
    for sentence in read.unshown:
        _tell(f"{file}: {sentence}")
    _tell(f"{file}: {len(taken)} request{'' if len(taken) == 1 else 's'}")
    return True


def _environment(command: list[str], addresses: Addresses, token: str | None) -> dict[str, str]:
    """This process's environment, with traces sent here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_EXPORTER_OTLP_")}
    # No proxy to this machine. Programs that read both names prefer the one in lower case.
    direct = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1"]))
    environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": addresses.otlp_http,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp",
        "NO_PROXY": direct,
        "no_proxy": direct,
    }
    if token is not None:
        environment["OTEL_EXPORTER_OTLP_HEADERS"] = f"authorization=Bearer%20{token}"
    program = next((Path(word).stem for word in command if word.endswith(".py")), Path(command[0]).stem)
    for name, value in {
        "OTEL_SERVICE_NAME": program,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "200",  # ms; a person is watching
    }.items():
        environment.setdefault(name, value)
    return environment


def _has_browser() -> bool:
    """Whether there is a graphical browser: a text browser would take over the terminal."""
    if sys.platform in {"darwin", "win32"}:
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
