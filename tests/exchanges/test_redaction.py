"""What a recording covers: every secret, however it is spelled and cut, and no byte of anything else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.exchanges.redaction import (
    Redactor,
    masked,
    secrets_in_environment,
    secrets_in_request,
    secrets_in_response,
)
from tests.helpers.corpus_streams import CORPUS, reads_of
from tests.helpers.thoroughness import examples

KEY = "sk-secret-0123456789abcdef"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
KEYS = secrets_in_request([("authorization", f"Bearer {KEY}")], "")


def covered(body: bytes, secrets: Iterable[bytes] = KEYS, cuts: Sequence[int] = ()) -> bytes:
    """The body after it came in pieces."""
    redactor = Redactor(secrets)
    places = sorted(cut for cut in cuts if cut < len(body))
    pieces = [redactor.feed(body[a:b]) for a, b in zip([0, *places], [*places, len(body)], strict=True)]
    return b"".join([*pieces, redactor.finish()])


def event(value: Any, *, line_end: str = "\n\n", escape: bool = True) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=escape).encode() + line_end.encode()


def delta(index: Any = 0, **fields: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": index, "delta": fields, "finish_reason": None}]}


def arguments(text: str, index: int | None = 0) -> dict[str, Any]:
    place = {} if index is None else {"index": index}
    return delta(tool_calls=[{**place, "function": {"arguments": text}}])


def texts(body: bytes) -> str:
    """All that the events tell, joined."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
        elif isinstance(value, dict):
            for name, inner in value.items():
                if name not in {"id", "item_id", "role", "type"}:
                    walk(inner)

    for line in body.splitlines():
        if line.startswith(b"data: {"):
            walk(json.loads(line[6:]))
    return "".join(found)


# -- what is none --


@pytest.mark.parametrize(
    "key",
    ["ollama", "none", "EMPTY", "x", "sk-1234", "not-needed", "lm-studio", "sk-no-key-required", "token-abc123",
     "xxxxxxxxxx", "<YOUR_API_KEY>", "${OPENAI_API_KEY}"],
)  # fmt: skip
@pytest.mark.parametrize("header", ["authorization", "api-key", "x-api-key"])
def test_a_placeholder_covers_nothing(key: str, header: str) -> None:
    value = f"Bearer {key}" if header == "authorization" else key
    secrets = secrets_in_request([(header, value)], f"key={key}", {"api_key": key}, "https://api.example.com/v1")
    body = event(arguments(json.dumps({"command": f"pip install {key}"})))
    assert covered(body, secrets) == body


@pytest.mark.parametrize("upstream", ["http://127.0.0.1:11434/v1", "http://localhost:8000/v1", "http://[::1]:1/v1"])
def test_words_are_no_key_towards_this_machine(upstream: str) -> None:
    headers = [("authorization", "Bearer developer-machine")]
    body = b"the developer-machine of the team"
    assert covered(body, secrets_in_request(headers, "", None, upstream)) == body
    assert b"developer" not in covered(body, secrets_in_request(headers, "", None, "https://api.example.com/v1"))
    keys = secrets_in_request([("authorization", f"Bearer {KEY}")], "", None, upstream)
    assert KEY.encode() not in covered(KEY.encode(), keys)


def test_names_and_schemes_are_kept() -> None:
    headers = [
        ("authorization", f'Digest username="alice", realm="the realm", nonce="0a4f113b5f", response="{KEY}"'),
        ("x-amz-authorization", f"AWS4-HMAC-SHA256 Credential={KEY}/aws4_request, SignedHeaders=host;x-amz-date"),
        ("cookie", f"session_name={KEY}; preferences=dark-theme-2"),
    ]
    told = b"Credential, SignedHeaders, username, the realm, response, session_name, preferences, AWS4-HMAC-SHA256"
    hidden = covered(told + b" " + KEY.encode(), secrets_in_request(headers, ""))
    assert hidden == told + b" " + b"*" * len(KEY)


def test_fields_whose_names_only_sound_secret() -> None:
    body = {
        "max_tokens": 100,
        "tokenizer": "mistral-common-tekken",
        "design": "modern-and-bright",
        "token_type": "urn-ietf-params-oauth",
        "keywords": "observability",
        "authentication": {"type": "system_assigned_managed_identity"},
        "tags": [{"key": "environment", "value": "production-eu"}],
        "session_title": "A long evening in Paris",
        "primary_key": "customer_number_column",
        "password_policy": "twelve characters and a digit",
        "callback": "https://a.b/c?next=https%3A%2F%2Fc.d%2Fpage%3Flang%3Den",
        "code": "x = 1  //user:comment",
        "response_format": {"json_schema": {"schema": {"properties": {"api_key": {"description": "the key to use"}}}}},
        "tools": [
            {
                "type": "function",
                "function": {"name": "a", "parameters": {"properties": {"pwd": {"title": "A password"}}}},
            }
        ],
    }
    query = "deployment=gpt-4o-mini-2024-07-18&api-version=2024-10-21-preview"
    assert secrets_in_request([], query, body) == []


# -- what is one --

SECRETS: list[tuple[str, dict[str, Any]]] = [
    ("a URL's parameter", {"tools": [{"type": "mcp", "server_url": f"https://mcp.example/sse?api_key={KEY}"}]}),
    (
        "a signed URL in a message",
        {"messages": [{"content": [{"image_url": {"url": f"https://a.b/c?w=1&sig={KEY}"}}]}]},
    ),
    ("a URL in a URL", {"messages": [{"content": f"see https://a.b/c?next=https%3A%2F%2Fu%3A{KEY}%40c.d"}]}),
    ("a URL without a scheme", {"messages": [{"content": f"see //u:{KEY}@a.b/c"}]}),
    ("a session in a path", {"messages": [{"content": f"see https://a.b/c;jsessionid={KEY}"}]}),
    ("a webhook", {"messages": [{"content": f"post to https://hooks.slack.com/services/T00/B00/{KEY}"}]}),
    ("a bot", {"messages": [{"content": f"https://api.telegram.org/bot{KEY}/sendMessage"}]}),
    ("JSON in a field", {"metadata": {"config": json.dumps({"client": {"private_key": KEY}})}}),
    ("a phrase", {"metadata": {"seed_phrase": KEY, "csrf": KEY, "totp": KEY}}),
    ("a URL's fragment", {"callback": f"https://a.b/#access_token={KEY}&x=1"}),
    ("a URL's password", {"data_source": f"postgres://user:{KEY}@db/x"}),
    ("a URL's user", {"repository": f"see https://{KEY}@git.example/x.git"}),
    ("a URL's path", {"tools": [{"server_url": f"https://mcp.example/s/{KEY.replace('-', '')}/mcp"}]}),
    ("pwd", {"options": {"pwd": KEY}}),
    ("pat", {"pat": KEY}),
    ("gitPat", {"gitPat": KEY}),
    ("conn_str", {"conn_str": f"Server=db.example;User Id=sa;Password={KEY};"}),
    ("a setting", {"target": f"Endpoint=sb://a.example/;SharedAccessKeyName=n;SharedAccessKey={KEY}"}),
    ("credentials", {"credentials": {"user": "a", "value": KEY}}),
    ("a list of them", {"credentials": [KEY]}),
    ("credentials in a text", {"credentials": json.dumps({"type": "service_account", "private_key": KEY})}),
    ("functions", {"functions": [{"name": "a", "parameters": {}, "api_key": KEY}]}),
    ("a tool's function", {"tools": [{"type": "function", "function": {"name": "a", "token": KEY}}]}),
    ("a flat tool", {"tools": [{"type": "function", "name": "a", "parameters": {}, "apiKey": KEY}]}),
    ("a pair", {"env": [{"name": "API_KEY", "value": KEY}]}),
    ("a header", {"extra": {"headers": {"X-Custom-Authorization": f"Bearer {KEY}"}}}),
    ("a tool's authorization", {"tools": [{"type": "mcp", "authorization": f"Bearer {KEY}"}]}),
]


@pytest.mark.parametrize(("name", "body"), SECRETS, ids=[name for name, _ in SECRETS])
def test_secrets_in_a_body(name: str, body: dict[str, Any]) -> None:
    secret = KEY.replace("-", "") if name == "a URL's path" else KEY
    redactor = Redactor(secrets_in_request([], "", body))
    assert secret not in json.dumps(redactor.hidden(body))
    echo = f"before {secret} after"
    assert redactor.hide(echo) == f"before {'*' * len(secret)} after"


@pytest.mark.parametrize(
    ("header", "value", "secret"),
    [
        ("dpop", KEY, KEY),
        ("authorization", f"DPoP {KEY}", KEY),
        ("openai-organization", "org-4711abcd", "org-4711abcd"),
        ("OpenAI-Project", "proj_4711abcd", "proj_4711abcd"),
        ("x-goog-user-project", "billing-project", "billing-project"),
        ("authorization", "Basic " + base64.b64encode(b"alice:hunter-2-hunter").decode(), "hunter-2-hunter"),
        ("authorization", f"AWS4-HMAC-SHA256 Credential={KEY}/2026/eu, Signature=0123456789abcdef", "0123456789abcdef"),
        ("proxy-authorization", f"Bearer {KEY}", KEY),
        ("ocp-apim-subscription-key", KEY, KEY),
        ("cookie", f"a=b; sid={KEY}", KEY),
        ("x-gateway", f"Bearer {KEY}", KEY),
        ("x-gateway", KEY, KEY),
        ("x-user-data", JWT, JWT),
        ("x-gateway-config", json.dumps({"provider": {"api_key": KEY}}), KEY),
        ("x-api-token", f'"{KEY}"', KEY),
        ("x-billing-id", "acme-4711abcd", "acme-4711abcd"),
    ],
)
def test_secrets_in_headers(header: str, value: str, secret: str) -> None:
    assert secret.encode() not in covered(f"echo: {secret}".encode(), secrets_in_request([(header, value)], ""))


def test_the_user_and_the_password_of_the_server() -> None:
    secrets = secrets_in_request([], "", None, "https://alice:p%40ssword-1@api.example/v1")
    for told in (base64.b64encode(b"alice:p@ssword-1"), b"p@ssword-1", b"p%40ssword-1"):
        assert covered(b"Basic " + told, secrets) == b"Basic " + b"*" * len(told)


def test_secrets_in_the_headers_of_a_response() -> None:
    headers = [("openai-organization", "user-4711abcd"), ("set-cookie", f"sid={KEY}; Path=/; SameSite=None"),
               ("x-ratelimit-remaining-tokens", "149999999"), ("content-type", "application/json")]  # fmt: skip
    secrets = secrets_in_response(headers)
    assert covered(f"user-4711abcd, {KEY}".encode(), secrets) == b"*" * 13 + b", " + b"*" * len(KEY)
    rest = b"149999999 application/json SameSite"
    assert covered(rest, secrets) == rest


@pytest.mark.parametrize("secret", ["pass<word>&more", "a'quoted+key=1", "one/two%three", 'back\\slash"quote'])
def test_spellings(secret: str) -> None:
    secrets = secrets_in_request([("x-api-key", secret)], "")
    escaped = json.dumps(secret)[1:-1]
    for mark in "&<>'+=":
        escaped = escaped.replace(mark, f"\\u{ord(mark):04x}")
    for told in (secret, json.dumps(secret)[1:-1], escaped):
        assert set(covered(told.encode(), secrets)) == set(b"*")
    assert set(covered("".join(f"%{ord(one):02x}" if not one.isalnum() else one for one in secret).encode(), secrets)) == set(b"*")  # fmt: skip # noqa: E501


def test_escapes_that_nobody_needs() -> None:
    body = event({"choices": [{"message": {"content": f"It is {KEY}."}}]}).replace(b"sk-", b"\\u0073\\u006b-")
    hidden = covered(body)
    assert texts(hidden) == f"It is {'*' * (len(KEY) + 10)}."
    # The request is written as a value.
    asked = json.loads(body[6:])
    assert KEY not in json.dumps(Redactor(KEYS).hidden(asked))


# -- in pieces --

pieces = st.lists(st.integers(1, len(KEY) - 1), max_size=12, unique=True).map(sorted)


def split(text: str, cuts: Sequence[int]) -> list[str]:
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


SHAPES: dict[str, Any] = {
    "content": lambda text: delta(content=text),
    "reasoning": lambda text: delta(reasoning_content=text),
    "arguments": arguments,
    "no index": lambda text: arguments(text, None),
    "a function call": lambda text: delta(function_call={"arguments": text}),
    "a refusal": lambda text: delta(refusal=text),
    "responses": lambda text: {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": text},
    "messages": lambda text: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
    "pretty": lambda text: delta(content=text),
}


@pytest.mark.parametrize("shape", SHAPES)
@settings(deadline=None, max_examples=examples(60))
@given(
    cuts=pieces, reads=st.lists(st.integers(0, 2500), max_size=20), line_end=st.sampled_from(["\n\n", "\r\n\r\n", "\n"])
)
def test_a_secret_is_covered_however_the_stream_is_cut(
    shape: str, cuts: list[int], reads: list[int], line_end: str
) -> None:
    made = SHAPES[shape]
    between = [event(delta(role="assistant", content=None)), b": keep-alive\n\n", event(delta(content=None))]
    body = event(made("The key is ")) + b"".join(
        between[at % 3] + event(made(piece), line_end=line_end) for at, piece in enumerate(split(KEY, cuts))
    )
    body += event(made(", the key.")) + b"data: [DONE]\n\n"
    hidden = covered(body, cuts=reads)
    assert len(hidden) == len(body)
    assert texts(hidden) == f"The key is {'*' * len(KEY)}, the key."
    assert hidden.count(b"*") == len(KEY)


@settings(deadline=None, max_examples=examples(60))
@given(cuts=pieces, other=st.text(st.characters(codec="utf-8"), max_size=30), reads=st.lists(st.integers(0, 2500)))
def test_calls_that_take_turns(cuts: list[int], other: str, reads: list[int]) -> None:
    body = b"".join(
        event(arguments(piece, 0)) + event(arguments(other, 1), escape=False) + event(delta(1, content=other))
        for piece in split(KEY, cuts)
    )
    hidden = covered(body, cuts=reads)
    first = b"".join(line for line in hidden.splitlines(keepends=True) if b'"index": 0, "function"' in line)
    assert set(texts(first)) == {"*"}
    rest = b'"index": 1'
    kept = [line for line in hidden.split(b"\n") if rest in line]
    assert kept == [line for line in body.split(b"\n") if rest in line]


@settings(deadline=None, max_examples=examples(100))
@given(
    st.lists(
        st.one_of(
            st.text(st.characters(codec="utf-8"), max_size=20).map(
                lambda text: event(delta(content=text), escape=False)
            ),
            st.sampled_from(["s", "sk", "sk-s", "sk-sec", "ret"]).map(lambda text: event(arguments(text))),
            st.binary(max_size=30),
            st.sampled_from([b"\n", b"data: {", b'data: "', b"}\n\n", b"[[", b"data: [DONE]\n\n"]),
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 1500), max_size=20),
)
def test_bytes_without_a_secret_are_kept(parts: list[bytes], reads: list[int]) -> None:
    body = b"".join(parts)
    assert covered(body, cuts=reads) == body


@pytest.mark.parametrize("path", sorted(CORPUS.glob("healthy-*.jsonl"))[::9], ids=lambda path: path.stem)
def test_recorded_streams_are_kept(path: Any) -> None:
    body = b"".join(data for _, data in reads_of(path))
    assert covered(body, cuts=range(0, len(body), 7)) == body


def test_the_probabilities_of_tokens_are_covered_with_the_text() -> None:
    def spoken(text: str) -> dict[str, Any]:
        token = {"token": text, "logprob": -0.1, "bytes": list(text.encode())}
        made = delta(content=text)
        made["choices"][0]["logprobs"] = {"content": [{**token, "top_logprobs": [token, {**token, "token": "other"}]}]}
        return made

    hidden = covered(b"".join(event(spoken(part)) for part in ("The ", KEY[:9], KEY[9:20], KEY[20:], " is")))
    lines = [json.loads(line[6:])["choices"][0] for line in hidden.splitlines() if line]
    assert [line["delta"]["content"] for line in lines] == ["The ", "*" * 9, "*" * 11, "*" * 6, " is"]
    assert [line["logprobs"]["content"][0]["token"] for line in lines] == ["The ", "*" * 9, "*" * 11, "*" * 6, " is"]
    assert str(list(KEY[:9].encode()))[1:-1].encode() not in hidden
    assert lines[0]["logprobs"]["content"][0]["bytes"] == list(b"The ")


def test_most_of_a_secret_is_covered_where_the_stream_ends_in_it() -> None:
    whole = event(delta(content=f"It is {KEY[:20]}"))
    assert KEY[:13].encode() not in covered(whole)
    assert KEY[:13].encode() not in covered(f"It is {KEY[:20]}".encode())
    assert KEY[4:20].encode() not in covered(event(delta(content=KEY[:4])) + event(delta(content=KEY[4:]))[:-25])
    few = event(delta(content=f"It is {KEY[:6]}"))
    assert covered(few) == few


def test_each_delta_repeats_all_before() -> None:
    hidden = covered(b"".join(event(delta(content=KEY[:end])) for end in range(1, len(KEY) + 1)))
    assert KEY[:14].encode() not in hidden


def test_what_is_held_has_a_limit() -> None:
    redactor = Redactor(KEYS)
    written = redactor.feed(event(delta(content="It is s")))
    assert written == b"", "the next delta may go on with the key"
    filler = event(arguments("x" * 1000))
    written = b"".join(redactor.feed(filler) for _ in range(300))
    assert len(written) > 200_000
    rest = redactor.feed(event(delta(content=KEY[1:]))) + redactor.finish()
    assert KEY[1:].encode() not in rest


def test_a_line_that_is_too_long_is_written_as_it_comes() -> None:
    redactor = Redactor(KEYS)
    written = b"".join(redactor.feed(piece) for piece in [b"a" * 400_000] * 4)
    assert len(written) > 1_000_000
    written += redactor.feed(KEY[:10].encode()) + redactor.feed(KEY[10:].encode() + b"\n") + redactor.finish()
    assert written == b"a" * 1_600_000 + b"*" * len(KEY) + b"\n"


# -- the doctor --


def test_the_doctor_masks_the_same_kinds() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic " + base64.b64encode(b"alice:hunter-2").decode(),
        "HTTPS_PROXY": "http://bob:builder-7@proxy:8080",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://ingest.example/0123456789abcdef0123/v1",
    }
    secrets = secrets_in_environment(environ)
    told = f"{environ} hunter-2 builder-7 {base64.b64encode(b'bob:builder-7').decode()}"
    shown = masked(told, secrets)
    for secret in ("hunter-2", "builder-7", "0123456789abcdef0123", base64.b64encode(b"bob:builder-7").decode()):
        assert secret not in shown
    assert masked(
        "none of the headers", secrets_in_environment({"OTEL_EXPORTER_OTLP_HEADERS": "api-key=none"})
    ).endswith("of the headers")
    assert masked("grpc://u:p@ss@host:1?token=abc is there", ()) == "grpc://****@host:1?**** is there"


def test_a_covered_stream_is_json_still() -> None:
    body = b"".join(event(arguments(part)) for part in ['{"key": "', KEY[:5], KEY[5:], '"}'])
    assert json.loads(texts(covered(body))) == {"key": "*" * len(KEY)}
