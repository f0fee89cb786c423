"""`otel-llm record` and `otel-llm replay`, between a real SDK and a server."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_llm.cli import main
from otel_llm.demo.scripted_converse import converse_events
from otel_llm.demo.scripted_converse import text_block as converse_text
from otel_llm.demo.scripted_converse import tool_use as converse_call
from otel_llm.demo.scripted_gemini import call_part, responses
from otel_llm.demo.scripted_messages import message_events, text_block, tool_use
from otel_llm.demo.scripted_responses import function_call, response_events
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    ScriptedServer,
    Sleep,
    chunk,
    comment,
    completion,
    error_event,
    text,
    tool_call_chunks,
)
from otel_llm.diagnosis.explanations.model import TOOLS
from otel_llm.exchanges.redaction import Redactor, secrets_in_request
from tests.helpers.commands import recording_proxy, replaying, run_command
from tests.helpers.corpus_streams import CORPUS, load, reads_of
from tests.helpers.sdk_versions import HAS_RESPONSES
from tests.helpers.seen import Seen

OTEL_LLM = str(Path(sys.executable).with_name("otel-llm"))
KEY = "sk-secret-0123456789abcdef"
STREAM = [
    comment(),
    chunk(text("Straße 🥛")),
    *tool_call_chunks("add_task", '{"title": "buy milk"}'),
    chunk(finish_reason="tool_calls"),
    DONE,
]
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": list(TOOLS)}


@contextmanager
def running(*command: str) -> Iterator[str]:
    """A subcommand that listens; the value is the URL that it prints."""
    process = subprocess.Popen([OTEL_LLM, *command], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    too_late = threading.Timer(60, process.kill)
    too_late.start()
    try:
        line = process.stderr.readline()
        found = re.search(r"listening on (\S+)", line)
        assert found, line + process.stderr.read()
        # Its output must not fill the pipe.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield found.group(1)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        too_late.cancel()
        process.stderr.close()


@pytest.fixture
def cookies() -> Iterator[tuple[str, list[str | None]]]:
    """A server that sets a cookie, and the cookies that it received."""
    sent: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(self.headers["cookie"])
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("set-cookie", "session=one; path=/")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1", sent
        server.shutdown()
        thread.join()


@contextmanager
def recording(server: ScriptedServer | str, folder: Path) -> Iterator[str]:
    with recording_proxy(server if isinstance(server, str) else server.base_url, folder) as url:
        yield url


def sdk(url: str, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=30, **options)


def body_of(url: str) -> bytes:
    with httpx.stream("POST", f"{url}/chat/completions", json=ASK | {"stream": True}) as response:
        return b"".join(response.iter_bytes())


def recordings(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def head(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8").splitlines()[0]))


def end(path: Path) -> str:
    return str(json.loads(path.read_text(encoding="utf-8").splitlines()[-1])["end"])


# -- record --


def test_client_and_file_get_the_exact_bytes(tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(*STREAM)
    with running("record", "--upstream", server.base_url, "--out", str(tmp_path)) as url:
        through = body_of(url)
    assert through == body_of(server.base_url)
    (path,) = recordings(tmp_path)
    assert b"".join(data for _, data in reads_of(path)) == through
    assert head(path)["request"]["body"] == ASK | {"stream": True}
    assert head(path)["response"]["status"] == 200
    assert end(path) == "completed"
    assert main(["inspect", str(path)]) == 0


def test_the_openai_sdk_sees_no_difference(tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(*STREAM)
    with recording(server, tmp_path) as url, sdk(url) as client:
        through = [one.to_dict() for one in client.chat.completions.create(**ASK, stream=True)]
        assert [model.id for model in client.models.list()] == ["scripted-model"]
    with sdk(server.base_url) as client:
        assert [one.to_dict() for one in client.chat.completions.create(**ASK, stream=True)] == through
    sent = server.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["host"] == server.base_url.removeprefix("http://").removesuffix("/v1")
    assert len(recordings(tmp_path)) == 1, "only completions are recorded"


def test_a_secret_in_a_path_or_a_harmless_header(tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(*STREAM)
    headers = {"x-api-key": KEY, "user-agent": f"application/{KEY}"}
    with recording(server, tmp_path) as url:
        httpx.post(f"{url}/{KEY}/chat/completions", json=ASK | {"api_key": "sk-in-the-body"}, headers=headers)
    (path,) = recordings(tmp_path)
    written = path.read_text(encoding="utf-8")
    assert KEY not in written
    assert "sk-in-the-body" not in written
    assert head(path)["request"]["path"] == f"/v1/{'*' * len(KEY)}/chat/completions"


def test_escapes_in_a_path_are_kept(tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(*STREAM)
    with recording(server, tmp_path) as url:
        httpx.get(f"{url}/models/org%2Fname%3Fx")
    assert server.requests[-1].path == "/v1/models/org%2Fname%3Fx"


def test_cookies_are_not_shared_between_clients(tmp_path: Path, cookies: tuple[str, list[str | None]]) -> None:
    upstream, sent = cookies
    with recording(upstream, tmp_path) as url:
        for _ in range(2):
            assert httpx.post(f"{url}/chat/completions", json=ASK).cookies["session"] == "one"
    assert sent == [None, None]


def test_pieces_are_forwarded_as_they_arrive_with_their_times(tmp_path: Path, serve: Callable[..., Any]) -> None:
    gate = threading.Event()

    def script(_: Any) -> Iterator[Any]:
        yield chunk(text("first"))
        assert gate.wait(30), "the first piece was delayed"
        yield Sleep(0.2)
        yield chunk(text("second"), "stop")
        yield DONE

    with ScriptedServer(script) as server, recording(server, tmp_path) as url, sdk(url) as client:
        stream = client.chat.completions.create(**ASK, stream=True)
        assert next(stream).choices[0].delta.content == "first"
        gate.set()
        assert next(stream).choices[0].delta.content == "second"
        list(stream)
    (path,) = recordings(tmp_path)
    times = [time_ns for time_ns, _ in reads_of(path)]
    assert times == sorted(times)
    assert times[-1] - times[0] >= 200_000_000


def test_secrets_are_never_written(tmp_path: Path, serve: Callable[..., Any]) -> None:
    halves = KEY[:10], KEY[10:]
    server = serve(
        chunk(text(f"Your key is {KEY}")),
        *[f"data: {json.dumps(chunk(text('x' + KEY)))}\n\n".encode()[at : at + 7] for at in range(0, 300, 7)],
        b'data: {"choices": [], "half": "' + halves[0].encode(),
        Sleep(0.05),
        halves[1].encode() + b'"}\n\n',
        DONE,
    )
    with recording(server, tmp_path) as url:
        httpx.post(
            f"{url}/chat/completions?api-version=2024-06-01&code=query-secret-1",
            json=ASK | {"stream": True, "user": KEY},
            headers={"authorization": f"Bearer {KEY}", "x-api-key": "other-secret-2", "cookie": "sid=cookie-secret-3"},
        )
    (path,) = recordings(tmp_path)
    written = path.read_text(encoding="utf-8")
    for secret in (KEY, "query-secret-1", "other-secret-2", "cookie-secret-3"):
        assert secret not in written
    whole = b"".join(data for _, data in reads_of(path))
    assert KEY.encode() not in whole
    assert whole.count(b"*" * len(KEY)) == 3
    assert head(path)["request"]["body"]["user"] == "*" * len(KEY)
    assert "authorization" not in head(path)["request"]["headers"]
    assert path.stat().st_mode & 0o077 == 0 or os.name == "nt"


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=60), st.lists(st.integers(0, 90)), st.sampled_from([b"abcabd", b"aaaaaa", KEY.encode()]))
def test_a_secret_is_found_across_pieces(noise: bytes, places: list[int], secret: bytes) -> None:
    body = noise[:20] + secret + noise[20:] + secret[:3] + secret
    cuts = sorted(place for place in places if place <= len(body))
    redactor = Redactor([secret])
    pieces = [redactor.feed(body[a:b]) for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    written = b"".join([*pieces, redactor.finish()])
    assert secret not in written
    assert len(written) == len(body)
    if not noise:
        assert written == b"*" * len(secret) + secret[:3] + b"*" * len(secret) or secret == b"aaaaaa"


def test_a_secret_in_the_deltas_is_never_written(tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(
        chunk(text("Your key is ")),
        *[step for one in (KEY[:5], KEY[5:6], KEY[6:]) for step in (chunk(text(one)), Sleep(0.05))],
        chunk(text(", and pip install ollama")),
        chunk(finish_reason="stop"),
        DONE,
    )
    with recording(server, tmp_path) as url, sdk(url) as client:
        list(client.chat.completions.create(**ASK, stream=True))
        through = body_of(url)
    path, _ = recordings(tmp_path)
    reads = list(reads_of(path))
    written = b"".join(data for _, data in reads)
    assert len(written) == len(through)
    told = "".join(re.findall(r'"content": "([^"]*)"', written.decode()))
    assert told == f"Your key is {'*' * len(KEY)}, and pip install ollama"
    assert reads[-1][0] - reads[0][0] >= 100_000_000, "each read has its own time"


@pytest.mark.parametrize("key", ["ollama", "EMPTY", "lm-studio"])
def test_a_placeholder_for_a_key_covers_nothing(key: str, tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(*tool_call_chunks("add_task", json.dumps({"title": f"pip install {key}"}), size=90), DONE)
    with recording(server, tmp_path) as url:
        asked = ASK | {"stream": True, "messages": [{"role": "user", "content": f"install {key}"}]}
        got = httpx.post(f"{url}/chat/completions", json=asked, headers={"authorization": f"Bearer {key}"}).content
    (path,) = recordings(tmp_path)
    assert b"".join(data for _, data in reads_of(path)) == got
    assert f"pip install {key}".encode() in got
    assert head(path)["request"]["body"] == asked


def test_the_password_of_the_server_is_never_written(tmp_path: Path) -> None:
    def script(_: Any) -> list[Any]:
        sent = server.requests[-1].headers["authorization"]
        return [chunk(text(f"You sent {sent}")), chunk(finish_reason="stop"), DONE]

    with ScriptedServer(script) as server:
        upstream = server.base_url.replace("//", "//alice:pass-word-4711@")
        with recording(upstream, tmp_path) as url:
            got = body_of(url)
    secret = base64.b64encode(b"alice:pass-word-4711")
    assert secret in got
    (path,) = recordings(tmp_path)
    assert secret not in path.read_bytes()


def test_what_counts_as_secret() -> None:
    headers = [("authorization", "Bearer token-one"), ("user-agent", "python-client"), ("api-key", "token-two"),
               ("x-stainless-lang", "python"), ("cookie", "a=token-three; b=token-four")]  # fmt: skip
    found = secrets_in_request(headers, "api-version=2024-10-21&key=token%2Dfive&x=ab")
    assert {b"token-one", b"token-two", b"token-three", b"token-four", b"token-five", b"token%2Dfive"} <= set(found)
    assert not {b"python", b"python-client", b"2024-10-21", b"Bearer", b"ab"} & set(found)


def test_a_secret_is_found_in_every_spelling() -> None:
    secret = "sk-ab/c+d=öffne"
    redactor = Redactor(secrets_in_request([("authorization", f"Bearer {secret}")], ""))
    for spelled in (secret, quote(secret, safe=""), json.dumps(secret), json.dumps(secret).replace("/", "\\/")):
        hidden = redactor.hide(f"key: {spelled}.")
        assert not re.search("sk-ab|c.?d|ffne", hidden), hidden
        assert "Bearer tokens" in redactor.hide("Bearer tokens")


def test_keys_in_a_request_body_are_secrets() -> None:
    body = {
        "model": "model-name",
        "messages": [{"role": "user", "content": "a", "key": "said-by-the-user"}],
        "api_key": "token-one",
        "prompt_cache_key": "conversation-7",
        "max_tokens": 100,
        "data_sources": [{"parameters": {"authentication": {"type": "api_key", "key": "token-two"}}}],
        "tools": [
            {"type": "mcp", "headers": {"Authorization": "Bearer token-three"}},
            {"type": "function", "function": {"name": "open_door", "parameters": {"properties": {"key": "string"}}}},
        ],
    }
    assert {b"token-one", b"token-two", b"token-three"} == {
        one for one in secrets_in_request([], "", body) if b"%" not in one and b" " not in one and b"+" not in one
    }


def test_a_client_that_disconnects(tmp_path: Path) -> None:
    left = threading.Event()

    def script(_: Any) -> Iterator[Any]:
        yield chunk(text("first"))
        for _ in range(1000):
            yield Sleep(0.02)
            try:
                yield chunk(text("more"))
            except GeneratorExit:
                left.set()
                raise

    with ScriptedServer(script) as server, recording(server, tmp_path) as url, sdk(url) as client:
        stream = client.chat.completions.create(**ASK, stream=True)
        next(stream)
        stream.close()
        assert left.wait(20), "the server did not notice the disconnect"
    (path,) = recordings(tmp_path)
    assert end(path) == "closed"
    assert main(["inspect", str(path)]) == 0


def test_a_server_that_drops_the_connection(tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(chunk(text("first")), Drop())
    with recording(server, tmp_path) as url, sdk(url) as client:
        stream = client.chat.completions.create(**ASK, stream=True)
        next(stream)
        with pytest.raises((openai.APIConnectionError, httpx.HTTPError)):
            list(stream)
    (path,) = recordings(tmp_path)
    assert end(path).startswith("error: ")
    assert main(["inspect", str(path)]) == 1


def test_no_header_is_added(tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(*STREAM)
    with httpx.Client() as client, recording(server, tmp_path) as url:
        sent = client.post(f"{server.base_url}/chat/completions", json=ASK).headers
        received = client.post(f"{url}/chat/completions", json=ASK).headers
    assert sorted(received) == sorted(sent)


def test_a_request_that_is_too_long_is_refused_after_it_was_read(tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(*STREAM)
    with recording(server, tmp_path) as url, httpx.Client(timeout=60) as client:
        refused = client.post(f"{url}/chat/completions", content=bytes(65 * 2**20))
        assert (refused.status_code, refused.json()["error"]["type"]) == (413, "proxy_error")
        assert client.post(f"{url}/chat/completions", json=ASK).status_code == 200
    assert len(server.requests) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_keeps_what_was_received(
    tmp_path: Path, serve: Callable[..., Any], number: signal.Signals
) -> None:
    server = serve(chunk(text("first")), Sleep(60))
    command = [OTEL_LLM, "record", "--upstream", server.base_url, "--out", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        with sdk(url) as client:
            stream = client.chat.completions.create(**ASK, stream=True)
            next(stream)
            process.send_signal(number)
            with pytest.raises((openai.APIConnectionError, httpx.HTTPError)):
                next(stream)
        assert process.stderr.read() == f"otel-llm record: {recordings(tmp_path)[0]}: closed\n"
        assert process.wait(30) == 128 + number
    assert end(recordings(tmp_path)[0]) == "closed"


def test_a_signal_ends_the_command_too(tmp_path: Path, serve: Callable[..., Any]) -> None:
    code = "import time; print('ready', flush=True); time.sleep(300)"
    options = ["--base-url", serve(*STREAM).base_url, "--out", str(tmp_path)]
    command = [OTEL_LLM, "record", *options, "--", sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "", "the command was left running"
        assert process.wait(30) == 128 + signal.SIGTERM


def test_a_response_that_is_not_a_stream(tmp_path: Path, serve: Callable[..., Any]) -> None:
    with recording(serve(Answer(completion(text("Hi")))), tmp_path) as url, sdk(url) as client:
        assert client.chat.completions.create(**ASK).choices[0].message.content == "Hi"
    (path,) = recordings(tmp_path)
    assert main(["inspect", str(path)]) == 0


def test_an_error_response(tmp_path: Path, serve: Callable[..., Any]) -> None:
    refused = Answer(error_event("no"), status=429, headers={"retry-after": "7"})
    with recording(serve(refused), tmp_path) as url, sdk(url) as client:
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(**ASK)
        assert raised.value.response.headers["retry-after"] == "7"
    (path,) = recordings(tmp_path)
    assert head(path)["response"]["status"] == 429


def test_a_server_that_cannot_be_reached(tmp_path: Path) -> None:
    with (
        recording("http://127.0.0.1:9/v1", tmp_path) as url,
        sdk(url) as client,
        pytest.raises(openai.InternalServerError, match="cannot be reached"),
    ):
        client.chat.completions.create(**ASK)
    assert recordings(tmp_path) == []


def test_a_server_that_compresses_anyway(tmp_path: Path, serve: Callable[..., Any]) -> None:
    import gzip

    body = gzip.compress(json.dumps(completion(text(KEY))).encode())
    with recording(serve(Answer(body, headers={"content-encoding": "gzip"})), tmp_path) as url, sdk(url) as client:
        assert client.chat.completions.create(**ASK).choices[0].message.content == KEY
    (path,) = recordings(tmp_path)
    assert end(path) == "error: the server sent it compressed"
    assert reads_of(path) == []


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_request_that_the_client_compresses(is_whole: bool, tmp_path: Path, serve: Callable[..., Any]) -> None:
    import gzip

    body = gzip.compress(json.dumps(ASK | {"api_key": "sk-in-the-body"}).encode())
    server = serve(*STREAM)
    with recording(server, tmp_path) as url:
        headers = {"content-encoding": "gzip"}
        httpx.post(f"{url}/chat/completions", content=body if is_whole else body[:-9], headers=headers)
    (path,) = recordings(tmp_path)
    covered = ASK | {"api_key": "*" * len("sk-in-the-body")}
    assert head(path)["request"]["body"] == (covered if is_whole else "")


def test_concurrent_requests_have_a_file_each(tmp_path: Path, serve: Callable[..., Any]) -> None:
    with recording(serve(*STREAM), tmp_path) as url:
        threads = [threading.Thread(target=body_of, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [path.name for path in recordings(tmp_path)] == [f"{number:04}.jsonl" for number in range(1, 9)]
    assert {end(path) for path in recordings(tmp_path)} == {"completed"}
    with recording(serve(*STREAM), tmp_path) as url:
        body_of(url)
    assert len(recordings(tmp_path)) == 9, "nothing is overwritten"


APP = """
import openai, sys
client = openai.OpenAI(api_key="%s")
stream = client.chat.completions.create(model="m", messages=[], stream=True)
print(len(list(stream)), sys.argv[1:])
sys.exit(7)
"""


def test_a_command_is_recorded(tmp_path: Path, serve: Callable[..., Any]) -> None:
    server = serve(*STREAM)
    options = ["--base-url", server.base_url, "--out", str(tmp_path / "made")]
    command = [OTEL_LLM, "record", *options, "--", sys.executable, "-c", APP % KEY, "--flag", "--", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"{len(STREAM) - 2} ['--flag', '--', 'x']\n"
    (path,) = recordings(tmp_path / "made")
    assert f"otel-llm record: {path}: completed\n" in done.stderr
    assert KEY not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--upstream", "localhost:8000"], "is not the URL of a server"),
        (["--listen", "nowhere"], "'nowhere' is not HOST:PORT"),
        (["--listen", "127.0.0.1:70000"], "is not HOST:PORT"),
        (["--listen", "192.0.2.1:0"], "can be reached from other machines"),
    ],
)
def test_wrong_options_are_explained(
    options: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", "--out", str(tmp_path), *options]) == 2
    assert why in capsys.readouterr().err


def test_a_missing_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", "--out", str(tmp_path), "--", str(tmp_path / "missing")]) == 127
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "package"), [("record", "httptools"), ("replay", "hypercorn")])
def test_a_missing_package_is_named(command: str, package: str) -> None:
    program = f"""
import sys
sys.modules["{package}"] = None
from otel_llm.cli import main
sys.exit(main(["{command}", r"{CORPUS / "healthy-openai-call.jsonl"}"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert re.fullmatch(rf"otel-llm {command} needs {package}\S*: pip install 'otel-llm\[cli\]'\n", done.stderr)


# -- replay --


def test_recordings_are_served_in_turn(instrument: Callable[..., Seen]) -> None:
    names = ["broken-index-reused-in-pieces", "healthy-openai-parallel", "healthy-framing-cut-characters"]
    seen = instrument()
    paths = [CORPUS / f"{name}.jsonl" for name in names]
    with replaying(*paths) as url, sdk(url) as client:
        assert [model.id for model in client.models.list()] == ["recorded"]
        for path in [*paths, *paths]:
            request: Any = load(path).request
            assert len(list(client.chat.completions.create(**request))) == len(load(path).chunks)
    assert seen.spans[0].events[-1].name == "otel_llm.anomaly"
    counts = [(span.attributes or {})["otel_llm.stream.anomaly_count"] for span in seen.spans]
    assert counts == [1, 0, 0, 1, 0, 0]


def test_the_recorded_bytes_are_served() -> None:
    path = CORPUS / "healthy-framing-crlf.jsonl"
    with running("replay", str(path), "--speed", "0") as url:
        assert body_of(url) == b"".join(data for _, data in reads_of(path))


def test_the_recorded_timing_is_kept(instrument: Callable[..., Seen]) -> None:
    seen = instrument(stall_seconds=0.4)
    path = CORPUS / "broken-stalled-arguments.jsonl"
    with replaying(path, speed=24) as url, sdk(url) as client:
        request: Any = load(path).request
        list(client.chat.completions.create(**request))
    assert seen.anomalies == ["stalled"]
    assert seen.attributes["otel_llm.stream.max_chunk_gap"] >= 0.45


def test_a_recorded_disconnect_is_repeated() -> None:
    with replaying(CORPUS / "healthy-ending-dropped.jsonl") as url, sdk(url) as client:
        stream = client.chat.completions.create(**ASK, stream=True)
        with pytest.raises((openai.APIConnectionError, httpx.HTTPError)):
            list(stream)


def test_a_stream_saved_with_its_headers_is_served_with_its_status(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    path.write_bytes(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2 503\r\nContent-Type: text/html\r\nRetry-After: 3\r\n\r\n<p>no"
    )
    with replaying(path, speed=1) as url:
        answer = httpx.post(f"{url}/chat/completions", json=ASK)
    assert (answer.status_code, answer.content) == (503, b"<p>no")
    assert (answer.headers["content-type"], answer.headers["retry-after"]) == ("text/html", "3")


@pytest.mark.parametrize("content", ['{"choices": []}\n{"choices": []}\n', "interactions: []\n", "Dear reader"])
def test_a_file_that_is_not_a_stream_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    assert main(["replay", str(path)]) == 2
    assert "it is neither a recording nor a saved stream" in capsys.readouterr().err


def test_raw_events_are_served(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_text('data: {"choices": []}\n\ndata: [DONE]\n\n')
    with replaying(path, speed=1) as url:
        assert body_of(url) == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "options", "why"),
    [
        (b"\0\1", [], "it is neither a recording nor a saved stream"),
        (b"", [], "it is neither a recording nor a saved stream"),
        (b'{"otel_llm_recording": 3}\n', [], "a recording of another version (3)"),
        (b"data: {}\n\n", ["--speed", "-1"], "--speed must not be negative"),
        (b"data: {}\n\n", ["--listen", "x"], "is not HOST:PORT"),
    ],
)
def test_unusable_files_and_options(
    content: bytes, options: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert main(["replay", str(path), *options]) == 2
    assert why in capsys.readouterr().err


# -- other SDKs, and what is not kept --

ANTHROPIC = """
import anthropic
asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
with anthropic.Anthropic(api_key="unused", max_retries=0).messages.stream(**asked) as stream:
    assert stream.get_final_message().content[1].input == {"title": 1}
"""
BEDROCK = """
import botocore.session
client = botocore.session.get_session().create_client("bedrock-runtime", region_name="us-east-1")
asked = {"modelId": "amazon.nova-pro-v1:0", "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
print(len(list(client.converse_stream(**asked)["stream"])))
"""
GOOGLE = """
from google import genai
client = genai.Client(api_key="AIzaSyA-very-secret-key-0123456789abcdef")
(answer,) = client.models.generate_content_stream(model="m", contents="hi")
assert answer.function_calls[0].args == {"title": 1}
"""
GROQ = """
import groq
client = groq.Groq(api_key="unused-key", max_retries=0)
print(len(list(client.chat.completions.create(model="m", messages=[], stream=True))))
"""
CEREBRAS = """
from cerebras.cloud.sdk import Cerebras
client = Cerebras(api_key="unused-key", max_retries=0, warm_tcp_connection=False)
print(len(list(client.chat.completions.create(model="m", messages=[], stream=True))))
"""
RESPONSES = """
import openai
client = openai.OpenAI(api_key="unused-key", max_retries=0)
print(len(list(client.responses.create(model="m", input="hi", stream=True))))
"""


def recorded_run(folder: Path, code: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["record", "--out", str(folder), *options, "--", sys.executable, "-c", code]
    return run_command(*command, **variables)


# What a program posts without importing an SDK, which takes longer than all the rest.
POST = f"""
import json, os, urllib.error, urllib.request
url = os.environ["OPENAI_BASE_URL"]
def request(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {{"content-type": "application/json", "x-api-key": "{KEY}"}}
    try:
        urllib.request.urlopen(urllib.request.Request(url + path, data, headers)).read()
    except urllib.error.HTTPError as refused:
        refused.read()
"""


@pytest.mark.parametrize(
    ("package", "code", "variable", "path"),
    [
        ("groq", GROQ, "GROQ_BASE_URL", "/openai/v1/chat/completions"),
        ("cerebras.cloud.sdk", CEREBRAS, "CEREBRAS_BASE_URL", "/v1/chat/completions"),
    ],
)
def test_another_sdk(
    package: str, code: str, variable: str, path: str, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    pytest.importorskip(package)
    server = serve(*STREAM)
    given = recorded_run(tmp_path / "given", code, "--upstream", server.base_url)
    assert given.returncode == 0, given.stderr
    (recorded,) = recordings(tmp_path / "given")
    assert server.requests[-1].path == head(recorded)["request"]["path"] == "/v1/chat/completions"
    assert f"{recorded}: completed" in given.stderr
    own = recorded_run(tmp_path / "own", code, **{variable: server.base_url.removesuffix("/v1")})
    assert own.returncode == 0, own.stderr
    (recorded,) = recordings(tmp_path / "own")
    assert server.requests[-1].path == head(recorded)["request"]["path"] == path


def test_anthropic_s_sdk(tmp_path: Path, serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    events = message_events(text_block("Sure."), tool_use("add_task", {"title": 1}))
    server = serve(*events)
    given = recorded_run(tmp_path / "given", ANTHROPIC, "--upstream", server.base_url)
    assert given.returncode == 0, given.stderr
    (recorded,) = recordings(tmp_path / "given")
    assert server.requests[-1].path == head(recorded)["request"]["path"] == "/v1/messages"
    # No tool is declared.
    assert f"{recorded}: completed\notel-llm record: {recorded}: unknown_tool\n" in given.stderr
    own = recorded_run(tmp_path / "own", ANTHROPIC, ANTHROPIC_BASE_URL=server.base_url.removesuffix("/v1"))
    assert own.returncode == 0, own.stderr
    (recorded,) = recordings(tmp_path / "own")
    assert main(["inspect", "--json", str(recorded)]) == 1
    (anomaly,) = json.loads(capsys.readouterr().out)["anomalies"]
    assert anomaly["type"] == "unknown_tool"
    assert anomaly["chunks"]


def test_bedrock(tmp_path: Path, serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    """At a server that takes any signature."""
    pytest.importorskip("botocore")
    server = serve(*converse_events(converse_text("Sure."), converse_call("add_task", {"title": 1})))
    own = server.base_url.removesuffix("/v1")
    keys = {"AWS_ACCESS_KEY_ID": "AKIAUNUSED7EXAMPLE42", "AWS_SECRET_ACCESS_KEY": "a-key-that-is-long-enough"}
    done = recorded_run(tmp_path, BEDROCK, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=own, **keys)
    assert done.returncode == 0, done.stderr
    (recorded,) = recordings(tmp_path)
    assert head(recorded)["request"]["path"] == "/model/amazon.nova-pro-v1:0/converse-stream"
    assert f"{recorded}: completed\notel-llm record: {recorded}: unknown_tool\n" in done.stderr
    assert "AKIAUNUSED" not in recorded.read_text()
    assert main(["inspect", "--json", str(recorded)]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [anomaly["type"] for anomaly in printed["anomalies"]] == ["unknown_tool"]
    assert printed["attributes"]["gen_ai.request.model"] == "amazon.nova-pro-v1:0"


BEDROCK_S_URL = "import os; print(os.environ.get('AWS_ENDPOINT_URL_BEDROCK_RUNTIME'))"


def test_signed_requests_are_left_alone(
    tmp_path: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"):
        monkeypatch.delenv(name, raising=False)
    assert recorded_run(tmp_path, BEDROCK_S_URL).stdout == "None\n"
    key = {"AWS_BEARER_TOKEN_BEDROCK": "key", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "https://gateway.example"}
    assert recorded_run(tmp_path, BEDROCK_S_URL, **key).stdout == "https://gateway.example\n"
    given = recorded_run(tmp_path, BEDROCK_S_URL, "--upstream", serve(*STREAM).base_url)
    assert given.stdout.endswith("/otel-llm-sdk/bedrock\n")


def test_google_s_sdk(tmp_path: Path, serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    server = serve(*responses([call_part("add_task", {"title": 1})]))
    own = recorded_run(tmp_path, GOOGLE, GOOGLE_GEMINI_BASE_URL=server.base_url.removesuffix("/v1"))
    assert own.returncode == 0, own.stderr
    (recorded,) = recordings(tmp_path)
    assert head(recorded)["request"]["path"].partition("?")[0].endswith("/models/m:streamGenerateContent")
    assert "very-secret" not in recorded.read_text()
    assert f"{recorded}: completed\notel-llm record: {recorded}: unknown_tool\n" in own.stderr
    assert main(["inspect", "--json", str(recorded)]) == 1
    (anomaly,) = json.loads(capsys.readouterr().out)["anomalies"]
    assert anomaly["type"] == "unknown_tool"
    assert anomaly["chunks"]


@pytest.mark.skipif(not HAS_RESPONSES, reason="this SDK has no Responses API")
def test_the_responses_api(tmp_path: Path, serve: Callable[..., Any]) -> None:
    events = response_events(function_call("add_task", '{"title": 1}'))
    done = recorded_run(tmp_path, RESPONSES, "--upstream", serve(*events).base_url)
    assert done.returncode == 0, done.stderr
    (recorded,) = recordings(tmp_path)
    assert head(recorded)["request"]["path"] == "/v1/responses"
    # No tool is declared.
    assert f"{recorded}: completed\notel-llm record: {recorded}: unknown_tool\n" in done.stderr
    assert main(["inspect", str(recorded)]) == 1


def test_it_says_that_nothing_came(tmp_path: Path, serve: Callable[..., Any]) -> None:
    done = recorded_run(tmp_path, "pass", "--upstream", serve(*STREAM).base_url)
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == "otel-llm record: no request came"
    assert "OPENAI_BASE_URL, GROQ_BASE_URL, CEREBRAS_BASE_URL, ANTHROPIC_BASE_URL" in done.stderr


OTHERS = f"""{POST}
for _ in range(2):
    request("/models")
request("/embeddings", {{}})
request("/{KEY}/messages", {{}})
"""


def test_it_says_what_it_did_not_record(tmp_path: Path, serve: Callable[..., Any]) -> None:
    done = recorded_run(tmp_path, OTHERS, "--upstream", serve(*STREAM).base_url)
    hidden = "*" * len(KEY)
    assert done.stderr == (
        "otel-llm record: not recorded, as only requests to models are: GET /v1/models (2),"
        f" POST /v1/embeddings (1), POST /v1/{hidden}/messages (1)\n"
    )
    assert recordings(tmp_path) == []


def test_it_says_why_it_did_not_record(tmp_path: Path, serve: Callable[..., Any]) -> None:
    code = f'{POST}request("/chat/completions", {{}})'
    done = recorded_run(tmp_path, code, "--upstream", "http://127.0.0.1:9/v1")
    assert "not recorded: 1 request, as the server could not be reached\n" in done.stderr
    compressing = serve(Answer(b"\x1f\x8b", headers={"content-encoding": "br"}))
    done = recorded_run(tmp_path, code, "--upstream", compressing.base_url)
    assert "recorded without the body, which the server compressed: 1\n" in done.stderr


FAILURES: dict[str, tuple[Any, str]] = {
    "an error in place of a stream": (Answer(error_event("no luck")), "an error: no luck"),
    "an HTTP error": (Answer(error_event("no luck"), status=429), "status 429: no luck"),
    "an error event": (error_event("no luck"), "an error event: no luck"),
    "a field of its own": (b'error: {"message": "no luck"}\n\n', "an error outside the events: no luck"),
    "the refused key": (Answer(error_event(f"wrong key {KEY}"), status=401), f"status 401: wrong key {'*' * len(KEY)}"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_it_tells_why_a_response_failed(name: str, tmp_path: Path, serve: Callable[..., Any]) -> None:
    step, why = FAILURES[name]
    code = f'{POST}request("/chat/completions", {ASK!r})'
    done = recorded_run(tmp_path, code, "--upstream", serve(step).base_url)
    (recorded,) = recordings(tmp_path)
    assert f"otel-llm record: {recorded}: completed\notel-llm record: {recorded}: {why}\n" in done.stderr
    assert KEY not in done.stderr


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([chunk(text("Hi"), "stop")], "missing_done"),
        ([b"hello\n\n", chunk(text("Hi"), "stop"), DONE], "invalid_framing"),
        ([Answer(completion(text("Hi")), headers={"content-type": "text/plain"})], "wrong_content_type"),
        ([Answer(completion(text("Hi")))], "wrong_content_type"),
        (STREAM, ""),
    ],
    ids=["no end", "no event", "another type", "no stream", "healthy"],
)
def test_it_tells_what_is_wrong(
    steps: list[Any], found: str, tmp_path: Path, serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code = f'{POST}request("/chat/completions", {ASK | {"stream": True}!r})'
    done = recorded_run(tmp_path, code, "--upstream", serve(*steps).base_url)
    (recorded,) = recordings(tmp_path)
    told = f"otel-llm record: {recorded}: {found}\n" if found else ""
    assert done.stderr == f"otel-llm record: {recorded}: completed\n{told}"
    assert main(["inspect", "--json", str(recorded)]) == bool(found)
    (one,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert [anomaly["type"] for anomaly in one["anomalies"]] == ([found] if found else [])
