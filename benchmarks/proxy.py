"""Measures `otel-llm proxy` beside nginx and LiteLLM's proxy, where these are installed.

usage: python -m benchmarks.proxy [--seconds N] [--litellm PATH]        (make bench-proxy)

All stand before the same server and get the same load. The proxy has one core, server and load share another.
`hands on` is the proxy without observation; `observes` has spans that go nowhere; `sends` sends them over OTLP/HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import uvloop
from rich.table import Table

from benchmarks.proxy_load import Times, connect, late, middle, short_answers, streams
from benchmarks.report import console, print_machine

_IDLE_STREAMS = 1000
# It has an environment of its own, and no table of prices to fetch.
_OF_LITELLM = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}
_OF_LITELLM["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # no token, as for the others
_NO_EXPORT = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
_NGINX = """
worker_processes 1; pid {folder}/pid; error_log {folder}/error; daemon off; worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream models {{ server 127.0.0.1:{upstream}; keepalive 200; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://models; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; proxy_read_timeout 600s; }} }}
}}
"""
_LITELLM = """
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
"""


@dataclass
class Candidate:
    """`command` serves on `port`."""

    name: str
    port: int
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Measured:
    one: Times
    many: Times
    flat: Times
    paced: Times
    memory: float = 0.0  # megabytes, with the idle streams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement of requests (4)")
    parser.add_argument("--litellm", default=shutil.which("litellm"), help="the program litellm, with its extra proxy")
    parser.add_argument("--only", help="measure only those whose name has this")
    arguments = parser.parse_args()
    out = console()
    print_machine(out, [])
    out.print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    cores = sorted(os.sched_getaffinity(0))
    mine, theirs = cores[-1], cores[0]
    os.sched_setaffinity(0, {mine})
    results: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as folder, _running(mine, *_server(port := _free_port())):
        _await_port(port)
        results["no proxy"] = uvloop.run(_measure(port, arguments.seconds, None))
        for candidate in _candidates(Path(folder), port, arguments.litellm):
            if arguments.only and arguments.only not in candidate.name:
                continue
            with _running(theirs, candidate.command, candidate.environ) as process:
                try:
                    _await_port(candidate.port)
                except TimeoutError:
                    out.print(f"{candidate.name} did not start")
                    continue
                results[candidate.name] = uvloop.run(_measure(candidate.port, arguments.seconds, process))
    out.print(_table(results))


def _server(port: int) -> tuple[Sequence[str], Mapping[str, str]]:
    return [sys.executable, "-m", "benchmarks.proxy_server", str(port)], {}


def _candidates(folder: Path, upstream: int, litellm: str | None) -> Iterator[Candidate]:
    run = "from otel_llm.cli import main; raise SystemExit(main())"
    url = f"http://127.0.0.1:{upstream}"

    def ours(name: str, *flags: str, environ: Mapping[str, str] | None = None) -> Candidate:
        command = [sys.executable, "-c", run, "proxy", "--upstream", url, "--listen", f"127.0.0.1:{port}", *flags]
        return Candidate(f"otel-llm: {name}", port, command, environ or {})

    port = _free_port()
    if nginx := shutil.which("nginx"):
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, upstream=upstream, port=port))
        yield Candidate("nginx", port, [nginx, "-c", str(folder / "nginx.conf")])
    port = _free_port()
    yield ours("hands on", "--no-spans")
    port = _free_port()
    yield ours("observes", environ=_NO_EXPORT)
    sends = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
    }
    port = _free_port()
    yield ours("sends", environ=sends)
    port = _free_port()
    yield ours("sends, --tags", "--tags", "openai", environ=sends)
    if litellm:
        port = _free_port()
        (folder / "litellm.yaml").write_text(_LITELLM.format(upstream=upstream))
        command = [litellm, "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
        yield Candidate("LiteLLM", port, [*command, "--num_workers", "1"], _OF_LITELLM)


async def _measure(port: int, seconds: float, process: psutil.Process | None) -> Measured:
    await short_answers(port, 4, 1.0)
    measured = Measured(
        one=await short_answers(port, 1, seconds),
        many=await short_answers(port, 32, seconds),
        flat=await streams(port, 32, 400, 0),
        paced=await streams(port, 100, 80, 0.05),
    )
    if process is not None:
        clients = [await connect(port) for _ in range(_IDLE_STREAMS)]
        body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"chunks=2,pause=30"}]}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-1234\r\n"
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        for client in clients:
            _ = client.ask(head + body, stream=True)
        deadline = time.monotonic() + 60
        while any(not client.first_ns for client in clients) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        measured.memory = _memory(process)
        for client in clients:
            client.transport.abort()
    return measured


def _memory(process: psutil.Process) -> float:
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 2**20


@contextlib.contextmanager
def _running(core: int, command: Sequence[str], environ: Mapping[str, str]) -> Iterator[psutil.Process]:
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        env=os.environ | environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise TimeoutError("the server does not listen")
        time.sleep(0.1)


def _table(results: Mapping[str, Measured]) -> Table:
    table = Table(title="One core each; milliseconds; added: to the same without a proxy")
    for column in (
        "", "requests/s\n32 at a time", "request, added\np50 / p99, one at a time", "chunks/s\n32 streams",
        "first byte, added\np50 / p99, 100 streams", "chunk, added\np50 / p99, 100 streams",
        f"MB with\n{_IDLE_STREAMS} streams", "failed",
    ):  # fmt: skip
        table.add_column(column, justify="right" if column else "left")
    base = results["no proxy"]
    for name, one in results.items():
        failed = sum(times.failed for times in (one.one, one.many, one.flat, one.paced))
        if one is base:
            added = [
                f"({middle(times):.2f} / {late(times):.2f})"
                for times in (one.one.first, one.paced.first, one.paced.chunks)
            ]
        else:
            added = [
                f"{middle(mine) - middle(bare):.2f} / {late(mine) - late(bare):.2f}"
                for mine, bare in (
                    (one.one.first, base.one.first),
                    (one.paced.first, base.paced.first),
                    (one.paced.chunks, base.paced.chunks),
                )
            ]
        table.add_row(
            name,
            f"{one.many.per_second:,.0f}",
            added[0],
            f"{one.flat.per_second:,.0f}",
            *added[1:],
            f"{one.memory:.0f}" if one.memory else "",
            str(failed),
        )
    return table


if __name__ == "__main__":
    main()
