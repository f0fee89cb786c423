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
from otel_llm.cli.processes import NOT_FOUND, interruption, run_program
from otel_llm.serving.loopback import is_loopback

if TYPE_CHECKING:
    import argparse
    import socket

    from otel_llm.proxy.configuration import Configuration


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
        from otel_llm.proxy import running as _running  # noqa: F401 - needs httptools
        from otel_llm.proxy.configuration import Configuration, ConfigurationError
        from otel_llm.proxy.limits import RECORDING
        from otel_llm.proxy.upstreams import Upstream, Upstreams
        from otel_llm.serving.sockets import listen_on
    except ImportError as error:
        say(f"otel-llm record needs {error.name}: pip install 'otel-llm[cli]'")
        return 2
    given = arguments.upstream
    led = [sdk for sdk in _OTHERS if takes_other_urls(sdk, given)]
    try:
        host = arguments.listen.rpartition(":")[0].strip("[]") or "127.0.0.1"
        if not is_loopback(host.lower()):
            raise ConfigurationError(
                f"{host} can be reached from other machines: `otel-llm proxy --record` has a token for that"
            )
        arguments.out.mkdir(parents=True, exist_ok=True)
        servers = [Upstream("the server", chosen_base_url(given))]
        for sdk in _OTHERS:
            url = given or os.environ.get(sdk.variable) or sdk.default
            servers.append(Upstream(sdk.name, url, _prefix(sdk).strip("/"), sdk.own_path if given else ""))
        configuration = Configuration(Upstreams(servers), observes=False, record=arguments.out, limits=RECORDING)
        listener = listen_on(arguments.listen)
    except (OSError, ValueError) as error:
        say(f"otel-llm record: {getattr(error, 'strerror', None) or error}")
        return 2
    return asyncio.run(_record(configuration, listener, arguments.command, led))


def _tell(sentence: str) -> None:
    say(f"otel-llm record: {sentence}")


async def _record(configuration: Configuration, listener: socket.socket, command: list[str], led: list[SDK]) -> int:
    """`led`: the SDKs, besides OpenAI's, whose requests are led to the proxy."""
    from otel_llm.proxy.running import gateway_for
    from otel_llm.proxy.server import serving
    from otel_llm.serving.sockets import address_of

    address = address_of(listener)
    path = configuration.upstreams.servers[0].base_path.decode()
    interrupted = interruption()
    gateway = gateway_for(configuration, _tell)
    started = True
    try:
        async with serving(gateway, [listener]):
            if not command:
                _tell(f"listening on {address}{path}")
                return 128 + await interrupted
            try:
                return await run_program(command, os.environ | _base_urls(address, path, led), interrupted)
            except OSError as error:
                _tell(f"{command[0]}: {error.strerror}")
                started = False
                return NOT_FOUND
    finally:
        unkept = gateway.recorder.unkept if gateway.recorder is not None else None
        if unkept is not None and started:
            for sentence in unkept.told():
                _tell(sentence)
            if command and not unkept.requests:
                variables = ", ".join(sdk.variable for sdk in (SDKS[0], *led))
                _tell(f"if the command calls a model, its base URL is not taken from {variables}")


def _base_urls(address: str, path: str, led: list[SDK]) -> dict[str, str]:
    """The variables that lead each SDK to the proxy."""
    return {SDKS[0].variable: address + path, **{sdk.variable: address + _prefix(sdk) for sdk in led}}


def _prefix(sdk: SDK) -> str:
    """With what the paths of an SDK's requests begin at the proxy."""
    return f"/otel-llm-sdk/{sdk.name}"
