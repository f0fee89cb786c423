"""``otel-llm record``: saves the exact bytes of each response, with their timing.

    otel-llm record -- python app.py
    otel-llm record --listen 127.0.0.1:8001 --upstream http://127.0.0.1:8000/v1

API keys are never written.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_llm.cli.base_url import OPENAI, SDK, SDKS, chosen_base_url, takes_other_urls
from otel_llm.cli.output import say
from otel_llm.cli.processes import NOT_FOUND, interruption, run_program, until_interrupted

if TYPE_CHECKING:
    import argparse
    import socket

    from otel_llm.exchanges.recorder import RecordingProxy


_OTHERS = SDKS[1:]


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "record",
        help="save the exact bytes of each response, with their timing",
        description="Runs a command with the base URLs of its SDKs set to a recording proxy"
        f" ({', '.join(sdk.variable for sdk in SDKS)}); without a command, runs the proxy until it is interrupted. Each"
        " response becomes a file for `otel-llm inspect` and `otel-llm replay`. At the end it says what was not"
        " recorded. API keys are never written.",
    )
    parser.add_argument(
        "--upstream",
        "--base-url",
        metavar="URL",
        help=f"the server (default: OPENAI_BASE_URL, or {OPENAI}; and that of each other SDK)",
    )
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:0", help="default: a free port of 127.0.0.1"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", default=Path("recordings"), help="where to save the files (./recordings)"
    )
    parser.add_argument("command", nargs="*", metavar="-- COMMAND", help="the command to run, with its arguments")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Record; the command's exit status, that of the interrupt without one, or 2 if recording cannot start."""
    try:
        from otel_llm.exchanges.recorder import RecordingProxy, Route
        from otel_llm.serving import server as _server  # noqa: F401 - needs Hypercorn
        from otel_llm.serving.sockets import listen_on
    except ImportError as error:
        say(f"otel-llm record needs {error.name}: pip install 'otel-llm[cli]'")
        return 2
    upstream = chosen_base_url(arguments.upstream)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        given = arguments.upstream
        routes = [
            Route(_prefix(sdk), given or os.environ.get(sdk.variable) or sdk.default, sdk.own_path if given else "")
            for sdk in _OTHERS
        ]
        led = [sdk for sdk in _OTHERS if takes_other_urls(sdk, given)]
        proxy = RecordingProxy(upstream, arguments.out, _tell, routes)
        listener = listen_on(arguments.listen)
    except (OSError, ValueError) as error:
        say(f"otel-llm record: {getattr(error, 'strerror', None) or error}")
        return 2
    return asyncio.run(_record(proxy, listener, arguments.command, led))


def _tell(sentence: str) -> None:
    say(f"otel-llm record: {sentence}")


async def _record(proxy: RecordingProxy, listener: socket.socket, command: list[str], led: list[SDK]) -> int:
    """`led`: the SDKs, besides OpenAI's, whose requests are led to the proxy."""
    from otel_llm.serving.server import serving
    from otel_llm.serving.sockets import address_of

    address = address_of(listener)
    interrupted = interruption()
    started = True
    try:
        async with serving(proxy, [listener]) as server:
            if not command:
                _tell(f"listening on {address}{proxy.path}")
                return await until_interrupted(interrupted, server.task)
            try:
                return await run_program(command, os.environ | _base_urls(address, proxy.path, led), interrupted)
            except OSError as error:
                _tell(f"{command[0]}: {error.strerror}")
                started = False
                return NOT_FOUND
    finally:
        await proxy.aclose()
        for sentence in proxy.unkept.told() if started else ():
            _tell(sentence)
        if command and started and not proxy.unkept.requests:
            variables = ", ".join(sdk.variable for sdk in (SDKS[0], *led))
            _tell(f"if the command calls a model, its base URL is not taken from {variables}")


def _base_urls(address: str, path: str, led: list[SDK]) -> dict[str, str]:
    """The variables that lead each SDK to the proxy."""
    return {SDKS[0].variable: address + path, **{sdk.variable: address + _prefix(sdk) for sdk in led}}


def _prefix(sdk: SDK) -> str:
    """With what the paths of an SDK's requests begin at the proxy."""
    return f"/otel-llm-sdk/{sdk.name}"
