"""`otel-llm proxy` as a process: its signals, its workers, TLS, and the telemetry that it sends."""

from __future__ import annotations

import inspect
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from otel_llm.cli import main
from tests.helpers.proxying import proxying
from tests.helpers.raw_server import RawConnection, RawServer, connected, raw_server

OTEL_LLM = [sys.executable, "-c", "from otel_llm.cli import main; raise SystemExit(main())"]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ENVIRON = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


class Command:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self.said: list[str] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.said.append(line)
                self._changed.notify_all()

    def says(self, words: str) -> None:
        """Wait until it says so."""
        with self._changed:
            assert self._changed.wait_for(lambda: words in "".join(self.said), 30), self.said


@contextmanager
def running(*arguments: str, environ: dict[str, str] | None = None, in_new_group: bool = False) -> Iterator[Command]:
    process = subprocess.Popen(
        [*OTEL_LLM, "proxy", "--listen", "127.0.0.1:0", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | ENVIRON | (environ or {}),
        start_new_session=in_new_group,
    )
    assert process.stderr is not None
    too_late = threading.Timer(90, process.kill)
    too_late.start()
    try:
        line = process.stderr.readline()
        found = re.search(r"listening on (https?://[\d.]+:\d+)", line)
        assert found, line + process.stderr.read()
        yield Command(process, found.group(1))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)
        too_late.cancel()
        process.stderr.close()


@pytest.fixture
def server() -> Iterator[RawServer]:
    with raw_server() as server:
        server.answer(OK)
        yield server


def until_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            assert httpx.get(f"{url}/readyz").status_code == 200
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_signals(server: RawServer, tmp_path: Path) -> None:
    """SIGHUP reads the configuration anew; after SIGTERM a stream finishes."""
    go_on = threading.Event()

    def script(connection: RawConnection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n")
        assert go_on.wait(20)
        connection.send(b"2\r\nb\n\r\n0\r\n\r\n")

    file = tmp_path / "proxy.yaml"
    file.write_text(f"upstreams: [{{url: '{server.url}'}}]\n")
    with raw_server() as other, running("--config", str(file)) as command:
        other.answer(OK.replace(b"ok", b"no"))
        with httpx.Client(base_url=command.url) as client:
            until_ready(command.url)
            assert client.get("/x").text == "ok"
            file.write_text(f"upstreams: [{{url: '{other.url}'}}]\n")
            command.process.send_signal(signal.SIGHUP)
            command.says("was read anew")
            assert client.get("/x").text == "no"
            file.write_text("upstreams:\n  - nothing: 1\n")
            command.process.send_signal(signal.SIGHUP)
            command.says("stays as it was")
            command.says("proxy.yaml:2: 'nothing' is no setting")
            assert client.get("/x").text == "no"
        other.script = script
        with connected(command.port) as idle, connected(command.port) as streaming:
            streaming.send(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            streaming.read_until(b"a\n\r\n")
            command.process.send_signal(signal.SIGTERM)
            assert idle.is_closed()
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{command.url}/readyz")
            go_on.set()
            assert streaming.read_until(b"0\r\n\r\n") == b"2\r\nb\n\r\n0\r\n\r\n"
            assert streaming.is_closed()
        assert command.process.wait(20) == 0


def test_what_does_not_finish_is_ended(server: RawServer) -> None:
    asked = threading.Event()

    def script(connection: RawConnection) -> None:
        connection.request()
        asked.set()
        connection.is_closed(20)

    server.script = script
    with proxying(server.url) as proxy, connected(proxy.port) as client:
        client.send(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert asked.wait(10)
        proxy.call(lambda: proxy.server.drain(0.1))
        assert not proxy.gateway.is_idle
        proxy.stop()
        assert client.is_closed()


def test_workers_share_the_port(server: RawServer) -> None:
    """One that dies is started again. An interrupt in a terminal goes to all of their group: streams finish even so."""
    go_on = threading.Event()

    def script(connection: RawConnection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n")
        assert go_on.wait(20)
        connection.send(b"2\r\nb\n\r\n0\r\n\r\n")

    with running("--upstream", server.url, "--workers", "2", in_new_group=True) as command:
        until_ready(command.url)
        for _ in range(20):
            assert httpx.get(f"{command.url}/x").text == "ok"
        children = Path(f"/proc/{command.process.pid}/task/{command.process.pid}/children").read_text().split()
        workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        command.says("is started again")
        server.script = script
        with connected(command.port) as streaming:
            streaming.send(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            streaming.read_until(b"a\n\r\n")
            os.killpg(command.process.pid, signal.SIGINT)
            # Nothing tells that it was handed on; were it to end the stream, it would within this time.
            time.sleep(0.3)
            go_on.set()
            assert streaming.read_until(b"0\r\n\r\n") == b"2\r\nb\n\r\n0\r\n\r\n"
            assert streaming.is_closed()
        assert command.process.wait(30) == 130
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_end_with_their_parent(server: RawServer) -> None:
    with running("--upstream", server.url, "--workers", "2", in_new_group=True) as command:
        until_ready(command.url)
        with connected(command.port) as idle:
            command.process.kill()
            assert idle.is_closed()


def test_tls(server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl cannot make a certificate here")
    context = ssl.create_default_context(cafile=str(certificate))
    with proxying(server.url, tls_cert=certificate, tls_key=key) as inner:
        with httpx.Client(verify=context) as client:
            for _ in range(2):
                assert client.get(f"{inner.url}/x").text == "ok"
        # The other side of TLS, from one proxy to another.
        with proxying(inner.url) as outer:
            answer = httpx.get(f"{outer.url}/x")
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "UpstreamUnreachable"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        # Tests keep contexts, see conftest.py.
        monkeypatch.setattr(ssl, "create_default_context", inspect.unwrap(ssl.create_default_context))
        with proxying(inner.url) as outer:
            assert httpx.get(f"{outer.url}/x").text == "ok"


def test_wrong_settings_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proxy"]) == 2
    assert "otel-llm proxy: no server is named" in capsys.readouterr().err
    assert main(["proxy", "--upstream", "http://127.0.0.1:1", "--listen", "0.0.0.0:0"]) == 2
    assert "needs --public" in capsys.readouterr().err
    assert main(["proxy", "--upstream", "http://127.0.0.1:1", "--check"]) == 0
