"""Spans made by hand and sent as OTLP/HTTP JSON, for input that no SDK would produce."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

SENT_TO_ANY_PATH = ("attribute", "list", "event", "event name", "resource", "status", "name", "delta")
"""The places of a span that hold text and that Jaeger shows."""

Attributes = dict[str, Any]


def send_spans(port: int, token: str, *, service: str, path: str, value: str) -> None:
    """Send one span that has ``value`` at ``path``, one of SENT_TO_ANY_PATH. Raises HTTPError if it is refused."""
    body: Attributes = {"app.note": value} if path == "attribute" else {}
    if path == "list":
        body = {"app.notes": ["one", value]}
    made: dict[str, Any] = {
        "attributes": body,
        "name": value if path == "name" else "chat m",
        "status": {"code": 2, "message": value} if path == "status" else {},
        "events": [],
    }
    if path == "event":
        made["events"] = [("app.event", {"app.note": value})]
    if path == "event name":
        made["events"] = [(value, {})]
    if path == "delta":
        # One character in each event, so no single event holds a secret.
        made["events"] = [
            (
                "otel_llm.tool_call.arguments.delta",
                {"gen_ai.tool.call.arguments": character, "otel_llm.choice.index": 0, "otel_llm.tool_call.index": 0},
            )
            for character in value
        ] + [("app.event", {"app.note": "so be it"})]
    post_spans(
        port,
        token,
        [span(**made)],
        resource={"service.name": service, **({"process.command_args": ["run", value]} if path == "resource" else {})},
    )


def span(
    *,
    attributes: Attributes | None = None,
    name: str = "chat m",
    status: dict[str, Any] | None = None,
    events: Sequence[tuple[str, Attributes]] = (),
    trace_id: str | None = None,
    seconds: float = 0.1,
) -> dict[str, Any]:
    """A span that has just ended, as OTLP JSON."""
    now = time.time_ns()
    return {
        "traceId": trace_id or os.urandom(16).hex(),
        "spanId": os.urandom(8).hex(),
        "name": name,
        "kind": 3,
        "startTimeUnixNano": str(now - int(seconds * 1e9)),
        "endTimeUnixNano": str(now),
        "attributes": _attributes(attributes or {}),
        "status": status or {},
        "events": [
            {"name": event, "timeUnixNano": str(now + position), "attributes": _attributes(values)}
            for position, (event, values) in enumerate(events)
        ],
    }


def post_spans(
    port: int,
    token: str | None,
    spans: Sequence[dict[str, Any]],
    *,
    resource: Attributes,
) -> None:
    """Send spans to 127.0.0.1:``port``. Raises HTTPError if they are refused."""
    scope_spans = {"scope": {"name": "test"}, "spans": list(spans)}
    whole = {"resourceSpans": [{"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scope_spans]}]}
    post(port, token, json.dumps(whole).encode(), {"Content-Type": "application/json"})


def post(port: int, token: str | None, body: bytes, headers: dict[str, str]) -> None:
    """POST a body to the traces path. Raises HTTPError if it is refused."""
    if token is not None:
        headers = {**headers, "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/traces", body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30):
            pass
    except urllib.error.HTTPError as refusal:
        refusal.close()
        raise


def _attributes(values: Attributes) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _attributes(value)}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": str(value)}
