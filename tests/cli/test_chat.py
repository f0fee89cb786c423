"""`otel-llm chat` with input on standard input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Script,
    ScriptedServer,
    Step,
    chunk,
    completion,
    text,
    tool_call_delta,
)
from tests.helpers.commands import run_command
from tests.helpers.streams import ends, says

BODY = '{"name": "list_files", "arguments": {"path": "src"}}'
TEXT = f"Sure.\n<|tool_call|>\n{BODY}\n</|tool_call|>"
STEPS = [*(says(TEXT[start : start + 7]) for start in range(0, len(TEXT), 7)), ends("stop")]


def options_of(server: ScriptedServer | None, *options: str) -> list[str]:
    return ["chat", "--model", "m", *options, *([] if server is None else ["--base-url", server.base_url])]


def chat(server: ScriptedServer | None, typed: str, *options: str) -> subprocess.CompletedProcess[str]:
    return run_command(*options_of(server, *options), typed=typed)


def chat_process(server: ScriptedServer, typed: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OPENAI_"))}
    return subprocess.run(
        [str(Path(sys.executable).with_name("otel-llm")), *options_of(server, "--stream")],
        input=typed,
        env=environ | {"PYTHONUTF8": "1"} | variables,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
        check=False,
    )


def test_the_users_own_tags() -> None:
    with ScriptedServer(STEPS) as server:
        done = chat_process(server, "/tooltag 'ojlk' 'dfsd'\nlist the files\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Tool call tags set to: ojlk...dfsd\nSure.\n<ojlk>{BODY}</dfsd>\n"


def test_real_calls_and_off() -> None:
    with ScriptedServer(STEPS) as server:
        done = chat(server, "/tooltag openai\nlist\n/tooltag off\nagain\n/quit\nnever sent\n", "--stream")
        sent = [request.body["messages"] for request in server.requests]
    assert done.stdout == (
        "Tool call tags set to: openai\nSure.\n\n"
        '[tool call] list_files({"path": "src"})\n'
        f"Tool call tags are off.\n{TEXT}\n"
    )
    assert len(sent) == 2
    assert [message["role"] for message in sent[1]] == ["user", "assistant", "tool", "user"]
    assert sent[1][2]["tool_call_id"] == sent[1][1]["tool_calls"][0]["id"]


def test_tools_of_a_file_and_tags_from_the_start(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "list_files", "parameters": {"type": "object"}}}]
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(tools))
    with ScriptedServer([says(BODY), ends("stop")]) as server:
        done = chat(server, "list\n", "--stream", "--tools", str(file), "--tooltag", "xml")
        assert server.requests[0].body["tools"] == tools
    assert done.stdout == f"Tool call tags set to: <tool_call>...</tool_call>\n<tool_call>{BODY}</tool_call>\n"


def test_wrong_commands_are_explained() -> None:
    done = chat(None, "/tooltag a b c\n/tooltag '{' '}'\n/tooltag 'a\n/nope\n/help\n/clear\n")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Tool call tags not set: use /tooltag")
    assert "occurs inside JSON" in lines[1]
    assert "No closing quotation" in lines[2]
    assert lines[3] == "There is no command /nope; /help lists them."
    assert lines[-1] == "This is a new conversation."
    assert done.returncode == 0


def test_the_chat_goes_on_without_a_server() -> None:
    done = chat(None, "hello\n/help\n", "--base-url", "http://127.0.0.1:9/v1")
    assert "[error] APIConnectionError: Connection error." in done.stderr
    assert "/tooltag" in done.stdout
    assert done.returncode == 0


def test_wrong_tags_at_the_start() -> None:
    done = chat(None, "", "--tooltag", "a,b,c")
    assert done.returncode == 2
    assert done.stderr.startswith("otel-llm chat: 'a,b,c' names 3 tags")


def test_empty_tags_are_refused() -> None:
    done = chat(None, "/tooltag ''\n/tooltag ' '\n")
    assert [line.partition(";")[0] for line in done.stdout.splitlines()] == [
        "Tool call tags not set: the tags are empty"
    ] * 2


# -- malformed answers and limited terminals --

HTML = Answer(b"<html>\nhi</html>", headers={"Content-Type": "text/html"})
FINE: list[Step] = [says("fine"), ends("stop"), DONE]
WHOLE = [Answer(completion(text("fine")))]


@pytest.mark.parametrize(
    "bad",
    [
        [HTML],
        [Answer(completion(text("x"), choices=[]))],
        [Answer(completion(text("x"), choices=None))],
        [Answer(b"{oops")],
        [Answer(b"<html>\nbad\ngateway</html>", status=400, headers={"Content-Type": "text/html"})],
    ],
)
def test_a_malformed_answer_is_one_line_and_the_chat_goes_on(bad: Any) -> None:
    with ScriptedServer([bad, WHOLE]) as server:
        done = chat(server, "a\nb\n")
        sent = [request.body["messages"] for request in server.requests]
    assert done.stdout == "fine\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("[error] ")
    assert done.returncode == 0
    assert sent[-1] == [{"role": "user", "content": "b"}]


@pytest.mark.parametrize(
    "bad",
    [
        [HTML],
        [chunk(choices=None), *FINE],
        [chunk(choices=[{"index": 0, "delta": None, "finish_reason": None}]), *FINE],
        [b"data: {oops\n\n"],
    ],
)
def test_a_malformed_stream_is_one_line_and_the_chat_goes_on(bad: Any) -> None:
    with ScriptedServer([bad, FINE]) as server:
        done = chat(server, "a\nb\n", "--stream")
    assert done.stdout == "fine\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("[error] ")
    assert done.returncode == 0


def test_the_answer_after_a_broken_stream_starts_on_a_new_line() -> None:
    half: list[Step] = [says("half"), b"data: {oops\n\n"]
    with ScriptedServer([half, FINE]) as server:
        done = chat(server, "a\nb\n", "--stream")
    assert done.stdout == "half\nfine\n"
    assert done.stderr.startswith("[error] JSONDecodeError: ")


SURROGATE = chunk(tool_call_delta(id="c", name="f", arguments="\ud800"))


@pytest.mark.parametrize(
    ("script", "options", "shown"),
    [
        ([[says("a\ud800b"), ends("stop"), DONE], FINE], ["--stream"], "a\\ud800b\nfine\n"),
        ([[SURROGATE, ends(), DONE], FINE], ["--stream"], "\n[tool call] f(?)\nfine\n"),
        ([[Answer(completion(text("a\ud800b")))], WHOLE], [], "a\\ud800b\nfine\n"),
    ],
)
def test_a_lone_surrogate_is_shown_and_the_next_request_can_be_sent(
    script: Script, options: list[str], shown: str
) -> None:
    with ScriptedServer(script) as server:
        done = chat(server, "a\nb\n", *options)
        assert len(server.requests) == 2
    assert (done.stdout, done.stderr, done.returncode) == (shown, "", 0)


def test_input_that_is_not_utf8() -> None:
    with ScriptedServer(FINE) as server:
        done = chat_process(server, "hi \udcff\n")
        assert server.requests[0].body["messages"] == [{"role": "user", "content": "hi \ufffd"}]
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)


def test_output_that_is_ascii() -> None:
    script: list[Step] = [says("\u00e9"), ends("stop"), DONE]
    with ScriptedServer(script) as server:
        done = chat_process(server, "a\n", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.stdout, done.stderr, done.returncode) == ("\\xe9\n", "", 0)
