"""`otel-llm view` as a process, and spans for it."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.helpers.swallowed_faults import faults_in

OTEL_LLM = str(Path(sys.executable).with_name("otel-llm"))


class Viewer:
    """A running view: `page`, `http` and `grpc` are its URLs."""

    def __init__(self, process: subprocess.Popen[str], page: str, http: str, grpc: str) -> None:
        self.process = process
        self.page, self.http, self.grpc = page, http, grpc
        # A connection that is kept may be closed by the server, on a busy machine just when the next request is sent.
        unkept = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(base_url=page, timeout=60, trust_env=False, limits=unkept)
        self._said: list[str] = []
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        # Its output must not fill the pipe.
        assert self.process.stderr is not None
        self._said.extend(self.process.stderr)

    def said_later(self) -> str:
        """What it printed after its addresses, once it has ended."""
        self._listening.join(30)
        return "".join(self._said)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def requests(self, **filters: Any) -> list[dict[str, Any]]:
        return list(self.get("/api/requests", limit=1000, **filters)["requests"])

    def detail(self, request_id: str) -> dict[str, Any]:
        return dict(self.get(f"/api/requests/{request_id}"))

    def send(self, *spans: dict[str, Any], resource: dict[str, Any] | None = None) -> None:
        answer = httpx.post(f"{self.http}/v1/traces", json=otlp(*spans, resource=resource), timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text


def otlp(*spans: dict[str, Any], resource: dict[str, Any] | None = None) -> dict[str, Any]:
    """Spans as an OTLP JSON request."""
    scope_spans = [{"scope": {"name": "otel_llm"}, "spans": list(spans)}]
    return {"resourceSpans": [{"resource": {"attributes": attributes(resource or {})}, "scopeSpans": scope_spans}]}


def span(
    *events: tuple[str, float, dict[str, Any]],
    started_ms: float | None = None,
    links: Sequence[dict[str, Any]] = (),
    trace_id: str | None = None,
    **values: Any,
) -> dict[str, Any]:
    """A chat completion. Events are names, milliseconds from its start, and attributes."""
    started = time.time_ns() if started_ms is None else int(started_ms * 1e6)
    given = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **values.pop("attributes", {})}
    return {
        "traceId": trace_id or os.urandom(16).hex(),
        "spanId": os.urandom(8).hex(),
        "name": "chat m",
        "kind": 3,
        "startTimeUnixNano": str(started),
        "endTimeUnixNano": str(started + 10**9),
        "attributes": attributes(given),
        "events": [
            {"name": name, "timeUnixNano": str(started + int(at * 1e6)), "attributes": attributes(told)}
            for name, at, told in events
        ],
        "links": list(links),
        **values,
    }


def call(index: int, name: str, *pieces: str, call_id: str | None = None, at: float = 10) -> list[Any]:
    """The events of a whole call, one millisecond apart."""
    where = {"otel_llm.choice.index": 0, "otel_llm.tool_call.index": index}
    who = {"gen_ai.tool.name": name, "gen_ai.tool.call.id": call_id or f"call_{index}"}
    events: list[Any] = [
        ("otel_llm.tool_call.detected", at, {**where, "gen_ai.tool.call.id": who["gen_ai.tool.call.id"]}),
        ("otel_llm.tool_call.name", at, {**where, "gen_ai.tool.name": name}),
    ]
    length = 0
    for piece in pieces:
        length += len(piece)
        at += 1
        counted = {"otel_llm.delta.count": 1, "otel_llm.arguments.length": length}
        told = {**where, **counted, "gen_ai.tool.call.arguments": piece}
        events.append(("otel_llm.tool_call.arguments.delta", at, told))
    told = {**where, **who, "gen_ai.tool.call.arguments": "".join(pieces)[:200], "otel_llm.arguments.length": length}
    return [*events, ("otel_llm.tool_call.completed", at, {**told, "otel_llm.delta.count": len(pieces)})]


def result_of(cause: dict[str, Any]) -> dict[str, Any]:
    """The link of a request that carries a tool result for `cause`."""
    told = attributes({"gen_ai.tool.call.id": "call_0", "gen_ai.tool.name": "add_task"})
    return {"traceId": cause["traceId"], "spanId": cause["spanId"], "attributes": told}


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value if math.isfinite(value) else str(value).replace("inf", "Infinity")}
        case list():
            return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": value}


def id_of(made: dict[str, Any]) -> str:
    return f"{made['traceId']}-{made['spanId']}"


@contextmanager
def viewing(db: Path, *options: str, **environment: str) -> Iterator[Viewer]:
    """`otel-llm view` on free ports. At the end it is terminated, and must end with status 0."""
    ports = ["--port", "0", "--otlp-http", "0", "--otlp-grpc", "0"]
    process = subprocess.Popen(
        [OTEL_LLM, "view", "--no-open", "--db", str(db), *ports, *options],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    assert process.stderr is not None
    too_late = threading.Timer(120, process.kill)
    too_late.start()
    said = ""
    viewer = None
    try:
        while not (found := re.search(r"received at (\S+) \(HTTP\) and (\S+) \(gRPC\)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        page = re.search(r"the page is at ([^\s,]+)", said)
        assert page, said
        viewer = Viewer(process, page.group(1), *found.groups())
        yield viewer
        viewer.client.close()
        if process.poll() is None:
            process.terminate()
            assert process.wait(30) == 0
        assert not faults_in(viewer.said_later())
    finally:
        process.kill()
        process.wait(30)
        too_late.cancel()
        if viewer is not None:
            viewer.said_later()
        process.stderr.close()


def lines_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]
