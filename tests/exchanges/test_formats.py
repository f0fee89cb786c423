"""`otel-llm inspect` reads what recorders of several languages write: one broken stream in the format of each."""

from __future__ import annotations

import base64
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_llm.cli import main
from tests.helpers.corpus_streams import CORPUS, load, reads_of

BROKEN = CORPUS / "broken-leak-hermes.jsonl"
STREAM = b"".join(data for _, data in reads_of(BROKEN))
REQUEST = load(BROKEN).request
URL = "https://api.example.com/v1/chat/completions"
LEAK = '<tool_call>{"name": "add_task", "arguments": {"title": "x"}}</tool_call>'
COMPLETION = {
    "id": "x",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": LEAK}, "finish_reason": "stop"}],
}
WHOLE_REQUEST = {**REQUEST, "stream": False}
JSON_TYPE, STREAM_TYPE = "application/json", "text/event-stream; charset=utf-8"


def pieces(data: bytes, count: int = 3) -> list[bytes]:
    size = -(-len(data) // count)
    return [data[at : at + size] for at in range(0, len(data), size)]


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- Ruby's VCR --


def ruby(body: str, headers: str = "") -> str:
    """A cassette as Psych writes it."""
    request = "\n".join("        " + line for line in json.dumps(REQUEST, indent=1).splitlines())
    return f"""---
http_interactions:
- request:
    method: post
    uri: {URL}
    body:
      encoding: UTF-8
      string: |
{request}
    headers:
      Content-Type:
      - application/json
  response:
    status:
      code: 200
      message: OK
    headers:
      Content-Type:
      - {STREAM_TYPE}
{headers}    body:
      encoding: ASCII-8BIT
{body}
    http_version:
  recorded_at: Tue, 04 Mar 2025 10:00:00 GMT
recorded_with: VCR 6.3.1
"""


def binary(data: bytes) -> str:
    lines = "\n".join("        " + in_base64(data)[at : at + 60] for at in range(0, len(in_base64(data)), 60))
    return f"      string: !binary |-\n{lines}"


# -- vcrpy under aiohttp --


def aiohttp(tag: str, arguments: str) -> str:
    body = json.dumps(STREAM.decode())
    return f"""interactions:
- request:
    body: {json.dumps(json.dumps(REQUEST))}
    headers:
      ? {tag}
      {arguments.replace("NAME", "Accept")}
      : - '*/*'
      Connection: [keep-alive]
    method: POST
    uri: {URL}
  response:
    body: {{string: {body}}}
    headers:
      ? {tag}
      {arguments.replace("NAME", "Content-Type")}
      : [text/event-stream]
    status: {{code: 200, message: OK}}
version: 1
"""


# -- Polly.js --


def polly(content: dict[str, Any], *, encoding: str = "", request: Any = REQUEST) -> dict[str, Any]:
    headers = [{"name": "content-type", "value": STREAM_TYPE}]
    if encoding:
        headers.append({"name": "content-encoding", "value": encoding})
    entry = {
        "_id": "1",
        "request": {"method": "POST", "url": URL, "postData": {"mimeType": JSON_TYPE, "text": json.dumps(request)}},
        "response": {"status": 200, "headers": headers, "content": {"mimeType": STREAM_TYPE, **content}},
    }
    return {"log": {"_recordingName": "a", "creator": {"name": "Polly.JS", "version": "6.0.6"}, "entries": [entry]}}


# -- nock --


def nock(response: Any, **more: Any) -> str:
    recorded = {
        "scope": "https://api.example.com:443",
        "method": "POST",
        "path": "/v1/chat/completions",
        "body": REQUEST,
        "status": 200,
        "response": response,
        "rawHeaders": ["Content-Type", STREAM_TYPE],
        **more,
    }
    return json.dumps([recorded], indent=4)


HEX = [piece.hex() for piece in pieces(gzip.compress(STREAM))]
IN_JSON = {"rawHeaders": {"content-type": JSON_TYPE}, "body": WHOLE_REQUEST}
GZIPPED = {"rawHeaders": {"content-type": STREAM_TYPE, "content-encoding": "gzip"}}

# -- Go --


def httprr(body: bytes, end: bytes = b"\r\n", headers: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    asked = json.dumps(REQUEST).encode()
    head = [b"POST " + URL.encode() + b" HTTP/1.1", b"Host: api.example.com", b"Content-Type: application/json", b""]
    sent = end.join([*head, b""]) + asked
    answer = [version + b" 200 OK", b"Content-Type: text/event-stream", *filter(None, [headers]), b""]
    received = end.join([*answer, b""]) + body
    first = b"GET https://x/v1/models HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n{}"
    pairs = b"".join(b"%d %d\n" % (len(a), len(b)) + a + b for a, b in (first, (sent, received)))
    return b"httprr trace v1\n" + pairs


def in_chunks(body: bytes, end: bytes = b"\r\n") -> bytes:
    return b"".join(b"%x" % len(piece) + end + piece + end for piece in pieces(body)) + b"0" + end * 2


GO_VCR = {
    "version": 2,
    "interactions": [
        {
            "id": 0,
            "request": {"method": "POST", "url": URL, "body": json.dumps(REQUEST), "headers": {}},
            "response": {
                "body": STREAM.decode(),
                "headers": {"Content-Type": ["text/event-stream"]},
                "status": "200 OK",
                "code": 200,
                "duration": "1.2s",
            },
        }
    ],
}

APPLY = "!!python/object/apply:multidict._multidict.istr"
FILES: dict[str, str | bytes] = {
    "ruby-binary.yml": ruby(binary(STREAM)),
    "ruby-binary-gzip.yml": ruby(binary(gzip.compress(STREAM)), "      Content-Encoding: [gzip]\n"),
    "ruby-standard-binary.yml": ruby(binary(STREAM).replace("!binary", "!!binary")),
    "ruby-base64.yml": ruby(f"      base64_string: {in_base64(STREAM)}"),
    "ruby-old-quotes.yml": ruby(f"      string: ! {json.dumps(STREAM.decode())}"),
    "ruby-object.yml": ruby(binary(STREAM)).replace("    headers:\n", "    headers: !ruby/hash:Headers\n", 1),
    "aiohttp-apply.yaml": aiohttp(APPLY, "- NAME"),
    "aiohttp-new.yaml": aiohttp("!!python/object/new:multidict._multidict.istr", "- NAME"),
    "aiohttp-arguments.yaml": aiohttp(APPLY, "  args: [NAME]"),
    "go-vcr.yaml": yaml.safe_dump(GO_VCR),
    "polly-gzip.har": json.dumps(
        polly(
            {
                "encoding": "base64",
                "text": json.dumps([in_base64(one) for one in pieces(gzip.compress(STREAM))]),
            },
            encoding="gzip",
        )
    ),
    "polly-base64.har": json.dumps(polly({"encoding": "base64", "text": json.dumps([in_base64(STREAM)])})),
    "polly-text.har": json.dumps(polly({"text": STREAM.decode()})),
    "polly-hex.har": json.dumps(polly({"_isBinary": True, "text": json.dumps(HEX)}, encoding="gzip")),
    "polly-one-hex.har": json.dumps(polly({"encoding": "hex", "text": STREAM.hex()})),
    "polly.har.yaml": yaml.safe_dump(polly({"text": STREAM.decode(), "textDecoded": "x"})),
    "nock.json": nock(STREAM.decode()),
    "nock-one.json": json.dumps(json.loads(nock(STREAM.decode()))[0]),
    "nock-gzip.json": nock(HEX, **GZIPPED),
    "nock-binary.json": nock(STREAM.hex(), responseIsBinary=True),
    "nock-json.json": nock(COMPLETION, **IN_JSON),
    "nock-pattern.json": nock(STREAM.decode(), path={"regex": "^\\/v1\\/chat\\/completions$"}).replace("$", ""),
    "nock-request-in-hex.json": nock(STREAM.decode(), body=json.dumps(REQUEST).encode().hex()),
    "go.httprr": httprr(STREAM),
    "go-normalized.httprr": httprr(STREAM, b"\n", version=b"HTTP/2.0"),
    "go-chunked.httprr": httprr(in_chunks(STREAM), headers=b"Transfer-Encoding: chunked"),
    "go-chunked-normalized.httprr": httprr(in_chunks(STREAM, b"\n"), b"\n", b"Transfer-Encoding: chunked"),
    "go-not-chunked-after-all.httprr": httprr(STREAM, headers=b"Transfer-Encoding: chunked"),
    "go-gzip.httprr": httprr(gzip.compress(STREAM), headers=b"Content-Encoding: gzip"),
    "recording.jsonl": BROKEN.read_bytes(),
}


def as_bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


def all_files() -> Iterator[Any]:
    for name, content in FILES.items():
        yield pytest.param(name, as_bytes(content), id=name)
        yield pytest.param(f"{name}.gz", gzip.compress(as_bytes(content)), id=f"{name}.gz")
    for name in ("ruby-binary.yml", "polly-gzip.har", "nock.json", "recording.jsonl"):
        text = as_bytes(FILES[name]).decode()
        for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
            yield pytest.param(name, text.encode(encoding), id=f"{name} in {encoding}")
        marked = b"\xfe\xff" + text.replace("\n", "\r\n").encode("utf-16-be")
        yield pytest.param(name, marked, id=f"{name} in utf-16, big end first")
        yield pytest.param(name, gzip.compress(text.encode("utf-16")), id=f"{name}.gz in utf-16")


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("name", "content"), list(all_files()))
def test_a_recording(name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert main(["inspect", "--json", str(path)]) == 1
    assert [anomaly["type"] for one in told(capsys) for anomaly in one["anomalies"]] == ["text_leak"]


@pytest.mark.parametrize("compressed", [False, True], ids=["as it is", "compressed"])
def test_standard_input(compressed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    content = BROKEN.read_bytes()
    data = io.BytesIO(gzip.compress(content) if compressed else content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))
    assert main(["inspect", "--json", "-"]) == 1
    (one,) = told(capsys)
    assert (one["file"], one["title"]) == ("-", "standard input")
    assert [anomaly["type"] for anomaly in one["anomalies"]] == ["text_leak"]


def test_a_pipe() -> None:
    code = "import sys; from otel_llm.cli import main; sys.exit(main(['inspect', '-']))"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(BROKEN.read_bytes(), timeout=60)
    assert process.returncode == 1
    assert b"text_leak" in out


def test_a_request_of_powershell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream, request = tmp_path / "stream", tmp_path / "request.json"
    stream.write_bytes(STREAM.decode().replace("\n", "\r\n").encode("utf-16"))
    request.write_bytes(json.dumps(REQUEST).encode("utf-16"))
    assert main(["inspect", "--json", "--request", str(request), str(stream)]) == 1
    assert [anomaly["type"] for one in told(capsys) for anomaly in one["anomalies"]] == ["text_leak"]


def test_nothing_in_yaml_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = tmp_path / "mark"
    attack = f"!!python/object/apply:os.mkdir ['{mark}']"
    content = aiohttp(APPLY, "- NAME").replace("[keep-alive]", attack)
    path = tmp_path / "cassette.yaml"
    path.write_text(content)
    assert main(["inspect", "--json", str(path)]) == 1
    assert not mark.exists()
    assert len(told(capsys)) == 1


def test_replay_reads_a_compressed_recording(tmp_path: Path) -> None:
    from otel_llm.exchanges.replaying import open_replay

    path = tmp_path / "recording.jsonl.gz"
    path.write_bytes(gzip.compress(BROKEN.read_bytes()))
    (status, _), *reads = open_replay(path)
    assert status == 200
    assert b"".join(data for _, data in reads) == STREAM


# -- terminals and pipes that cannot show everything --


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437", "utf-8"])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_any_encoding_of_standard_output(encoding: str, options: list[str], tmp_path: Path) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "“牛乳” 🥛"}}]}}]}
    path = tmp_path / "牛乳"
    path.write_text(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\ndata: [DONE]\n\n", encoding="utf-8")
    code = "import sys; from otel_llm.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", *options, str(path)],
        capture_output=True,
        timeout=60,
        check=False,
        env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "1", "PATH": ""},
        cwd=Path(__file__).parents[2],
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 1
    assert b"missing_finish_reason" in done.stdout
    assert b"\\u2501" not in done.stdout
    assert ("🥛" in done.stdout.decode(encoding)) is (encoding == "utf-8" and not options)
