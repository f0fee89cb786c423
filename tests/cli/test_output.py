"""Commands whose reader has gone: processes that write into a pipe without a reader."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, Sleep, chunk, completion, text
from tests.helpers.corpus_streams import CORPUS
from tests.helpers.viewing import call, otlp, span

OTEL_LLM = str(Path(sys.executable).with_name("otel-llm"))
BROKEN = str(CORPUS / "broken-leak-hermes.jsonl")
NOWHERE = "http://127.0.0.1:9"
DOCTOR = ["doctor", "--collector-health", NOWHERE, "--no-jaeger", "--no-prometheus"]


def ended(*command: str, typed: str = "", unbuffered: str = "") -> tuple[int, str]:
    """The exit status of a command whose standard output has no reader, and its standard error."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [OTEL_LLM, *command],
            input=typed,
            env=os.environ | {"OTEL_SDK_DISABLED": "true", "PYTHONUNBUFFERED": unbuffered},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


QUIETLY = (128 + 13, "")


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["--version"],
        ["demo"],
        DOCTOR,
        [*DOCTOR, "--json"],
        ["explain"],
        ["explain", "stalled"],
        ["explain", "--markdown"],
        ["inspect", BROKEN],
        ["inspect", "--json", BROKEN],
        *([name, "--help"] for name in ("chat", "probe", "record", "replay", "show", "view")),
    ],
    ids=" ".join,
)
def test_it_ends_quietly(command: list[str]) -> None:
    assert ended(*command) == QUIETLY


@pytest.mark.parametrize(
    "command", [["explain"], ["explain", "--markdown"], ["inspect", "--json", BROKEN]], ids=" ".join
)
def test_it_ends_quietly_without_a_buffer(command: list[str]) -> None:
    assert ended(*command, unbuffered="1") == QUIETLY


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_show_ends_quietly(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(otlp(span(*call(0, "add_task", "{}")))), encoding="utf-8")
    assert ended("show", str(file), *options) == QUIETLY


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_chat_ends_quietly(options: list[str]) -> None:
    answers: Any = (
        [chunk(text("Hi")), chunk(finish_reason="stop"), DONE] if options else [Answer(completion(text("Hi")))]
    )
    with ScriptedServer(answers) as server:
        assert ended("chat", "--model", "m", "--base-url", server.base_url, *options, typed="hello\n") == QUIETLY


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_probe_ends_quietly(options: list[str]) -> None:
    with ScriptedServer(lambda _: [Answer(completion(text("Hi")))]) as server:
        probe = ["probe", "--model", "m", "--base-url", server.base_url, "--only", "no_call", *options]
        assert ended(*probe) == QUIETLY


def test_recording_goes_on_without_a_reader_of_standard_error(tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(chunk(text("Hi")), Sleep(0.05), chunk(finish_reason="stop"), DONE)
    command = [OTEL_LLM, "record", "--upstream", server.base_url, "--out", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        process.stderr.close()
        for _ in range(2):
            answer = httpx.post(f"{url}/chat/completions", json={"stream": True}, trust_env=False)
            assert answer.text.endswith("[DONE]\n\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["0001.jsonl", "0002.jsonl"]
