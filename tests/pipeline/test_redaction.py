"""Secrets in what a model writes, and anywhere else in the telemetry, do not pass the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
from application import TRAFFIC, run_instrumented
from backends import events, eventually, tags
from otlp import SENT_TO_ANY_PATH, send_spans
from tier import TOKEN, new_tier, running_tier
from traffic import SECRETS

pytestmark = pytest.mark.usefixtures("go_programs", "disk_of_the_test")

# What must not be found: each secret, and the longest part of it that no other word holds.
FORBIDDEN = {
    *SECRETS.values(),
    "4111 1111",
    "alice.secret",
    "AbCdEf0123",
    "mF_9.B5f",
}


def test_a_secret_in_streamed_arguments_is_nowhere_in_jaeger(tmp_path: Path, scripted: str) -> None:
    with running_tier(tmp_path, SHARE_PERCENT="100") as tier:
        run_instrumented(str(TRAFFIC), scripted, "secrets", "calls", otlp_port=tier.agent_ports.grpc)
        spans = eventually(lambda: tier.traces.spans("app"), lambda spans: len(spans) == 2)
        raw = tier.traces.raw("app")

    assert not [secret for secret in FORBIDDEN if secret in raw]
    told = {tags(span)["otel_llm.stream.chunk_count"]: events(span) for span in spans}
    with_secrets, without = told[max(told)], told[min(told)]
    pieces = [e for e in with_secrets if e["event"] == "otel_llm.tool_call.arguments.delta"]
    # A piece that tells nothing else still says when it came, and how long the arguments were by then.
    assert {e["gen_ai.tool.call.arguments"] for e in pieces} == {"****"}
    assert pieces[-1]["otel_llm.arguments.length"] > 300
    (whole,) = [e for e in with_secrets if e["event"] == "otel_llm.tool_call.completed"]
    assert whole["gen_ai.tool.call.arguments"].startswith('{"card": "****", "email": "****", "note": "so be it')
    # The other request keeps its pieces.
    kept = [e["gen_ai.tool.call.arguments"] for e in without if e["event"] == "otel_llm.tool_call.arguments.delta"]
    assert "".join(kept) == '{"title": "buy milk"}{}'


def test_a_secret_is_not_in_the_gateway_s_queue_either(tmp_path: Path, scripted: str) -> None:
    tier = new_tier(tmp_path, SHARE_PERCENT="100")
    with tier.gateway, tier.agent:  # no Jaeger: everything waits in the queue
        run_instrumented(str(TRAFFIC), scripted, "secrets=20", otlp_port=tier.agent_ports.grpc)
        queue = tmp_path / "gateway" / "queue"
        held = eventually(lambda: _content(queue), lambda content: content.count(b"so be it") >= 20)
        tier.gateway.kill()
        held += _content(queue)

    assert held.count(b"so be it") >= 20
    assert not [secret for secret in FORBIDDEN if secret.encode() in held]


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("path", SENT_TO_ANY_PATH)
def test_wherever_a_span_holds_a_secret_it_is_masked(redacting_tier, path: str, kind: str) -> None:
    service, secret = f"{path}-{kind}", SECRETS[kind]
    send_spans(redacting_tier.gateway_ports.http, TOKEN, service=service, path=path, value=f"so be it: {secret} and on")

    assert eventually(lambda: redacting_tier.traces.spans(service), bool)
    raw = redacting_tier.traces.raw(service)
    assert secret not in raw
    assert "so be it" in raw


@pytest.mark.parametrize(
    "harmless",
    [
        "a title of 1234567 words",
        "1764000000000000000",
        "e-mail me @ home",
        "task-skip-1",
        "2026-11-23T14:00:00.000000Z",
        "0123456789abcdef0123456789abcdef",
        '{"title": "buy milk", "tokens": 4096}',
    ],
)
def test_what_is_no_secret_is_kept(redacting_tier, harmless: str) -> None:
    service = "harmless-" + harmless.encode().hex()
    send_spans(redacting_tier.gateway_ports.http, TOKEN, service=service, path="attribute", value=harmless)

    (span,) = eventually(lambda: redacting_tier.traces.spans(service), bool)
    assert tags(span)["app.note"] == harmless


@pytest.fixture(scope="module")
def redacting_tier(tmp_path_factory):
    with running_tier(tmp_path_factory.mktemp("redacting"), SHARE_PERCENT="100") as tier:
        yield tier


def _content(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
