"""`otel-llm inspect` and `replay` read Gemini's responses like the other APIs, in each kind of file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_llm.cli import main
from otel_llm.demo.scripted_gemini import call_in_pieces, candidate, response, responses, text_part, text_pieces, whole
from otel_llm.demo.scripted_server import data

URL = "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent?alt=sse"
SCHEMA = {"type": "OBJECT", "properties": {"title": {"type": "STRING"}, "count": {"type": "INTEGER"}}}
ASKED = {
    "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
    "tools": [{"functionDeclarations": [{"name": "add_task", "parameters": SCHEMA}]}],
    "generationConfig": {"temperature": 0.5},
}
VALUES = responses(
    [text_part("hm", thought=True)],
    [text_part("Sure.")],
    *call_in_pieces("add_task", *text_pieces("$.title", "a task"), {"jsonPath": "$.count", "stringValue": "two"}),
)
STREAM = b"".join(map(data, VALUES)).decode()
WHOLE = json.dumps(whole(text_part("Sure."), {"functionCall": {"name": "add_task", "args": {"title": "a"}}}))


def cassette(body: str) -> str:
    exchange = {
        "request": {"method": "POST", "uri": URL, "body": json.dumps(ASKED)},
        "response": {"status": {"code": 200}, "headers": {}, "body": {"string": body}},
    }
    return str(yaml.safe_dump({"interactions": [exchange], "version": 1}))


def recording(body: str) -> str:
    request = {"path": "/v1beta/models/m:streamGenerateContent", "body": ASKED}
    head = {"otel_llm_recording": 1, "request": request, "response": {"status": 200, "headers": {}}}
    return "\n".join([json.dumps(head), json.dumps({"t": 0.1, "text": body}), '{"t": 0.1, "end": "completed"}'])


FILES: dict[str, Callable[[str], str]] = {
    "cassette": cassette,
    "recording": recording,
    "saved": lambda body: f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{body}",
    "bare": lambda body: body,
    # As the API streams without `alt=sse`.
    "array": lambda _: json.dumps(VALUES, indent=2),
    "JSON Lines": lambda _: "\n".join(map(json.dumps, VALUES)),
    "Code Assist": lambda _: b"".join(data({"response": one}) for one in VALUES).decode(),
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
    options = () if name in {"cassette", "recording"} else ("--request", str(asked))
    status, told = inspected(tmp_path / "file", FILES[name](STREAM), capsys, *options)
    assert (status, told["outcome"]) == (1, "completed")
    (anomaly,) = told["anomalies"]
    assert (anomaly["type"], anomaly["tool_call_index"]) == ("schema_violation", 0)
    assert anomaly["chunks"]
    completed = next(one for one in told["events"] if one["name"] == "otel_llm.tool_call.completed")
    assert completed["gen_ai.tool.call.arguments"] == '{"title":"a task","count":"two"}'


@pytest.mark.parametrize("name", ["cassette", "recording", "bare"])
def test_a_whole_response(name: str, tmp_path: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--request", str(asked)) if name == "bare" else ()
    status, told = inspected(tmp_path / "file", FILES[name](WHOLE), capsys, *options)
    assert (status, told["anomalies"]) == (0, [])
    assert [event["name"] for event in told["events"]][-2:] == [
        "otel_llm.tool_call.completed",
        "otel_llm.finish_reason",
    ]


@pytest.mark.parametrize("form", ["event", "array"])
def test_an_error_in_the_stream(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    values = [response(candidate([text_part("Su")])), failed]
    content = json.dumps(values) if form == "array" else b"".join(map(data, values)).decode()
    status, told = inspected(tmp_path / "file", content, capsys)
    assert (status, told["outcome"], told["anomalies"]) == (1, "error", [])
    assert "The model is overloaded." in told["note"]


def test_a_malformed_call(tmp_path: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Gemini tells with a finish reason that it could not read what its model wrote."""
    broken = json.dumps(response(candidate(None, "MALFORMED_FUNCTION_CALL", finishMessage="print(default_api.f())")))
    status, told = inspected(tmp_path / "file", broken, capsys, "--request", str(asked))
    assert status == 1
    assert [one["type"] for one in told["anomalies"]] == ["finish_reason_mismatch", "empty_response"]
