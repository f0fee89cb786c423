"""Settings from flags and from a file, checked as a whole; every error says where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otel_llm.proxy.configuration import Configuration, ConfigurationError, Given, configured

ENVIRON = {"TOKEN": "t", "KEY": "sk-1", "BAD": "a\nb", "EMPTY": " "}
FILE = """\
listen: 127.0.0.1:9000
upstreams:
  - url: http://127.0.0.1:8000/v1
  - name: claude
    url: https://api.anthropic.com
    key_env: KEY
    models: ["claude-*", haiku]
    tags: openai
tags: <a>,</a>
record: recordings
token_env: TOKEN
span_headers: [X-Tenant]
workers: 2
observe: false
limits:
  body_bytes: 1_000
  idle_seconds: 2.5
"""


def read(tmp_path: Path, text: str, **given: Any) -> Configuration:
    file = tmp_path / "proxy.yaml"
    file.write_text(text, encoding="utf-8")
    return configured(Given(**given), file, ENVIRON)


def test_a_file(tmp_path: Path) -> None:
    configuration = read(tmp_path, FILE)
    assert configuration.listen == "127.0.0.1:9000"
    plain, claude = configuration.upstreams.servers
    assert (plain.url, plain.prefix, plain.credentials) == ("http://127.0.0.1:8000/v1", "", None)
    assert (claude.prefix, claude.credentials) == ("claude", (b"x-api-key", b"sk-1"))
    assert claude.serves("claude-sonnet-5")
    assert not claude.serves("gpt")
    assert configuration.token == "t"
    assert (configuration.workers, configuration.observes, configuration.record) == (2, False, Path("recordings"))
    assert configuration.span_headers == ["x-tenant"]
    assert (configuration.limits.body_bytes, configuration.limits.idle_seconds) == (1000, 2.5)
    assert not configuration.replaces_credentials


def test_a_flag_goes_before_the_file(tmp_path: Path) -> None:
    configuration = read(tmp_path, FILE, listen="127.0.0.1:1", upstreams=["http://other"], workers=3, observes=True)
    assert configuration.listen == "127.0.0.1:1"
    assert [server.url for server in configuration.upstreams.servers] == ["http://other"]
    assert (configuration.workers, configuration.observes) == (3, True)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "there are no settings"),
        ("- a", 1, "settings are expected"),
        ("upstreams: [\n", 2, "expected the node content"),
        ("listen: 1\nupstream: x", 2, "'upstream' is no setting; did you mean upstreams?"),
        ("listen: a:1\nlisten: b:2", 2, "stands here twice"),
        ("upstreams:\n  - {url: 'ftp://x'}", 2, "is not the URL of a server"),
        ("upstreams:\n  - url: http://a\n  - name: b", 3, "a server needs a url"),
        ("upstreams:\n  - url: http://a\n    name: a/b", 2, "is no name of a server"),
        ("upstreams:\n  - url: http://a\n    key_env: NONE", 2, "variable NONE"),
        ("upstreams:\n  - url: http://a\n    key_env: EMPTY", 2, "is not set"),
        ("upstreams:\n  - url: http://a\n    key_env: BAD", 2, "no header can have"),
        ("upstreams: x", 1, "a list is expected"),
        ("upstreams: [{url: http://a}]\nworkers: 0", 2, "a whole number from 1 to 256"),
        ("upstreams: [{url: http://a}]\nworkers: two", 2, "a whole number"),
        ("upstreams: [{url: http://a}]\nobserve: 7", 2, "true or false"),
        ("upstreams: [{url: http://a}]\nlimits:\n  idle_seconds: -1", 3, "a number of seconds above 0"),
        ("upstreams: [{url: http://a}]\nlimits:\n  idle_second: 1", 3, "did you mean idle_seconds?"),
        ("upstreams: [{url: http://a}]\nlisten: here", 2, "is not HOST:PORT"),
        ("listen: 127.0.0.1:1", 1, "upstreams is missing"),
        ("upstreams: [{url: http://a}]\ntags: '<a>,'", 2, "tags: "),
    ],
)
def test_errors_name_the_line(text: str, line: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(tmp_path, text)
    assert f"proxy.yaml:{line}: " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"upstreams": ()}, "no server is named"),
        ({"upstreams": ["localhost:8000"]}, "is not the URL of a server"),
        ({"upstreams": ["http://a?x=1"]}, "has a query"),
        ({"upstreams": ["http://a", "http://b"]}, "two servers have no name"),
        ({"upstreams": ["x=http://a", "x=http://b"]}, "two servers have the name 'x'"),
        ({"upstreams": ["healthz=http://a"]}, "is no name of a server"),
        ({"listen": "0.0.0.0:1"}, "needs --public"),
        ({"listen": "0.0.0.0:1", "public": True}, "needs a token"),
        ({"token_env": "NONE"}, "variable NONE for the token is not set"),
        ({"key_envs": ["b=KEY"]}, "there is no server named 'b'"),
        ({"tags": "<a>,"}, "--tags: "),
        ({"span_headers": ["Authorization"]}, "is not put on spans"),
        ({"span_headers": ["a b"]}, "is not put on spans"),
        ({"tls_cert": Path("cert.pem")}, "both a certificate and its key"),
        ({"tls_cert": Path("no.pem"), "tls_key": Path("no.pem")}, "no.pem: there is no such file"),
    ],
)
def test_flags_that_do_not_fit(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        configured(Given(**{"upstreams": ["http://a"], **given}), environ=ENVIRON)
    assert message in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        configured(Given(), tmp_path / "none.yaml", {})
    assert "No such file" in str(error.value)


def test_other_machines_with_flag_and_token() -> None:
    configuration = configured(
        Given(upstreams=["http://a"], listen="0.0.0.0:1", public=True, token_env="TOKEN"), environ=ENVIRON
    )
    assert configuration.token == "t"
    assert "'t'" not in repr(configuration)


@pytest.mark.parametrize(
    ("url", "path", "there"),
    [
        ("http://a/v1", b"/v1/chat", b"/v1/chat"),
        ("http://a/v1", b"/chat", b"/v1/chat"),
        ("http://a/v1/", b"/v1", b"/v1"),
        ("http://a/v1", b"/v10", b"/v1/v10"),
        ("http://a", b"/x/y", b"/x/y"),
        ("http://a/", b"/", b"/"),
    ],
)
def test_paths(url: str, path: bytes, there: bytes) -> None:
    configuration = configured(Given(upstreams=[url]), environ={})
    chosen = configuration.upstreams.of_model(path, None)
    assert chosen is not None
    assert chosen[1] == there
