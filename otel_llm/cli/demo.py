"""``otel-llm demo``: a small agent and some broken streams, instrumented without code changes, with their timelines.

Each part is a program without telemetry of its own, run by ``opentelemetry-instrument`` like any application. Only the
loopback interface is needed. If a collector listens on it, the spans are sent there, too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from otel_llm.cli.output import say
from otel_llm.demo.command import opentelemetry_instrument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from types import FrameType

_PART_TIMEOUT: Final = 60.0  # seconds
_NEEDED: Final = ("openai", "rich", "opentelemetry.sdk", "opentelemetry.distro", "hypercorn")
_SERVICE: Final = "otel-llm-demo"
_COLLECTOR: Final = ("127.0.0.1", 4317)  # where the OpenTelemetry SDK sends by default
_SUMMARY_MARK: Final = "━━"  # how the terminal exporter starts a timeline


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "demo",
        help="watch healthy and broken tool calls on this terminal",
        description="A small agent and some broken streams, instrumented without code changes, with their timelines.",
    )
    parser.add_argument(
        "--view",
        action="store_true",
        help="end in `otel-llm view`, which is the default if standard output is a terminal",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Play all parts; 0 if each showed what it should, 1 if not, 2 if a package is missing."""
    missing = [name for name in _NEEDED if not _is_installed(name)]
    if missing:
        say(f"The demo needs {' and '.join(missing)}: pip install 'otel-llm[demo]'")
        return 2
    collector = _collector()
    with _exit_when_told_to_end():
        if collector or not (arguments.view or sys.stdout.isatty()):
            status = _play_all()
            if status == 0 and collector:
                print(f"They were also sent to the collector at {collector}, as the service {_SERVICE}.")
            return status
        with _view() as page:
            status = _play_all()
            if status == 0:
                # Who reads this may press Ctrl-C at once.
                with contextlib.suppress(KeyboardInterrupt):
                    print(f"See them in a browser at {page} until you press Ctrl-C.", flush=True)
                    threading.Event().wait()
        return status


@contextlib.contextmanager
def _exit_when_told_to_end() -> Iterator[None]:
    """Turn SIGTERM and the end of the terminal into an exit, which ends what was started."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):  # Windows has only the first
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, _exit)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _view() -> Iterator[str]:
    """A view that receives the demo's spans for the length of a block; the value is the address of its page."""
    ports = ("--otlp-http", "0", "--otlp-grpc", "0")
    code = "import sys; from otel_llm.cli import main; sys.exit(main())"
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            [sys.executable, "-c", code, "view", "--no-open", *ports, "--db", str(Path(folder) / "demo.sqlite3")],
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # an interrupt is for the demo, which ends the view
        )
        assert process.stderr is not None  # noqa: S101 - for the type checker
        try:
            output = process.stderr.readline() + process.stderr.readline()
            found = re.search(r"page is at (\S+)\n.* and (\S+) \(gRPC\)", output)
            if not found:
                raise RuntimeError(f"the view did not start: {output}")
            os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = found.group(2)
            yield found.group(1)
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()
            os.environ.pop("OTEL_EXPORTER_OTLP_ENDPOINT", None)


def _play_all() -> int:
    passed = [_play_agent(), *_play_broken_streams()]
    if not all(passed):
        print(flush=True)
        say(f"{passed.count(False)} of {len(passed)} parts did not show what they should.")
        return 1
    print("\nThat was one span for each request. OTEL_TRACES_EXPORTER says where they go.")
    return 0


def _play_agent() -> bool:
    from otel_llm.demo.llama_server import LlamaServerUnavailable, llama_server
    from otel_llm.demo.scripted_server import ScriptedServer
    from otel_llm.demo.scripts import HEALTHY_CONVERSATION

    with contextlib.ExitStack() as cleanup:
        try:
            base_url = cleanup.enter_context(llama_server())
            model = "a real llama.cpp server; the model is 300 KB of noise, steered by a grammar"
        except LlamaServerUnavailable as unavailable:
            print(f"{unavailable} A scripted server takes its place.")
            base_url = cleanup.enter_context(ScriptedServer(HEALTHY_CONVERSATION)).base_url
            model = "a scripted server"
        _heading(f"An agent calls its tools and answers, in two requests to {model}.")
        return _play("otel_llm.demo.agent", base_url, expected="completed")


def _play_broken_streams() -> list[bool]:
    from otel_llm.demo.scripted_server import ScriptedServer
    from otel_llm.demo.scripts import BROKEN_STREAMS

    passed = []
    for broken in BROKEN_STREAMS:
        _heading(broken.story)
        with ScriptedServer(broken.script) as server:
            passed.append(_play("otel_llm.demo.broken_stream", server.base_url, expected=broken.named))
    return passed


def _heading(sentence: str) -> None:
    lines = textwrap.wrap(sentence, width=76)
    print("\n" + "\n".join(f"== {line}" for line in lines) + "\n", flush=True)


def _play(module: str, base_url: str, *, expected: str) -> bool:
    """Run ``module`` with instrumentation and show its output.

    The value is whether it succeeded and its timeline contains ``expected``.
    """
    command = [*opentelemetry_instrument(), sys.executable, "-m", module, base_url]
    try:
        ended = subprocess.run(  # noqa: S603 - a module of this package
            command,
            env=_environment(),
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=_PART_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        say(f"This part was still running after {_PART_TIMEOUT:.0f} s.")
        return False
    print(flush=True)
    print(ended.stderr, end="", file=sys.stderr, flush=True)
    if ended.returncode != 0:
        say(f"This part ended with status {ended.returncode}.")
        return False
    if _SUMMARY_MARK not in ended.stderr or expected not in ended.stderr:
        say(f"This part shows no timeline with {expected}, although it should.")
        return False
    return True


def _environment() -> dict[str, str]:
    """This process's environment, with telemetry settings of the demo."""
    others = {entry.name for entry in entry_points(group="opentelemetry_instrumentor")} - {"otel_llm"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    if sys.stderr.isatty():
        environment.setdefault("FORCE_COLOR", "1")  # its output reaches the terminal through a pipe
    collector = _collector()
    if collector:
        environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    return environment | {
        "OTEL_SERVICE_NAME": _SERVICE,
        "OTEL_TRACES_EXPORTER": "otel_llm_timeline,otlp" if collector else "otel_llm_timeline",
        "OTEL_METRICS_EXPORTER": "otlp" if collector else "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(sorted(others)),
        "NO_PROXY": "127.0.0.1",
        "PYTHONUTF8": "1",
    }


def _collector() -> str | None:
    """The endpoint in the user's environment, or else the default one if something listens there."""
    named = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if named:
        return named
    try:
        socket.create_connection(_COLLECTOR, timeout=1).close()
    except OSError:
        return None
    return "http://{}:{}".format(*_COLLECTOR)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False
