"""`otel-llm demo` as a user runs it: a process, judged by its output and exit status."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from otel_llm._version import __version__
from otel_llm.cli import main
from otel_llm.demo.scripts import BROKEN_STREAMS

MARK = f"DEMO_OF_TEST_PROCESS_{os.getpid()}"
"""An environment variable that marks the processes which the demo starts."""

ONLY_THE_AGENT = """
import sys
from otel_llm.cli import demo, main
from otel_llm.demo import scripts
scripts.BROKEN_STREAMS = ()
sys.modules["xllamacpp"] = None
{}
sys.exit(main(["demo"]))
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command; the user's own telemetry settings must not matter."""
    return subprocess.run(
        command,
        env=os.environ | {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp", "PYTHONUTF8": "1", MARK: "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def shown() -> subprocess.CompletedProcess[str]:
    return run(str(Path(sys.executable).with_name("otel-llm")), "demo")


def test_the_demo_succeeds_and_leaves_nothing_running(shown: subprocess.CompletedProcess[str]) -> None:
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert not [process for process in psutil.process_iter(["environ"]) if MARK in (process.info["environ"] or ())]


def test_the_agent_does_its_work(shown: subprocess.CompletedProcess[str]) -> None:
    lines = shown.stdout.splitlines()
    assert [line for line in lines if line.startswith("you:")]
    assert [line for line in lines if re.match(r"agent:  (add_task|list_tasks)\(\{.*\}\) -> ", line)]
    assert "model:  Done, and your list is up to date." in lines


def test_each_of_its_two_requests_has_a_timeline(shown: subprocess.CompletedProcess[str]) -> None:
    calls, answer = timelines(shown.stderr)[:2]
    for words in ("detected", "named", "arguments", "completed", "finish reason   tool_calls", "first tool call after"):
        assert words in calls
    assert re.search(r"completed       (add_task|list_tasks) '\{", calls)
    assert re.search(r"\d+ tokens in, \d+ out", calls)
    assert "text started" in answer
    assert "finish reason   stop" in answer
    assert "detected" not in answer


@pytest.mark.parametrize("position", range(len(BROKEN_STREAMS)))
def test_each_fault_is_named(shown: subprocess.CompletedProcess[str], position: int) -> None:
    broken = BROKEN_STREAMS[position]
    timeline = timelines(shown.stderr)[2 + position]
    assert broken.named in timeline
    assert "ANOMALY" in timeline or "error  " in timeline
    assert broken.story.split(".")[0][:60] in shown.stdout


def test_nothing_else_is_printed(shown: subprocess.CompletedProcess[str]) -> None:
    assert "\x1b" not in shown.stdout + shown.stderr, "colours, although this is not a terminal"
    strangers = [line for line in shown.stderr.splitlines() if line and not line.startswith(("━━ ", "   "))]
    assert not strangers
    assert len(timelines(shown.stderr)) == 2 + len(BROKEN_STREAMS)


def test_a_missing_llama_server_is_replaced() -> None:
    ended = run(sys.executable, "-c", ONLY_THE_AGENT.format(""))
    assert ended.returncode == 0, ended.stderr
    assert "A llama.cpp server needs xllamacpp: pip install 'otel-llm[demo]'" in ended.stdout
    assert "A scripted server takes its place." in ended.stdout
    assert 'agent:  list_tasks({}) -> ["buy milk"]' in ended.stdout
    calls, answer = timelines(ended.stderr)
    assert "140 tokens in, 31 out" in calls
    assert "ANOMALY" not in calls + answer, "a healthy stream has an anomaly"


def test_a_part_without_its_timeline_is_a_failure() -> None:
    no_telemetry = "demo.opentelemetry_instrument = lambda: []"
    ended = run(sys.executable, "-c", ONLY_THE_AGENT.format(no_telemetry))
    assert ended.returncode == 1
    assert "shows no timeline" in ended.stderr
    assert "1 of 1 parts" in ended.stderr


def test_a_part_that_fails_is_a_failure() -> None:
    ended = run(sys.executable, "-c", ONLY_THE_AGENT.format("scripts.HEALTHY_CONVERSATION = ([], [], [])[:1]"))
    assert ended.returncode == 1
    assert "ended with status 1" in ended.stderr


def test_a_missing_package_is_named() -> None:
    ended = run(sys.executable, "-c", ONLY_THE_AGENT.format('sys.modules["rich"] = None'))
    assert ended.returncode == 2
    assert ended.stderr == "The demo needs rich: pip install 'otel-llm[demo]'\n"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"otel-llm {__version__}\n"


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "usage: otel-llm" in capsys.readouterr().err


def timelines(stderr: str) -> list[str]:
    """The timelines in the output, without what is printed between them."""
    timelines: list[str] = []
    for line in stderr.splitlines():
        if line.startswith("━━ "):
            timelines.append(line)
        elif line.startswith("   "):
            timelines[-1] += "\n" + line
    return timelines


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_it_ends_in_a_view_of_its_spans(number: int, status: int) -> None:
    code = ONLY_THE_AGENT.format("").replace('["demo"]', '["demo", "--view"]')
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as demo:
        too_late = threading.Timer(120, demo.kill)
        too_late.start()
        try:
            assert demo.stdout is not None
            page = None
            for line in demo.stdout:
                if found := re.search(r"in a browser at (\S+) until", line):
                    page = found.group(1)
                    break
            assert page, "it did not print the address"
            shown = httpx.get(f"{page}/api/requests", trust_env=False).json()
            assert [one["service"] for one in shown["requests"]] == ["otel-llm-demo"] * 2
            assert shown["requests"][1]["tools"] == ["add_task", "list_tasks"]
            demo.send_signal(number)
            assert demo.wait() == status
        finally:
            demo.kill()
            too_late.cancel()
    with pytest.raises(httpx.ConnectError):
        httpx.get(page, trust_env=False)
