"""Secrets: which values of a request or of an environment are secret, and text without them.  Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus, urlsplit

# The only headers that are written down. The value of any other may be a secret.
_HARMLESS = frozenset(
    {
        "accept",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "openai-processing-ms",
        "openai-version",
        "retry-after",
        "server",
        "transfer-encoding",
        "user-agent",
        "x-request-id",
    }
)
_SECRET_NAME = re.compile(
    r"assertion|auth|bearer|cookie|credential|jwt|key|pass|secret|session|sign|token", re.IGNORECASE
)
# The word before a key is not secret.
_SCHEMES = frozenset({"apikey", "basic", "bearer", "digest", "negotiate", "token"})
# Fields of a request's body that are not searched: what the model reads, schemas, and a key that opens nothing.
_NO_SECRETS_IN = frozenset({"function", "functions", "messages", "prompt_cache_key", "response_format"})
_MOST_VALUES = 100_000
# Shorter ones are parts of ordinary words: in bodies, and in the doctor's sentences.
_SHORTEST_IN_REQUEST = 6
_SHORTEST_IN_ENVIRONMENT = 4
# The value of `api-version`, which occurs in other text.
_VERSION = re.compile(r"[\d.\-]+(?:-?preview)?")

_HEADERS_VARIABLE = re.compile(r"OTEL_EXPORTER_OTLP_(?:\w+_)?HEADERS")
_USER_OF_URL = re.compile(r"://[^/\s@\"']+@")
_QUERY_OF_URL = re.compile(r"(https?://[^\s?\"']*)\?[^\s\"']+")
_MASK = "****"


def harmless_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers that may be written down, with names in lower case."""
    return {name.lower(): value for name, value in headers if name.lower() in _HARMLESS}


# -- finding --


def secrets_in_request(headers: Iterable[tuple[str, str]], query: str, body: Any = None) -> list[bytes]:
    """The secrets in a request's headers, query and body (a JSON value), in each spelling, longest first."""
    found: set[str] = set()
    named = [(name, value) for name, value in headers if name.lower() not in _HARMLESS]
    for name, value in (*named, *_texts_in(body)):
        if _SECRET_NAME.search(name):
            found.update(_words(value))
    in_query = {part.partition("=")[2] for part in query.split("&")}
    for _, value in parse_qsl(query, keep_blank_values=False):
        in_query.update((value, unquote_plus(value)))
    found.update(value for value in in_query if not _VERSION.fullmatch(value))
    return _spelled(found, _SHORTEST_IN_REQUEST)


def secrets_in_environment(environ: Mapping[str, str]) -> list[bytes]:
    """The secrets in the variables that configure exporters: headers and passwords, in each spelling, longest first."""
    found: set[str] = set()
    for name, value in environ.items():
        if _HEADERS_VARIABLE.fullmatch(name):
            found.update((value.partition("=")[2], unquote(value.partition("=")[2])))
            for entry in value.split(","):
                # Without a `=` the name cannot be told from the secret.
                written = entry.partition("=")[2] if "=" in entry else entry
                found.update(_words(written.strip()), _words(unquote(written).strip()))
        elif name.upper().endswith("_PROXY") or name.startswith("OTEL_EXPORTER_OTLP_"):
            found.update(_password(value))
    return _spelled(found, _SHORTEST_IN_ENVIRONMENT)


def _words(value: str) -> set[str]:
    """A header's value, and its words: a key may itself contain a character that separates words."""
    words = {*value.split(), *re.split(r"[\s,;=]+", value)}
    return {value, *(word for word in words if word.lower() not in _SCHEMES)}


def _password(url: str) -> Iterable[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        return
    if password:
        yield from (password, unquote(password))


def _texts_in(body: Any) -> Iterator[tuple[str, str]]:
    """The texts in a request's body, with the names of their fields: some servers take keys there."""
    pending, count = [body], 0
    while pending and count < _MOST_VALUES:
        value = pending.pop()
        count += 1
        if isinstance(value, Mapping):
            for name, inner in value.items():
                if name in _NO_SECRETS_IN:
                    continue
                if isinstance(inner, str):
                    yield name, inner
                else:
                    pending.append(inner)
        elif isinstance(value, list):
            pending.extend(value)


def _spelled(secrets: Iterable[str], shortest: int) -> list[bytes]:
    """Each secret as it is, and as JSON and a URL spell it, longest first."""
    spelled = {spelling for secret in secrets if len(secret) >= shortest for spelling in _spellings(secret)}
    return sorted((spelling.encode("utf-8", "replace") for spelling in spelled), key=len, reverse=True)


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield escaped
        # JSON allows this escape, and some gateways write it.
        yield escaped.replace("/", "\\/")
    yield quote(secret, safe="", errors="replace")
    yield quote_plus(secret, errors="replace")


# -- covering --


class Redactor:
    """Covers secrets in a body that arrives in pieces, each byte by an asterisk, so that no offset changes.

    The end of a piece is held back if a secret may begin there.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = list(secrets)
        self._pattern = _pattern(self._secrets)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be written of the body so far."""
        if self._pattern is None:
            return data
        data = self._covered(self._held + data)
        keep = self._begun(data)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def finish(self) -> bytes:
        """What was held back, which is no secret after all."""
        rest, self._held = self._held, b""
        return rest

    def hide(self, text: str) -> str:
        """A whole text, without the secrets."""
        return self._covered(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def _covered(self, data: bytes) -> bytes:
        return data if self._pattern is None else self._pattern.sub(lambda match: b"*" * len(match.group()), data)

    def _begun(self, data: bytes) -> int:
        """How many of the last bytes are the beginning of a secret."""
        longest = 0
        for secret in self._secrets:
            for length in range(min(len(secret) - 1, len(data)), longest, -1):
                if data.endswith(secret[:length]):
                    longest = length
                    break
        return longest


def masked(text: str, secrets: Iterable[bytes]) -> str:
    """A text for a person to read: without the secrets, users and passwords of URLs, and queries of URLs."""
    pattern = _pattern(secrets)
    if pattern is not None:
        text = pattern.sub(_MASK.encode(), text.encode("utf-8", "replace")).decode("utf-8", "replace")
    return _QUERY_OF_URL.sub(rf"\1?{_MASK}", _USER_OF_URL.sub(f"://{_MASK}@", text))


def _pattern(secrets: Iterable[bytes]) -> re.Pattern[bytes] | None:
    alternatives = b"|".join(map(re.escape, secrets))
    return re.compile(alternatives) if alternatives else None
