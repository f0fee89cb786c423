"""`otel-llm inspect` names the bodies of APIs that it does not read, and accuses them of nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_llm.cli import main
from otel_llm.protocol.apis import kind_of


def events(*values: dict[str, Any], named: bool = True) -> str:
    return "".join(
        (f"event: {value['type']}\n" if named and "type" in value else "") + f"data: {json.dumps(value)}\n\n"
        for value in values
    )


OLLAMA = {"model": "m", "created_at": "2026", "response": "Hi", "done": False}
COHERE = {"id": "x", "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}}
BODIES: dict[str, tuple[str, str]] = {
    "an Anthropic completion": (
        json.dumps({"type": "completion", "id": "compl_1", "completion": "Hi", "stop_reason": "stop_sequence"}),
        "an Anthropic completion",
    ),
    "embeddings": (
        json.dumps({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}]}),
        "embeddings",
    ),
    "a list of models": (json.dumps({"object": "list", "data": [{"object": "model"}]}), "a list of models"),
    "Ollama's lines": ("\n".join(map(json.dumps, [OLLAMA, {**OLLAMA, "done": True}])), "an Ollama completion"),
    "an Ollama completion": (json.dumps({**OLLAMA, "done": True}), "an Ollama completion"),
    "a Cohere chat": (json.dumps({**COHERE, "finish_reason": "COMPLETE"}), "a Cohere chat"),
    "a Cohere stream": (events({"type": "message-start"}, {"type": "content-delta"}), "a Cohere chat"),
    "images": (json.dumps({"created": 1, "data": [{"b64_json": "x"}]}), "images"),
    "a run of an assistant": (events({"object": "thread.run", "id": "x"}), "an object 'thread.run'"),
    "any JSON": ('{"hello": "world"}', "JSON of no API that is known"),
    "a stream of any JSON": (events({"hello": "world"}, {}), "JSON of no API that is known"),
    "no object": ("[1, 2]", "JSON of no API that is known"),
    "nothing": ("", "an empty body"),
    "white space": ("\n\n", "an empty body"),
}


def cassette(body: str, uri: str = "https://x/v1/chat/completions", status: int = 200) -> str:
    exchange = {
        "request": {"method": "POST", "uri": uri, "body": json.dumps({"model": "m", "messages": []})},
        "response": {"status": {"code": status}, "headers": {}, "body": {"string": body}},
    }
    return str(yaml.safe_dump({"interactions": [exchange], "version": 1}))


def saved(body: str) -> str:
    return f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{body}"


def recording(body: str) -> str:
    head = '{"otel_llm_recording": 1, "request": {}, "response": {"status": 200, "headers": {}}}'
    return "\n".join([head, json.dumps({"t": 0.1, "text": body}), '{"t": 0.1, "end": "completed"}'])


def inspected(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]]]:
    path = tmp_path / "file"
    path.write_bytes(content.encode())
    status = main(["inspect", "--json", str(path)])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("file", [cassette, saved, recording], ids=["cassette", "saved", "recording"])
def test_a_body_that_is_not_read(file: Any, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body, what = BODIES[name]
    if file is recording and what == "an empty body":
        pytest.skip("a recording has all that came, so an empty body in it is judged, as another test shows")
    status, (one,) = inspected(tmp_path, file(body), capsys)
    assert (status, one["outcome"], one["note"], one["anomalies"]) == (0, "unread", f"{what}; not read", [])


@pytest.mark.parametrize(
    "name", [name for name, (_, what) in BODIES.items() if "no API" not in what and what != "an empty body"]
)
def test_a_file_of_nothing_else(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body, what = BODIES[name]
    status, told = inspected(tmp_path, body, capsys)
    assert status == 0
    assert {one["note"] for one in told} == {f"{what}; not read"}


def test_an_empty_response_that_was_recorded_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recording has all that came, so nothing did."""
    request = {"path": "/v1/chat/completions", "body": {"messages": [], "stream": True}}
    head = {"otel_llm_recording": 1, "request": request, "response": {"status": 200}}
    content = f'{json.dumps(head)}\n{{"t": 0.1, "end": "completed"}}'
    status, (one,) = inspected(tmp_path, content, capsys)
    assert status == 1
    assert [anomaly["type"] for anomaly in one["anomalies"]] == ["missing_finish_reason"]


PATHS = {
    "https://api.anthropic.com/v1/complete": "an Anthropic completion",
    "https://x/v1/embeddings": "embeddings",
    "https://bedrock/model/m/invoke-with-response-stream": "a Bedrock response",
    "http://localhost:11434/api/generate": "an Ollama completion",
    "http://localhost:8080/completion": "a text completion",
}


@pytest.mark.parametrize("uri", PATHS)
@pytest.mark.parametrize("body", ["\x00\x01binary", '{"of": "no kind"}'], ids=["binary", "JSON"])
def test_the_path_names_a_body_that_tells_nothing(
    uri: str, body: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, (one,) = inspected(tmp_path, cassette(body.replace("\x00", "\\0"), uri), capsys)
    assert (status, one["note"]) == (0, f"{PATHS[uri]}; not read")


@pytest.mark.parametrize("uri", PATHS)
def test_an_error_of_another_api(uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, (one,) = inspected(tmp_path, cassette('{"error": {"message": "no"}}', uri, 429), capsys)
    assert (status, one["note"]) == (0, f"{PATHS[uri]} with status 429; not read")


def test_it_is_named_in_the_text_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.write_text(json.dumps(OLLAMA))
    assert main(["inspect", str(path)]) == 0
    assert capsys.readouterr().out.replace("\n", "") == f"{path}: response: an Ollama completion; not read"


# -- failures in place of a stream, which are told --


TOLD = {
    "a JSON error": ('{"error": {"message": "no luck"}}', "an error: no luck"),
    "an error of vLLM": ('{"object": "error", "message": "no luck", "code": 400}', "an error: no luck"),
    "a field of its own": ('error: {"code": 500, "message": "no luck"}\n\n', "an error outside the events: no luck"),
    "a text in a field": ("error: no luck\n\n", "an error outside the events: no luck"),
    "an error in a field": (
        'error: {"error": {"message": "no luck"}}\n\ndata: [DONE]\n\n',
        "an error outside the events: no luck",
    ),
    "an error in a line": (
        'data: {"choices": []}\n\n{"error": {"message": "no luck"}}\n',
        "an error outside the events",
    ),
    "an error event": ('event: error\ndata: {"error": "no luck"}\n\n', "an error event: no luck"),
    "an error of Anthropic": (
        'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "no luck"}}\n\n',
        "an error event: no luck",
    ),
    "a page": ("<html>no luck</html>\n", "the body is neither a stream nor JSON: <html>no luck</html>"),
}


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("file", [cassette, saved, recording], ids=["cassette", "saved", "recording"])
def test_an_error_is_told(file: Any, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body, note = TOLD[name]
    status, (one,) = inspected(tmp_path, file(body), capsys)
    assert (status, one["outcome"]) == (1, "error")
    assert one["note"].startswith(note)
    assert "no luck" in one["note"]
    assert {anomaly["type"] for anomaly in one["anomalies"]} <= {"invalid_framing", "wrong_content_type"}
    if "outside" in note:
        assert "invalid_framing" in [anomaly["type"] for anomaly in one["anomalies"]]


def test_a_hostile_object_is_shown_in_one_line() -> None:
    kind = kind_of({"object": "x\x1b[2J\n" * 100})
    assert kind is not None
    assert "\x1b" not in kind.name
    assert "\n" not in kind.name
    assert len(kind.name) < 200
