"""`otel-llm inspect`: one broken stream in every kind of file, and hostile files."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import brotli
import pytest
import yaml
import zstandard
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from otel_llm.cli import main
from otel_llm.demo.scripted_server import ScriptedServer
from otel_llm.diagnosis.explanations import BY_TYPE
from otel_llm.diagnosis.explanations.model import TOOLS
from tests.helpers.callers import SyncCaller
from tests.helpers.corpus_streams import CORPUS, load, reads_of
from tests.helpers.seen import Seen

BROKEN = CORPUS / "broken-leak-hermes.jsonl"
STREAM = b"".join(data for _, data in reads_of(BROKEN))
CHUNKS = load(BROKEN).chunks
REQUEST = load(BROKEN).request
URL = "https://api.example.com/v1/chat/completions?api-key=1"
MESSAGE = {"role": "assistant", "content": '<tool_call>{"name": "add_task", "arguments": {"title": "x"}}</tool_call>'}
NOCK: dict[str, Any] = {
    "scope": "https://api.example.com:443",
    "method": "POST",
    "path": "/v1/chat/completions",
    "body": REQUEST,
    "status": 200,
}
COMPLETION = {
    "id": "x",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
}


def cassette(body: Any, headers: Any = None, **response: Any) -> dict[str, Any]:
    other = {"request": {"method": "GET", "uri": "https://example.com/"}, "response": {"body": {"string": "<html>"}}}
    return {
        "interactions": [
            other,
            {
                "request": {"method": "POST", "uri": URL, "body": json.dumps(REQUEST), "headers": {}},
                "response": {"status": {"code": 200}, "headers": headers or {}, "body": {"string": body}, **response},
            },
        ],
        "version": 1,
    }


def archive(text: str, **content: Any) -> dict[str, Any]:
    other = {"request": {"url": "https://example.com/style.css"}, "response": {"content": {"text": "a {}"}}}
    entry = {
        "request": {"url": URL, "method": "POST", "postData": {"text": json.dumps(REQUEST)}},
        "response": {"status": 200, "content": {"mimeType": "text/event-stream", "text": text, **content}},
    }
    return {"log": {"version": "1.2", "entries": [other, entry]}}


def other_span() -> dict[str, Any]:
    """A span of another instrumentation that captured its messages."""
    messages = [
        {"role": "assistant", "parts": [{"type": "text", "content": MESSAGE["content"]}], "finish_reason": "stop"}
    ]
    call = {"type": "tool_call", "id": "a", "name": "list_tasks", "arguments": {}}
    messages.append({"role": "assistant", "parts": [call], "finish_reason": "tool_call"})
    tools = [tool["function"] for tool in TOOLS]
    attributes = {"gen_ai.output.messages": json.dumps(messages), "gen_ai.tool.definitions": json.dumps(tools)}
    entries = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    return {
        "resourceSpans": [{"scopeSpans": [{"spans": [{"name": "GET /"}, {"name": "chat m", "attributes": entries}]}]}]
    }


def in_base64(document: dict[str, Any]) -> dict[str, Any]:
    document["interactions"][1]["response"]["body"] = {"base64_string": base64.b64encode(STREAM).decode()}
    return {"http_interactions": document["interactions"], "recorded_with": "betamax"}


def bare_deflate(data: bytes) -> bytes:
    """`deflate` as some servers send it, without the zlib header."""
    return zlib.compress(data)[2:-4]


WITH_REQUEST = {
    "vcr.yaml": yaml.safe_dump(cassette(STREAM.decode())),
    "vcr-bytes.yaml": yaml.safe_dump(cassette(STREAM)),
    "vcr-gzip.yaml": yaml.safe_dump(cassette(gzip.compress(STREAM), {"Content-Encoding": ["gzip"]})),
    "vcr-decompressed.yaml": yaml.safe_dump(cassette(STREAM.decode(), {"content-encoding": ["gzip"]})),
    "vcr-parsed.yaml": yaml.safe_dump(cassette(None, parsed_body=COMPLETION)),
    "vcr-deflate.yaml": yaml.safe_dump(cassette(bare_deflate(STREAM), {"Content-Encoding": ["deflate"]})),
    "vcr-br.yaml": yaml.safe_dump(cassette(brotli.compress(STREAM), {"Content-Encoding": ["br"]})),
    "vcr-directive.yaml": "%YAML 1.1\n---\n" + yaml.safe_dump(cassette(STREAM.decode())),
    "vcr-ruby.yaml": yaml.safe_dump({"http_interactions": cassette(STREAM.decode())["interactions"]}),
    "vcr-of-httpx.json": json.dumps(cassette("", content=STREAM.decode())).replace('"body": {"string": ""}, ', ""),
    "betamax.json": json.dumps(in_base64(cassette(""))),
    "vcr.json": json.dumps(cassette(STREAM.decode())),
    "vcr-indented.json": json.dumps(cassette(json.dumps(COMPLETION)), indent=1),
    "archive.har": json.dumps(archive(STREAM.decode())),
    "archive-base64.har": json.dumps(archive(base64.b64encode(STREAM).decode(), encoding="base64"), indent=2),
    "recording.jsonl": BROKEN.read_text(encoding="utf-8"),
    "other-span.json": json.dumps(other_span()),
    "other-spans.jsonl": json.dumps(other_span()) + "\n\n",
}
WHOLE = json.dumps(COMPLETION).encode()
WITHOUT_REQUEST: dict[str, str | bytes] = {
    "saved-by-curl": STREAM,
    "saved-by-curl-i": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + STREAM,
    "saved-behind-a-proxy": b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/2 200\r\nx: y\r\n\r\n" + WHOLE,
    "with-comments": b": hello\n\n" + STREAM,
    "without-the-last-line-end": STREAM.rstrip(),
    "byte-order-mark": b"\xef\xbb\xbf" + STREAM,
    "chunks.jsonl": "\n".join(json.dumps(chunk) for chunk in CHUNKS),
    "blank-lines-first.jsonl": "\n\n" + "\n".join(json.dumps(chunk) for chunk in CHUNKS),
    "chunks.json": json.dumps(CHUNKS),
    "chunks-indented.json": json.dumps(CHUNKS, indent=2),
    "response.json": json.dumps(COMPLETION),
    "response-indented.json": json.dumps(COMPLETION, indent=2),
}


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.fixture
def request_file(tmp_path: Path) -> str:
    return written(tmp_path, "request", json.dumps(REQUEST))


@pytest.mark.parametrize("name", WITH_REQUEST)
def test_files_with_the_request(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", written(tmp_path, name, WITH_REQUEST[name])]) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [anomaly["type"] for one in told for anomaly in one["anomalies"]] == ["text_leak"]


# Packages for zstd, in the order in which they are tried.
READERS = ["compression.zstd", "backports.zstd", "zstandard"]


@pytest.mark.parametrize("reader", READERS[1:])
def test_any_installed_zstd_package_is_used(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if find_spec(reader) is None:
        pytest.skip(f"{reader} is not installed for this Python")
    for other in READERS:
        if other != reader:
            monkeypatch.setitem(sys.modules, other, None)
    two_frames = zstandard.compress(STREAM[:50]) + zstandard.compress(STREAM[50:])
    file = written(tmp_path, "vcr.yaml", yaml.safe_dump(cassette(two_frames, {"content-encoding": ["zstd"]})))
    assert main(["inspect", "--json", file]) == 1
    assert [anomaly["type"] for anomaly in json.loads(capsys.readouterr().out)["anomalies"]] == ["text_leak"]


@pytest.mark.parametrize(
    ("encoding", "modules", "package"),
    [("zstd", READERS, "backports.zstd"), ("br", ["brotli", "brotlicffi"], "brotli")],
)
def test_the_missing_package_for_a_compressed_body_is_named(
    encoding: str,
    modules: list[str],
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    file = written(tmp_path, "vcr.yaml", yaml.safe_dump(cassette(b"\x01\x00\xfe", {"content-encoding": [encoding]})))
    assert main(["inspect", file]) == 2
    assert f"install {package} to read it" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", WITHOUT_REQUEST)
def test_files_without_the_request(
    name: str, tmp_path: Path, request_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, name, WITHOUT_REQUEST[name])
    assert main(["inspect", path]) == 0, "without declared tools it cannot be recognized as a call"
    assert main(["inspect", path, "--request", request_file]) == 1
    assert "ANOMALY         text_leak  1 call of add_task" in capsys.readouterr().out


async def test_a_trace_of_otel_llm(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    instrument: Callable[..., Seen],
    serve: Callable[..., ScriptedServer],
) -> None:
    seen = instrument()
    caller = SyncCaller(serve(*[dict(chunk) for chunk in BY_TYPE["index_reused"].sample.chunks]).base_url)
    await caller.read(await caller.stream(tools=list(TOOLS)))
    await caller.close_client()
    trace = MessageToDict(encode_spans(seen.spans))
    path = written(tmp_path, "trace.json", json.dumps(trace))
    assert main(["inspect", path]) == 1
    out = capsys.readouterr().out
    assert "ANOMALY         index_reused  call_2 begins at index 0, which was in use" in out
    assert "completed       list_tasks '{}'" in out
    assert re.search(r"\d ms  \[0\]  detected", out)


def test_several_streams_in_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "\n\n".join(BY_TYPE["invalid_json"].sample.lines()) + "\n\n"
    fine = json.dumps({"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]})
    path = written(tmp_path, "streams", lines + f"data: {fine}\n\ndata: [DONE]\n\n")
    assert main(["inspect", "--json", path]) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(one["anomalies"]) for one in told] == [1, 0]
    assert [one["title"] for one in told] == ["streams", "streams (2)"]


def test_usage_behind_the_end_is_of_the_same_response(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fine = {"id": "a", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    usage = {"id": "a", "choices": [], "usage": {"completion_tokens": 1}}
    body = f"data: {json.dumps(fine)}\n\ndata: [DONE]\n\ndata: {json.dumps(usage)}\n\n"
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    for content in (body, f"{head}{body}", yaml.safe_dump(cassette(body))):
        assert main(["inspect", "--json", written(tmp_path, "stream", content)]) == 0
        (one,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert one["attributes"]["otel_llm.stream.chunk_count"] == 1


def test_several_responses_as_json_lines_of_chunks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"id": name, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": reason}]}
        for name in ("a", "b")
        for reason in (None, "stop")
    ]
    path = written(tmp_path, "chunks", "\n".join(map(json.dumps, lines)))
    assert main(["inspect", "--json", path]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_it_shows_the_offending_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = BY_TYPE["invalid_json"].sample.lines()
    content = "\n\n".join(lines) + "\n\n"
    path = written(tmp_path, "stream", content)
    assert main(["inspect", "--json", path]) == 1
    ((anomaly),) = json.loads(capsys.readouterr().out)["anomalies"]
    assert [chunk["number"] for chunk in anomaly["chunks"]] == [1, 2]
    for chunk in anomaly["chunks"]:
        assert content[chunk["offset"] :].startswith(f"data: {chunk['text']}")


def test_it_shows_the_line_that_is_no_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = f'data: {CHUNK}\n\nerror: {{"message": "no luck"}}\n\n'
    path = written(tmp_path, "stream", content)
    assert main(["inspect", "--json", path]) == 1
    ((anomaly),) = json.loads(capsys.readouterr().out)["anomalies"]
    ((line),) = anomaly["chunks"]
    assert (anomaly["type"], line["number"]) == ("invalid_framing", 0)
    assert content[line["offset"] :].startswith(line["text"])
    assert main(["inspect", path]) == 1
    out = capsys.readouterr().out
    assert f'byte {line["offset"]}  error: {{"message": "no luck"}}' in out
    assert "an error outside the events: no luck" in out


def test_known_times_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(CORPUS / "broken-stalled-text.jsonl")]) == 1
    out = capsys.readouterr().out
    assert "stalled  30.0 s between two chunks" in out
    assert "chunk 3, byte" in out
    assert main(["inspect", "--stall-seconds", "60", str(CORPUS / "broken-stalled-text.jsonl")]) == 0


def test_an_error_event_ends_the_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"error": {"message": "overloaded", "type": "server_error"}}
    content = f"data: {json.dumps(CHUNKS[0])}\n\ndata: {json.dumps(error)}\n\ndata: {json.dumps(CHUNKS[0])}\n\n"
    assert main(["inspect", written(tmp_path, "stream", content)]) == 1
    assert "an error event: overloaded" in capsys.readouterr().out


# -- errors, which are not diagnosed --


CHUNK = json.dumps(CHUNKS[0])
ERROR = b'{"error": {"message": "slow down"}}'
FAILED: dict[str, tuple[str | bytes, str]] = {
    "a page of a gateway": (b"HTTP/1.1 503 Unavailable\r\n\r\n<html>no</html>", "status 503: <html>no</html>"),
    "an error of another shape": (b'HTTP/1.1 422 No\r\n\r\n{"detail": "no"}', 'status 422: {"detail": "no"}'),
    "an error": (b"HTTP/1.1 429 No\r\n\r\n" + ERROR, "status 429: slow down"),
    "an error in a cassette": (
        yaml.safe_dump(cassette("upstream error", status={"code": 502})),
        "status 502: upstream error",
    ),
    "a request nobody answered": (json.dumps(archive("")).replace('"status": 200', '"status": 0'), "no response"),
    "an error behind chunks": (f"{CHUNK}\n{ERROR.decode()}", "an error: slow down"),
    "an error in a list": (f"[{CHUNK}, {ERROR.decode()}]", "an error: slow down"),
    "an error beside choices": (
        f'data: {CHUNK}\n\ndata: {{"error": {{"message": "no"}}, "choices": [{{"finish_reason": "error"}}]}}\n\n',
        "an error event: no",
    ),
    "an error in a choice": (
        'data: {"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "no"}}]}\n\ndata: [DONE]\n\n',
        "an error: no",
    ),
}


@pytest.mark.parametrize("name", FAILED)
def test_an_error_is_reported_without_anomalies(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, note = FAILED[name]
    assert main(["inspect", "--json", written(tmp_path, "file", content)]) == 1
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (told["outcome"], told["note"], told["anomalies"]) == ("error", note, [])


def test_a_recorded_http_error_is_not_diagnosed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = '{"otel_llm_recording": 1, "request": {}, "response": {"status": 502, "headers": {}}}'
    lines = (head, '{"t": 0.1, "text": "<html>bad gateway"}', '{"t": 0.1, "end": "completed"}')
    assert main(["inspect", "--json", written(tmp_path, "file", "\n".join(lines))]) == 1
    assert json.loads(capsys.readouterr().out)["note"] == "status 502: <html>bad gateway"


OTHERS = {
    "a preflight": {"request": {"url": URL, "method": "OPTIONS"}, "response": {"status": 204, "content": {"text": ""}}},
    "a page": {"request": {"url": "https://x/chat/a.html", "method": "GET"}, "response": {"content": {"text": "<p>"}}},
    "a body left out": {"request": {"url": URL, "method": "POST"}, "response": {"status": 200, "content": {"size": 9}}},
    "another server": {
        "request": {"url": "https://x/api/say", "method": "POST", "postData": {"text": json.dumps(REQUEST)}},
        "response": {"status": 200, "content": {"text": '{"messages": []}'}},
    },
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_entries_of_an_archive_are_skipped(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    har = archive(STREAM.decode())
    har["log"]["entries"].insert(0, OTHERS[name])
    assert main(["inspect", "--json", written(tmp_path, "archive.har", json.dumps(har))]) == 1
    assert [json.loads(line)["title"][:10] for line in capsys.readouterr().out.splitlines()] == ["exchange 3"]


# -- unreadable files --


HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "empty": (b"", "it is empty"),
    "white space": (b" \n\n ", "it is empty"),
    "binary": (os.urandom(64) + b"\0" * 4096, "it is not text"),
    "prose": (b"Dear reader,\nthis is a letter.\n", "it is not a stream, chunks"),
    "gzip of what is not text": (gzip.compress(b"\0" * 100), "it is not text"),
    "gzip, cut": (gzip.compress(STREAM)[:-20], "a compressed body ends too early"),
    "gzip, damaged": (gzip.compress(STREAM)[:20] + b"x" * 200, "a compressed body is damaged"),
    "utf-16 of prose": ("Dear reader,\nthis is a letter.\n".encode("utf-16"), "it is not a stream, chunks"),
    "cut in an event": (STREAM[: len(STREAM) * 2 // 3], "the stream ends in the middle of an event, at byte"),
    "an event that is no JSON": (b"data: {}\n\ndata: {nonsense\n\ndata: {}\n\n", "an event cannot be read, at byte 10"),
    "a deep event": (b"data: " + b"[" * 200_000 + b"\n\n", "it is nested too deep"),
    "a deep document": (b'{"log": ' + b"[" * 500_000, "it is nested too deep"),
    "a deep line": (b"[" * 500_000 + b"\n{}\n", "it is nested too deep"),
    "deep yaml": (b"interactions: " + b"[" * 500_000, "it is nested too deep"),
    "yaml, indented deep": ("interactions:\n" + "".join(" " * n + "a:\n" for n in range(1, 300)), "nested too deep"),
    "bad yaml": (b"interactions: {a: [}\n", "it is not YAML"),
    "unsafe yaml": (b"interactions: !!python/object/apply:os.getcwd []\n", "it is not a stream, chunks"),
    "bad binary in yaml": (b"http_interactions: [!binary x]\n", "a binary value is not base64"),
    "httprr without lengths": (b"httprr trace v1\nPOST x\n", "the lengths of exchange 1 cannot be read"),
    "httprr, cut": (b"httprr trace v1\n10 2000\nPOST x HTTP", "exchange 1 is cut off"),
    "httprr, huge": (b"httprr trace v1\n10 99999999999\nPOST x HTTP", "exchange 1 is longer than 64 MB"),
    "httprr of nothing": (b"httprr trace v1\n", "it holds no chat completion"),
    "nock of odd digits": (
        json.dumps([{**NOCK, "response": "abc", "responseIsBinary": True}]),
        "the body of exchange 1 is not hexadecimal",
    ),
    "nock of nonsense": (b'[{"scope": 1, "path": 2, "response": 3}, 4]', "it holds no chat completion"),
    "other yaml": (b"version: 3\nservices: {}\n", "it is YAML, but not a VCR cassette"),
    "cut document": (json.dumps(archive("data: {}")).encode()[:-20], "it is not JSON"),
    "other document": (b'{"hello": "world"}', "it is not a stream, chunks"),
    "other lines": (b'{"hello": 1}\n{"hello": 2}\n', "its lines are not chunks"),
    "a line that is none": (b'{"choices": []}\n{"choices": []}\nnonsense\n', "line 3: it is not JSON"),
    "a line that is no object": (b'{"choices": []}\n[]\n', "line 2 is not an object"),
    "empty archive": (b'{"log": {"entries": []}}', "it holds no chat completion"),
    "wrong shapes": (
        b'{"log": {"entries": [7, {"request": [], "response": "x"}, {"request": {"url": "/chat/completions"}}]}}',
        "",
    ),
    "cassette of nonsense": (
        b"interactions: [1, {request: [], response: {body: [1]}}]\n",
        "it holds no chat completion",
    ),
    "trace of nonsense": (
        b'{"resourceSpans": [1, {"scopeSpans": [{"spans": [1, {"attributes": 7}]}]}]}',
        "it is not OTLP JSON",
    ),
    "trace of ids that are none": (
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "abc"}]}]}]}',
        "traceId is not hex",
    ),
    "trace without a request": (
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "GET /"}]}]}]}',
        "it holds no",
    ),
    "lines of traces": (
        json.dumps(other_span()).encode() + b'\n{"resourceSpans": 1}\n',
        "it is not OTLP JSON",
    ),
    "headers that do not end": (b"HTTP/1.1 200 OK\r\ncontent-type: x\r\n", "its headers do not end"),
    "a gzip bomb": (
        yaml.safe_dump(cassette(gzip.compress(b" " * 200_000_000), {"content-encoding": ["gzip"]})),
        "longer than 64 MB",
    ),
    "unknown compression": (
        yaml.safe_dump(cassette(b"\x01\x00\xfe", {"content-encoding": ["compress"]})),
        "compressed with 'compress'",
    ),
    "damaged compression": (
        yaml.safe_dump(cassette(b"\x01\x00\xfe", {"content-encoding": ["zstd"]})),
        "a compressed body is damaged",
    ),
    "recording cut": (BROKEN.read_bytes()[:-40], "line 8 is not a line of a recording"),
    "recording without its end": (
        b"\n".join(BROKEN.read_bytes().splitlines()[:-1]),
        "the recording is cut off: its last line is missing",
    ),
    "recording of tomorrow": (b'{"otel_llm_recording": 2}\n', "a recording of another version (2)"),
    "recording of nonsense": (b'{"otel_llm_recording": 1}\n{"t": "soon"}\n', "line 2 is not a line of a recording"),
    "recording of bad base64": (b'{"otel_llm_recording": 1}\n{"t": 1, "base64": "%"}\n', "line 2 is not a line of"),
    "recording of infinity": (b'{"otel_llm_recording": 1}\n{"t": Infinity, "text": ""}\n', "line 2 is not a line of"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_unreadable_file_is_explained_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, why = HOSTILE[name]
    status = main(["inspect", written(tmp_path, "file", content)])
    captured = capsys.readouterr()
    if why:
        assert status == 2
        assert why in captured.err
        assert captured.err.startswith(f"otel-llm: {tmp_path / 'file'}: ")
        assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def test_the_readable_part_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = "\n\n".join(BY_TYPE["index_reused"].sample.lines())[:-60]
    assert main(["inspect", written(tmp_path, "file", content)]) == 2
    assert "index_reused" in capsys.readouterr().out


GOOD = json.dumps({"id": "a", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]})
CUT: dict[str, tuple[bytes, list[str]]] = {
    "a stream": (f"data: {CHUNK}\n\ndata: {CHUNK}\n\n".encode(), ["error"]),
    "a stream that had ended": (f"data: {GOOD}\n\ndata: [DONE]\n\n".encode(), ["completed"]),
    "a stream, after another": (f"data: {GOOD}\n\ndata: [DONE]\n\ndata: {CHUNK}\n\n".encode(), ["completed", "error"]),
    "what curl saved": (f"HTTP/1.1 200 OK\r\na: b\r\n\r\ndata: {CHUNK}\n\nda".encode(), ["error"]),
    "a recording": (b"\n".join(BROKEN.read_bytes().splitlines()[:-2]), ["error"]),
    "a recording, in a line": (BROKEN.read_bytes()[:-40], ["error"]),
    "lines of chunks": (f"{CHUNK}\n{CHUNK}\n".encode(), ["error"]),
    "one chunk": (CHUNK.encode(), ["error"]),
    "a whole document": (json.dumps(archive(f"data: {GOOD}\n\ndata: [DONE]\n\n")).encode(), ["completed"]),
    "a whole cassette": (yaml.safe_dump(cassette(f"data: {GOOD}\n\ndata: [DONE]\n\n")).encode(), ["completed"]),
    "a part of a document": (json.dumps(archive("data: {}")).encode()[:-20], []),
    "UTF-16": (f"data: {CHUNK}\n\n".encode("utf-16"), ["error"]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("damage", ["the end is missing", "the check sum is wrong"])
@pytest.mark.parametrize("name", CUT)
def test_the_readable_part_of_a_compressed_file(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, outcomes = CUT[name]
    packed = zlib.compressobj(wbits=31)
    compressed = packed.compress(content) + packed.flush(zlib.Z_FULL_FLUSH)
    if damage == "the check sum is wrong":
        compressed += packed.flush()[:-8] + b"\1" * 8
    path = written(tmp_path, "file.gz", compressed)
    assert main(["inspect", "--json", path]) == 2
    captured = capsys.readouterr()
    assert [json.loads(line)["outcome"] for line in captured.out.splitlines()] == outcomes
    assert captured.err.startswith(f"otel-llm: {path}: the file is cut off, or damaged: ")
    assert captured.err.count("\n") == 1


def test_yaml_aliases_do_not_multiply(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    entry = (
        "- request: {uri: 'http://x/chat/completions', parsed_body: {tools: *a11}}\n  response: {body: {string: ''}}"
    )
    content = "version: 1\n" + "\n".join(levels) + "\ninteractions:\n" + entry + "\n"
    assert main(["inspect", written(tmp_path, "file", content)]) == 2
    assert "more than 200000 values" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_missing_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("content", ["[]", "nonsense", b"\xff"])
def test_an_unusable_request_file(content: str | bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = written(tmp_path, "stream", STREAM)
    assert main(["inspect", stream, "--request", written(tmp_path, "request", content)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_worst_of_several_files_decides_the_exit_status(tmp_path: Path) -> None:
    healthy = str(CORPUS / "healthy-openai-call.jsonl")
    assert main(["inspect", healthy, healthy]) == 0
    assert main(["inspect", str(BROKEN), healthy]) == 1
    assert main(["inspect", healthy, str(tmp_path / "missing"), str(BROKEN)]) == 2


# On Linux not by getrusage, whose peak starts at that of the parent process.
PEAK = """
import pathlib, resource, sys
from otel_llm.cli import main
status = main(["inspect", "--json", sys.argv[1]])
kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.platform == "linux":
    told = pathlib.Path("/proc/self/status").read_text()
    kilobytes = told.partition("VmHWM:")[2].split()[0]
print(status, kilobytes, file=sys.stderr)
"""


def peak(path: str) -> tuple[int, float]:
    """The exit status, and the peak memory in megabytes."""
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, timeout=120, check=False)
    status, kilobytes = done.stderr.split()[-2:]
    return int(status), int(kilobytes) / (1024 if sys.platform == "linux" else 1024 * 1024)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    text = "".join(f"{number} " for number in range(1_700))
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    line = f"data: {json.dumps(chunk)}\n\n".encode()
    sizes = {}
    for count in (100, 12_000):
        path = tmp_path / str(count)
        with path.open("wb") as file:
            for _ in range(count):
                file.write(line)
            file.write(f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode())
        status, sizes[count] = peak(str(path))
        # A text over the limit is told.
        assert status == 0
    assert sizes[12_000] < sizes[100] + 40


def test_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    for head, expected in ((b"", 2), (b"data: {", 2), (b'{"log": "', 2), (b"[1,\n", 2), (b"interactions:\n", 2)):
        with path.open("wb") as file:
            file.write(head + b"x" * 100_000)
            # A sparse file takes no room on the disk.
            file.truncate(1_000_000_000)
        status, megabytes = peak(str(path))
        assert status == expected
        assert megabytes < 150


@pytest.mark.parametrize("missing", ["rich", "opentelemetry.sdk"])
def test_a_missing_package_for_printing_is_named(missing: str) -> None:
    program = f"""
import sys
sys.modules["{missing}"] = None
from otel_llm.cli import main
print(main(["inspect", "--json", r"{BROKEN}"]))
sys.exit(main(["inspect", r"{BROKEN}"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install 'otel-llm[cli]'" in done.stderr
    assert done.stdout.splitlines()[-1] == "1"


def test_a_missing_package_for_otlp_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, "trace.json", json.dumps(other_span()))
    program = f"""
import sys
sys.modules["google.protobuf"] = None
from otel_llm.cli import main
sys.exit(main(["inspect", "--json", r"{file}"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "it is OTLP JSON, which needs google.protobuf: pip install 'otel-llm[cli]'" in done.stderr


def test_model_output_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "\x1b[2J", "function": {}}]}}]}
    raw = f"data: {json.dumps(chunk)}\n\n".replace("\\u001b", "\x1b")
    main(["inspect", written(tmp_path, "stream\x1b[2J", raw)])
    assert "\x1b" not in capsys.readouterr().out
