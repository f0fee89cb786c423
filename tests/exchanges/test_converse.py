"""`otel-llm inspect` and `replay` read Bedrock's Converse API like the other APIs, in each kind of file."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_llm.cli import main
from otel_llm.demo.scripted_converse import converse_events, event, event_values, response, text_block, tool_use
from otel_llm.demo.scripted_messages import event_values as message_values
from otel_llm.demo.scripted_messages import text_block as message_text
from otel_llm.demo.scripted_messages import tool_use as message_call
from otel_llm.exchanges.replaying import open_replay
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.event_stream import MEDIA_TYPE, MessageReader

ASKED = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
EVENTS = converse_events(text_block("Sure."), tool_use("add_task", {"title": "a"}))
STREAM = b"".join(EVENTS)
WHOLE = json.dumps(response(tool_use("add_task", {"title": "a"}))).encode()
URL = "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-pro-v1%3A0/converse"


def exchange(body: bytes, *, stream: bool, encode: Callable[[bytes], Any]) -> Any:
    kind = MEDIA_TYPE if stream else "application/json"
    return {
        "request": {"method": "POST", "uri": URL + "-stream" * stream, "body": json.dumps(ASKED)},
        "response": {"status": {"code": 200}, "headers": {"Content-Type": [kind]}, "body": encode(body)},
    }


def cassette(body: bytes, *, stream: bool = True) -> bytes:
    """As vcrpy keeps it: bytes are YAML's `!!binary`."""
    made = exchange(body, stream=stream, encode=lambda data: {"string": data})
    return yaml.safe_dump({"version": 1, "interactions": [made]}).encode()


def archive(body: bytes) -> bytes:
    encoded = base64.b64encode(body).decode()
    entry = {
        "request": {"method": "POST", "url": URL + "-stream", "postData": {"text": json.dumps(ASKED)}},
        "response": {"status": 200, "headers": [], "content": {"text": encoded, "encoding": "base64"}},
    }
    return json.dumps({"log": {"entries": [entry]}}).encode()


FILES = {
    "a saved stream": STREAM,
    "a saved stream with its headers": b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n\r\n" % MEDIA_TYPE.encode() + STREAM,
    "a cassette": cassette(STREAM),
    "a cassette of a whole response": cassette(WHOLE, stream=False),
    "an archive": archive(STREAM),
    "a whole response": WHOLE,
    "lines of events": "\n".join(
        json.dumps(value) for value in event_values(text_block("Sure."), tool_use("add_task", {"title": "a"}))
    ).encode(),
}


def calls_in(printed: Any) -> list[tuple[str, str]]:
    told = [one for one in printed["events"] if one["name"] == "otel_llm.tool_call.completed"]
    return [(one["gen_ai.tool.name"], one["gen_ai.tool.call.arguments"]) for one in told]


@pytest.mark.parametrize("kind", FILES)
def test_each_kind_of_file(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(FILES[kind])
    main(["inspect", "--json", str(path)])
    (line,) = capsys.readouterr().out.splitlines()
    printed = json.loads(line)
    assert calls_in(printed) == [("add_task", '{"title": "a"}')]
    # Where the request is known, it declares no tools, and names the model in its path.
    has_request = "cassette" in kind or "archive" in kind
    assert [anomaly["type"] for anomaly in printed["anomalies"]] == ["unknown_tool"] * has_request
    if has_request:
        assert printed["attributes"]["gen_ai.request.model"] == "amazon.nova-pro-v1:0"


def verdict_of(data: bytes, path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    path.write_bytes(data)
    status = main(["inspect", "--json", str(path)])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_exception(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = b"".join(EVENTS[:4]) + event({"throttlingException": {"message": "Too many tokens"}})
    status, (printed,) = verdict_of(data, tmp_path / "file", capsys)
    assert status == 1
    assert printed["outcome"] == "error"
    assert "Too many tokens" in printed["note"]


def test_a_damaged_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(STREAM)
    data[len(data) // 2] ^= 255
    status, (printed,) = verdict_of(bytes(data), tmp_path / "file", capsys)
    assert status == 2
    assert printed["outcome"] == "error"


def test_a_stream_that_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, (printed,) = verdict_of(STREAM[: len(STREAM) // 2], tmp_path / "file", capsys)
    assert status
    assert "in the middle of an event" in printed["note"]


def test_a_model_s_own_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `invoke_model_with_response_stream` returns for one of Anthropic's models."""
    values = message_values(message_text("Sure."), message_call("add_task", {"title": "a"}))
    frames = [event({"chunk": {"bytes": base64.b64encode(json.dumps(value).encode()).decode()}}) for value in values]
    _, (printed,) = verdict_of(b"".join(frames), tmp_path / "file", capsys)
    assert calls_in(printed) == [("add_task", '{"title": "a"}')]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces(size: int) -> None:
    reader = MessageReader()
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    events = [json.loads(event.data) for piece in pieces for event in reader.feed(piece)]
    assert events == event_values(text_block("Sure."), tool_use("add_task", {"title": "a"}))
    assert [*reader.finish()] == []


LIES = (
    b"\0\0\0\x0c" + bytes(8),
    b"\0\xff\xff\xff" + EVENTS[0][4:],
    EVENTS[0][:-1] + bytes([EVENTS[0][-1] ^ 1]),
)


@pytest.mark.parametrize("data", LIES)
def test_messages_that_lie(data: bytes) -> None:
    with pytest.raises(UnreadableError, match="damaged"):
        list(MessageReader().feed(data))


def test_replay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(STREAM)
    (status, headers), *reads = open_replay(path)
    assert (status, headers) == (200, [(b"content-type", MEDIA_TYPE.encode())])
    assert b"".join(data for _, data in reads) == STREAM
