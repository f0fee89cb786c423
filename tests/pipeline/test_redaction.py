"""Secrets in what a model writes, or anywhere else in the telemetry, do not pass the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pipeline.application import TRAFFIC, run_instrumented
from tests.helpers.pipeline.backends import events, eventually, tags
from tests.helpers.pipeline.otlp import SENT_TO_ANY_PATH, post_spans, send_spans, span
from tests.helpers.pipeline.tier import TOKEN, Tier, new_tier, running_tier
from tests.helpers.pipeline.traffic import SECRETS

pytestmark = pytest.mark.usefixtures("go_programs", "disk_of_the_test")

# What must not be found: each secret, and its longest part that occurs in no other word.
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
    # A withheld delta still shows when it came and how long the arguments were by then.
    assert {e["gen_ai.tool.call.arguments"] for e in pieces} == {"****"}
    assert pieces[-1]["otel_llm.arguments.length"] > 300
    (whole,) = [e for e in with_secrets if e["event"] == "otel_llm.tool_call.completed"]
    assert whole["gen_ai.tool.call.arguments"].startswith('{"card": "****", "email": "****", "note": "so be it')
    # The other request keeps its deltas.
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
def test_wherever_a_span_holds_a_secret_it_is_masked(redacting_tier: Tier, path: str, kind: str) -> None:
    service, secret = f"{path}-{kind}", SECRETS[kind]
    send_spans(redacting_tier.gateway_ports.http, TOKEN, service=service, path=path, value=f"so be it: {secret} and on")

    assert eventually(lambda: redacting_tier.traces.spans(service), bool)
    raw = redacting_tier.traces.raw(service)
    assert secret not in raw
    assert "so be it" in raw


def _in_json(text: str, *, times: int = 1) -> str:
    for _ in range(times):
        text = json.dumps({"text": text})
    return text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        # At the beginning of a line, which in JSON follows a letter (of the escape).
        (_in_json("keys:\n" + SECRETS["key"]), "AbCdEf"),
        (_in_json("keys:\t" + SECRETS["key"], times=3), "AbCdEf"),
        (_in_json("paid with\n" + SECRETS["card"]), "1111"),
        (_in_json("paid with\n4111111111111111"), "1111"),
        (_in_json("paid with\n378282246310005"), "2463"),
        (_in_json("header:\n" + SECRETS["bearer"]), "mF_9"),
        ('{"text": "\\u0022' + SECRETS["key"] + '\\u0022"}', "AbCdEf"),
        ("https://example.com/?q=%20" + SECRETS["key"], "AbCdEf"),
        (_in_json("alice\\u0040example.com"), "alice"),
        # Masked whole, whatever it contains, at any depth of JSON within JSON.
        ('{"password": "my long one"}', "long"),
        ('{"password": "hunter,2;is}not"}', "2;is}not"),
        (json.dumps({"password": 'hunt"er2isnot\\good'}), "er2is"),
        (json.dumps({"password": "pässwort-geheim"}), "geheim"),
        (_in_json(json.dumps({"password": 'my "long" one'})), "long"),
        (_in_json(json.dumps({"password": "my long one"}), times=3), "long"),
        ("{'password': 'my long one'}", "long"),
        (_in_json('export DB_PASSWORD="my long one" && run'), "long"),
        ('{"password": "abc12"}', "abc12"),
        ('{"secret_key": "abcdefgh12345"}', "abcdefgh"),
        ('{"refresh_token": "abcdefgh12345"}', "abcdefgh"),
        ('{"Authorization": "token abcdefgh12345"}', "abcdefgh"),
        ("auth_token: Bearer abcdefgh12345", "abcdefgh"),
        ("postgres://user:p#ss!word@db.example.com/x", "p#ss"),
        ("redis://:p@ssword@db:6379/0", "ssword"),
        ("jürgen.müller@exämple.de", "mple.de"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEabcd\n-----END RSA PRIVATE KEY-----",
            "MIIE",
        ),
    ],
)
def test_a_secret_in_any_writing_is_masked(redacting_tier: Tier, text: str, secret: str) -> None:
    """The order of the patterns changes from value to value, so each secret is sent in many values."""
    service = "writing-" + text.encode().hex()[:200]
    notes = {f"app.note.{number}": text for number in range(20)}
    post_spans(redacting_tier.gateway_ports.http, TOKEN, [span(attributes=notes)], resource={"service.name": service})

    (sent,) = eventually(lambda: redacting_tier.traces.spans(service), bool)
    assert not [value for key, value in tags(sent).items() if key in notes and secret in value]


def test_a_map_entry_named_as_a_secret_is_masked(redacting_tier: Tier) -> None:
    secrets = {"password": "abc", "inner": {"api_key": "q7q7"}}
    post_spans(
        redacting_tier.gateway_ports.http,
        TOKEN,
        [span(attributes={"app.map": secrets, "app.refresh_token": "q7q7"})],
        resource={"service.name": "in-a-map"},
    )

    (sent,) = eventually(lambda: redacting_tier.traces.spans("in-a-map"), bool)
    assert "****" in tags(sent)["app.map"]
    assert not [value for value in tags(sent).values() if "abc" in str(value) or "q7q7" in str(value)]


def test_no_delta_after_a_cut_one_is_kept(redacting_tier: Tier) -> None:
    """The cut removed the beginning of the secret."""
    first, second, third = "a 'quoted' " * 18, "xyzAbCdEf0123", "and on"
    lengths = (400, 400 + len(second), 400 + len(second) + len(third))
    pieces = [_delta(text, length) for text, length in zip((first, second, third), lengths, strict=True)]
    uncut = [_delta("ä" * 200, 200, call=1), _delta("2026-11-23", 210, call=1)]
    post_spans(
        redacting_tier.gateway_ports.http, TOKEN, [span(events=pieces + uncut)], resource={"service.name": "cut"}
    )

    (sent,) = eventually(lambda: redacting_tier.traces.spans("cut"), bool)
    kept = [event["gen_ai.tool.call.arguments"] for event in events(sent)]
    assert kept == [first, "****", "****", "ä" * 200, "2026-11-23"]


def _delta(text: str, length: int, *, call: int = 0) -> tuple[str, dict[str, Any]]:
    return "otel_llm.tool_call.arguments.delta", {
        "gen_ai.tool.call.arguments": text,
        "otel_llm.arguments.length": length,
        "otel_llm.choice.index": 0,
        "otel_llm.tool_call.index": call,
    }


@pytest.mark.parametrize(
    "harmless",
    [
        '{"lon": 13.404953999999975, "share": 0.4512345678901234}',
        "44655440-4111-4111-8111-111111111111",
        "412345678901234567",
        "hf-internal-testing",
        '{"token_count": 123456789}',
        "a title of 1234567 words",
        "1764000000000000000",
        "e-mail me @ home",
        "task-skip-1",
        "2026-11-23T14:00:00.000000Z",
        "0123456789abcdef0123456789abcdef",
        '{"title": "buy milk", "tokens": 4096}',
    ],
)
def test_what_is_no_secret_is_kept(redacting_tier: Tier, harmless: str) -> None:
    service = "harmless-" + harmless.encode().hex()
    send_spans(redacting_tier.gateway_ports.http, TOKEN, service=service, path="attribute", value=harmless)

    (span,) = eventually(lambda: redacting_tier.traces.spans(service), bool)
    assert tags(span)["app.note"] == harmless


@pytest.fixture(scope="module")
def redacting_tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    with running_tier(tmp_path_factory.mktemp("redacting"), SHARE_PERCENT="100") as tier:
        yield tier


def _content(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
