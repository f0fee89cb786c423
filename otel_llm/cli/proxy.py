"""``otel-llm proxy``: a reverse proxy in front of model servers that observes, rewrites and records what passes.

otel-llm proxy --upstream http://127.0.0.1:8000/v1
otel-llm proxy --upstream openai=https://api.openai.com/v1 --upstream vllm=http://gpu:8000/v1
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_llm.cli.arguments import count
from otel_llm.cli.output import say

if TYPE_CHECKING:
    import argparse

_MAIN = "import sys; from otel_llm.cli import main; sys.exit(main())"


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "proxy",
        help="serve as a reverse proxy that observes requests to models, of any language",
        description="Hands every request on to a server and the response back, byte for byte, and sends a span for each"
        " request to a model, as the standard OTEL_* variables say. With --tags, calls that a model writes as text"
        " become real ones on the way. SIGTERM lets requests finish, SIGHUP reads the configuration anew. Exit status:"
        " 0 after SIGTERM, 130 after an interrupt, 2 if serving cannot start.",
    )
    parser.add_argument(
        "--upstream",
        "--base-url",
        action="append",
        default=[],
        metavar="[NAME=]URL",
        help="a server; those with a name get what comes under /NAME/",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a YAML file with these settings, and more")
    parser.add_argument("--listen", metavar="HOST:PORT", help="where to listen (127.0.0.1:4321)")
    parser.add_argument(
        "--public", action="store_true", help="allow to listen where other machines reach it; needs --token-env"
    )
    parser.add_argument(
        "--tags", metavar="TARGET", help="rewrite calls that are written as text: openai, START,END, or a format"
    )
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="save the exact bytes of each response")
    parser.add_argument("--view", action="store_true", help="start otel-llm view beside it, and send the spans there")
    parser.add_argument(
        "--token-env", metavar="VAR", help="the environment variable with a token that every client must send"
    )
    parser.add_argument(
        "--key-env",
        action="append",
        default=[],
        metavar="[NAME=]VAR",
        help="the environment variable with the API key for a server, sent instead of the client's",
    )
    parser.add_argument(
        "--span-header", action="append", default=[], metavar="NAME", help="a request header to put on spans"
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="the certificate, with its chain, for TLS")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="the private key of the certificate")
    parser.add_argument("--workers", type=count, metavar="N", help="processes that share the port (1)")
    parser.add_argument("--no-spans", action="store_true", help="observe nothing: hand on, and record if asked to")
    parser.add_argument("--check", action="store_true", help="check the settings and exit")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM (0) or an interrupt (130); 2 if serving cannot start."""
    try:
        from otel_llm.exchanges.server_url import shown_url
        from otel_llm.proxy.configuration import ConfigurationError, Given, configured
        from otel_llm.proxy.running import run_process
        from otel_llm.proxy.server import tls_context
        from otel_llm.proxy.workers import run_workers
        from otel_llm.serving.sockets import address_of, listen_on
    except ImportError as error:
        return _fail(f"needs {error.name}: pip install 'otel-llm[proxy]'")
    given = Given(
        upstreams=arguments.upstream,
        listen=arguments.listen,
        public=arguments.public,
        tags=arguments.tags,
        record=arguments.record,
        token_env=arguments.token_env,
        key_envs=arguments.key_env,
        span_headers=arguments.span_header,
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        workers=arguments.workers,
        observes=False if arguments.no_spans else None,
    )
    reload = partial(configured, given, arguments.config)
    try:
        configuration = reload()
        tls_context(configuration)
        if arguments.check:
            tell("the settings are right")
            return 0
        if arguments.view:
            return _with_view(arguments.argv)
        if configuration.record is not None:
            configuration.record.mkdir(parents=True, exist_ok=True)
        listeners = [listen_on(configuration.listen, reuse_port=configuration.workers > 1)]
        host = configuration.listen.rpartition(":")[0]
        port = listeners[0].getsockname()[1]
        for _ in range(configuration.workers - 1):
            listeners.append(listen_on(f"{host}:{port}", reuse_port=True))  # noqa: PERF401  those before stay open
    except (ConfigurationError, OSError, ValueError) as error:
        return _fail(str(getattr(error, "strerror", None) or error))
    address = address_of(listeners[0])
    if configuration.tls_cert is not None:
        address = address.replace("http:", "https:", 1)
    for server in configuration.upstreams.servers:
        tell(f"listening on {address}{'/' + server.prefix if server.prefix else ''} for {shown_url(server.url)}")
    return (run_workers if configuration.workers > 1 else run_process)(configuration, listeners, reload, tell)


def tell(sentence: str) -> None:
    """Say something to whoever runs the proxy."""
    say(f"otel-llm proxy: {sentence}")


def _fail(sentence: str) -> int:
    tell(sentence)
    return 2


def _with_view(argv: list[str]) -> int:
    """Become `otel-llm view`, which runs this command without `--view`."""
    os.environ.setdefault("OTEL_SERVICE_NAME", "otel-llm-proxy")
    command = [sys.executable, "-c", _MAIN, *(one for one in argv if one != "--view")]
    os.execv(sys.executable, [sys.executable, "-c", _MAIN, "view", "--run", *command])  # noqa: S606  no shell
