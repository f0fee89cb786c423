"""``otel-llm probe``: is this server's tool calling correct?

    otel-llm probe --base-url http://127.0.0.1:8000/v1 --model qwen3
    otel-llm probe --base-url http://127.0.0.1:8000 --model qwen3 --api messages

Exit status: 0 no fault, 1 a fault, 2 the server cannot be probed, 3 nothing could be judged.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otel_llm.cli.arguments import add_stall_seconds, seconds
from otel_llm.cli.base_url import OPENAI, chosen_base_url
from otel_llm.cli.output import line_printer, say
from otel_llm.cli.progress import Progress
from otel_llm.exchanges.server_url import check_url

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from otel_llm.probe.judging import Result

# The SDK by whose variables a server and a key are found.
_SDK_OF_API: Final = {"chat": "openai", "responses": "openai", "messages": "anthropic"}
_STYLES: Final = {"ok": "green", "fault": "bold red", "model": "yellow", "not judged": "dim"}


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "probe",
        help="check whether a server's tool calling is correct",
        description="Sends a battery of requests, streamed and not streamed, to a server of OpenAI's chat completions,"
        " of OpenAI's Responses API or of Anthropic's messages, and judges each response. Exit status: 0"
        " no fault, 1 a fault, 2 the server cannot be probed, 3 nothing could be judged.",
    )
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help=f"default: OPENAI_BASE_URL, or {OPENAI}; for messages, ANTHROPIC_BASE_URL, or Anthropic's",
    )
    parser.add_argument(
        "--api", choices=_SDK_OF_API, default="chat", help="the API to ask in (%(default)s); messages are Anthropic's"
    )
    parser.add_argument("--model", required=True, help="the model's name")
    parser.add_argument("--api-key", help="default: OPENAI_API_KEY, or ANTHROPIC_API_KEY; most local servers need none")
    parser.add_argument("--only", action="append", metavar="CHECK", help="only this check; can be repeated")
    parser.add_argument(
        "--extra-body", default="{}", metavar="JSON", help="fields to add to every request; null leaves one out"
    )
    parser.add_argument("--timeout", type=seconds, default=120.0, metavar="S", help="for one read of a response (120)")
    add_stall_seconds(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="also write JUnit XML")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Probe the server; the value is the exit status."""
    try:
        from otel_llm.exchanges.redaction import masked
        from otel_llm.probe import answers as _answers  # noqa: F401 - needs httpx
        from otel_llm.probe.apis import APIS
        from otel_llm.probe.battery import BATTERY
        from otel_llm.probe.reports import as_json, as_junit

        show = _quiet if arguments.json else _table()
    except ImportError as error:
        say(f"otel-llm probe needs {error.name}: pip install 'otel-llm[cli]'")
        return 2
    battery = APIS[arguments.api].checks(BATTERY)
    names = [check.name for check in battery]
    unknown = [name for name in arguments.only or () if name not in names]
    if unknown:
        of_api = "" if arguments.api == "chat" else f" of {arguments.api}"
        say(f"otel-llm probe: unknown check {unknown[0]}{of_api}; there are {', '.join(names)}")
        return 2
    extra = _json_object(arguments.extra_body)
    if extra is None:
        say("otel-llm probe: --extra-body is not a JSON object")
        return 2
    checks = [check for check in battery if not arguments.only or check.name in arguments.only]
    base_url = chosen_base_url(arguments.base_url, _SDK_OF_API[arguments.api])
    try:
        check_url(base_url)
    except ValueError as error:
        say(f"otel-llm probe: {error}")
        return 2
    results = asyncio.run(_probe(base_url, arguments, extra, checks, show))
    if results is None:
        return 2
    base_url = masked(base_url, ())
    if arguments.junit is not None:
        try:
            arguments.junit.write_text(as_junit(base_url, arguments.model, results), encoding="utf-8")
        except OSError as error:
            say(f"otel-llm: {arguments.junit}: {error.strerror}")
            return 2
    status: Counter[str] = Counter(result.status for result in results)
    if arguments.json:
        print(json.dumps(as_json(base_url, arguments.model, results, arguments.api), indent=2))
    else:
        print(", ".join(f"{status[name]} {name}" for name in _STYLES if status[name]))
    if status["not judged"] == len(results):
        say("otel-llm probe: nothing could be judged: this says neither that the server is correct nor that it is not")
        return 3
    return 1 if status["fault"] else 0


def _json_object(text: str) -> dict[str, Any] | None:
    from otel_llm.protocol.errors import UnreadableError
    from otel_llm.protocol.json_values import parse_json

    try:
        value = parse_json(text)
    except UnreadableError:
        return None
    return value if isinstance(value, dict) else None


async def _probe(
    base_url: str,
    arguments: argparse.Namespace,
    extra: dict[str, Any],
    checks: Any,
    show: Callable[[Result], None],
) -> list[Result] | None:
    from otel_llm.exchanges.redaction import masked
    from otel_llm.probe.answers import Server
    from otel_llm.probe.apis import APIS
    from otel_llm.probe.judging import run_checks

    progress = Progress(wanted=not arguments.json)
    api_key, token = _credentials(arguments)
    server = Server(
        base_url,
        arguments.model,
        api_key=api_key,
        token=token,
        api=APIS[arguments.api],
        extra=extra,
        timeout=arguments.timeout,
        stall_seconds=arguments.stall_seconds,
        waits=lambda seconds: progress.also(f"the server is busy: again in {seconds:.1f} s"),
    )
    try:
        async with progress.shown():
            progress.doing("greeting")
            greeting = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
            hello = await server.ask(greeting, stream=False)
            # A server that rejects this rejects everything: for the key, the model or a field that every request has.
            if hello.status == 0 or hello.refused or hello.busy:
                progress.clear()
                status = f"status {hello.status}, " if hello.status else ""
                say(f"otel-llm probe: {masked(base_url, ())}: {status}{hello.error}")
                return None
            results: list[Result] = []
            starts = lambda check: progress.doing(f"{len(results) + 1}/{len(checks)} {check.name}")  # noqa: E731
            async for result in run_checks(server, checks, starts):
                results.append(result)
                progress.clear()
                show(result)
            return results
    finally:
        await server.aclose()


def _credentials(arguments: argparse.Namespace) -> tuple[str, str]:
    """The API key and the token, as the API's SDK finds them. Servers that check none may still want a header."""
    if _SDK_OF_API[arguments.api] == "openai":
        return arguments.api_key or os.environ.get("OPENAI_API_KEY") or "none", ""
    token = os.environ.get("ANTHROPIC_AUTH_TOKEN", "")
    return arguments.api_key or os.environ.get("ANTHROPIC_API_KEY") or ("" if token else "none"), token


def _quiet(_result: Result) -> None:
    """JSON is printed at the end."""


def _table() -> Callable[[Result], None]:
    """A function that prints a result as lines of a table. Raises ImportError if rich is not installed."""
    from otel_llm.protocol.unicode_text import one_line

    print_lines = line_printer()

    def show(result: Result) -> None:
        lines = [
            [
                (f"{result.status:<11}", _STYLES[result.status]),
                (f"{result.check.name:<19}", "bold"),
                (f"{result.seconds:6.1f} s  ", "dim"),
                (result.check.title, ""),
            ]
        ]
        for one in result.findings:
            style = {"fault": "red", "model": "yellow"}.get(one.kind, "dim")
            lines.append([(f"           {one_line(one.text)}", style)])
        print_lines(lines)

    return show
