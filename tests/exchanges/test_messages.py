"""`otel-llm inspect` and `replay` read Anthropic's messages like the other APIs, in each kind of file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_llm.cli import main
from otel_llm.demo.scripted_messages import event_values, message, message_events, text_block, thinking, tool_use

BLOCKS = (thinking("hm"), text_block("Sure."), tool_use("add_task", '{"title": '))
STREAM = b"".join(message_events(*BLOCKS)).decode()
WHOLE = json.dumps(message(text_block("Sure."), tool_use("add_task", {"title": "a"})))
TOOL = {"name": "add_task", "input_schema": {"type": "object", "properties": {"title": {"type": "string"}}}}
ASKED = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "tools": [TOOL]}


def cassette(body: str) -> str:
    exchange = {
        "request": {"method": "POST", "uri": "https://api.anthropic.com/v1/messages", "body": json.dumps(ASKED)},
        "response": {"status": {"code": 200}, "headers": {}, "body": {"string": body}},
    }
    return str(yaml.safe_dump({"interactions": [exchange], "version": 1}))


def archive(body: str) -> str:
    request = {
        "method": "POST",
        "url": "https://api.anthropic.com/v1/messages",
        "postData": {"text": json.dumps(ASKED)},
    }
    response = {"status": 200, "headers": [], "content": {"text": body}}
    return json.dumps({"log": {"version": "1.2", "entries": [{"request": request, "response": response}]}})


def recording(body: str) -> str:
    request = {"path": "/v1/messages", "body": ASKED}
    head = {"otel_llm_recording": 1, "request": request, "response": {"status": 200, "headers": {}}}
    return "\n".join([json.dumps(head), json.dumps({"t": 0.1, "text": body}), '{"t": 0.1, "end": "completed"}'])


def lines(_body: str) -> str:
    return "\n".join(map(json.dumps, event_values(*BLOCKS)))


FILES: dict[str, Callable[[str], str]] = {
    "cassette": cassette,
    "HAR": archive,
    "recording": recording,
    "saved": lambda body: f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{body}",
    "bare": lambda body: body,
    "JSON Lines": lines,
}


def inspected(
    path: Path, content: str, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, Any]]:
    path.write_text(content)
    status = main(["inspect", "--json", *options, str(path)])
    (line,) = capsys.readouterr().out.splitlines()
    return status, json.loads(line)


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(ASKED))
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_stream(name: str, tmp_path: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = () if name in {"cassette", "HAR", "recording"} else ("--request", str(asked))
    status, told = inspected(tmp_path / "file", FILES[name](STREAM), capsys, *options)
    assert (status, told["outcome"]) == (1, "completed")
    (anomaly,) = told["anomalies"]
    assert (anomaly["type"], anomaly["tool_call_index"]) == ("invalid_json", 2)
    assert anomaly["chunks"]


@pytest.mark.parametrize("name", [name for name in FILES if name not in {"JSON Lines", "saved"}])
def test_a_whole_message(name: str, tmp_path: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--request", str(asked)) if name == "bare" else ()
    status, told = inspected(tmp_path / "file", FILES[name](WHOLE), capsys, *options)
    assert (status, told["anomalies"]) == (0, [])
    assert [event["name"] for event in told["events"]][-2:] == [
        "otel_llm.tool_call.completed",
        "otel_llm.finish_reason",
    ]


def test_a_tool_that_is_not_declared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps({**ASKED, "tools": [{**TOOL, "name": "other"}]}))
    status, told = inspected(tmp_path / "file", WHOLE, capsys, "--request", str(asked))
    assert (status, [one["type"] for one in told["anomalies"]]) == (1, ["unknown_tool"])
