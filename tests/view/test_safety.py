"""Which requests `otel-llm view` answers, and which it refuses."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from otel_llm.view.safety import is_loopback
from tests.helpers.viewing import OTEL_LLM, Viewer, id_of, otlp, span, viewing

TOKEN = "a-token-of-the-tests"
GETS = ("/", "/api/requests", "/api/facets", "/api/live", "/nothing")


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    with viewing(tmp_path_factory.mktemp("view") / "v.db") as viewer:
        yield viewer


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.mark.parametrize("path", GETS)
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.1", "localhost.evil.example", ""]
)
def test_other_host_names_are_refused(view: Viewer, host: str, path: str) -> None:
    answer = view.client.get(path, headers={"host": f"{host}:{port_of(view.page)}" if host else ""})
    assert answer.status_code == 403
    assert "requests" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "page.localhost"])
def test_names_of_the_loopback_interface_are_answered(view: Viewer, host: str) -> None:
    # Any port: it may have been forwarded.
    for port in (":9", ""):
        assert view.client.get("/api/requests", headers={"host": host + port}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1"])
def test_other_origins_are_refused(view: Viewer, origin: str) -> None:
    made = span()
    view.send(made)
    headers = {"origin": origin}
    assert view.client.get("/api/requests", headers=headers).status_code == 403
    assert view.client.delete("/api/requests", headers=headers).status_code == 403
    assert view.client.post("/api/import", json=otlp(span()), headers=headers).status_code == 403
    sent = httpx.post(f"{view.http}/v1/traces", json=otlp(span()), headers=headers)
    assert sent.status_code == 403
    assert "access-control-allow-origin" not in sent.headers
    assert id_of(made) in {one["id"] for one in view.requests()}
    assert view.client.get("/api/requests", headers={"origin": view.page}).status_code == 200


def test_sec_fetch_headers_are_checked(view: Viewer) -> None:
    cross = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert view.client.get("/api/requests", headers=cross).status_code == 403
    assert view.client.get("/", headers=cross | {"sec-fetch-mode": "navigate"}).status_code == 200
    assert view.client.get("/api/requests", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_a_form_of_another_page_changes_nothing(view: Viewer) -> None:
    # What a page can send without a preflight; old browsers send no Origin.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"):
        headers = {"content-type": kind}
        assert view.client.post("/api/import", content=b"{}", headers=headers).status_code == 415
        assert httpx.post(f"{view.http}/v1/traces", content=b"{}", headers=headers).status_code == 415


@pytest.mark.parametrize("path", [*GETS[:3], "/nothing"])
def test_headers_of_every_response(view: Viewer, path: str) -> None:
    headers = view.client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "path",
    ["/../api.py", "/%2e%2e/api.py", "/..%2fapi.py", "//etc/passwd", "/page/../../store.py", "/index.html%00", "/."],
)
def test_only_the_page_is_served(view: Viewer, path: str) -> None:
    # Not by httpx, which normalizes paths.
    with socket.create_connection(("127.0.0.1", port_of(view.page))) as plain:
        plain.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        answer = b""
        while piece := plain.recv(65536):
            answer += piece
    assert b" 404 " in answer.splitlines()[0] or b" 400 " in answer.splitlines()[0]
    assert b"import" not in answer
    assert b"root:" not in answer


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [OTEL_LLM, "view", "--no-open", "--port", "0", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_another_address_needs_a_token(tmp_path: Path) -> None:
    done = run("--host", "0.0.0.0", "--db", str(tmp_path / "v.db"))
    assert done.returncode == 2
    assert "--token" in done.stderr
    assert not (tmp_path / "v.db").exists()
    done = run("--token", "two words", "--db", str(tmp_path / "v.db"))
    assert done.returncode == 2


def test_with_a_token(tmp_path: Path) -> None:
    with viewing(tmp_path / "v.db", "--host", "0.0.0.0", OTEL_LLM_VIEW_TOKEN=TOKEN) as view:
        page = f"http://127.0.0.1:{port_of(view.page)}"
        traces = f"http://127.0.0.1:{port_of(view.http)}/v1/traces"
        with httpx.Client(base_url=page) as client:
            for path in GETS:
                assert client.get(path).status_code == 401
            assert client.get("/api/requests", headers={"authorization": "Bearer wrong"}).status_code == 401
            assert client.get("/api/requests?token=wrong").status_code == 401
            assert httpx.post(traces, json=otlp(span())).status_code == 401
            bearer = {"authorization": f"Bearer {TOKEN}"}
            assert httpx.post(traces, json=otlp(span()), headers=bearer).status_code == 200
            assert httpx.post(traces, params={"token": TOKEN}, content=b"{").status_code == 415, (
                "not a page to redirect to"
            )
            # Under any host name.
            assert client.get("/api/requests", headers=bearer | {"host": "box.example"}).status_code == 200
            assert client.get("/api/requests", headers=bearer | {"origin": "http://evil.example"}).status_code == 403
            once = client.get("/", params={"token": TOKEN})
            assert (once.status_code, once.headers["location"]) == (303, "/")
            assert {"HttpOnly", "SameSite=Strict"} <= set(once.headers["set-cookie"].split("; "))
            assert len(client.get("/api/requests").json()["requests"]) == 1, "the cookie is enough"


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    with viewing(tmp_path / "new" / "v.db") as view:
        view.send(span())
        for path in (tmp_path / "new").iterdir():
            assert path.stat().st_mode & 0o077 == 0 or os.name == "nt"


def test_what_counts_as_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3:80", "localhost:4318", "[::1]:1", "::1"]))
    assert not any(
        map(
            is_loopback,
            ["", "0.0.0.0", "[::]", "10.0.0.1", "example.org", "127.0.0.1.nip.io", "localhost@a", "[::1].a"],
        )
    )


def test_it_ends_with_a_watching_client_and_an_unfinished_request(tmp_path: Path) -> None:
    with viewing(tmp_path / "v.db") as view:
        stuck = socket.create_connection(("127.0.0.1", port_of(view.http)))
        stuck.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n")
        stuck.sendall(b"content-type: application/json\r\n\r\n{")
        with httpx.stream("GET", f"{view.page}/api/live") as live:
            assert next(live.iter_lines())
            view.process.terminate()
            assert view.process.wait(30) == 0
        stuck.close()
