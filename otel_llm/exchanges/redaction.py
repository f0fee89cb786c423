"""Secrets taken out of what is written down: each byte of one becomes an asterisk, so that no length changes.  Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote_plus

# What may be written of a request's and a response's headers. Whatever is not named here may be a secret.
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
# The word before a key is none.
_SCHEMES = frozenset({"apikey", "basic", "bearer", "digest", "negotiate", "token"})
# What a model is told is not looked at, nor a function's schema; the cache's key opens nothing.
_NO_SECRETS_IN = frozenset({"function", "functions", "messages", "prompt_cache_key", "response_format"})
_MOST_VALUES = 100_000
# A shorter one would stand in any text.
_SHORTEST = 6


def harmless_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers that may be written down, in lower case."""
    return {name.lower(): value for name, value in headers if name.lower() in _HARMLESS}


def secrets_in(headers: Iterable[tuple[str, str]], query: str, body: Any = None) -> list[bytes]:
    """What in a request's headers, query and body (a JSON value) must not be found in what is written.

    Each as it is, and as JSON and a URL spell it.
    """
    found: set[str] = set()
    named = [(name, value) for name, value in headers if name.lower() not in _HARMLESS]
    for name, value in (*named, *_texts_in(body)):
        if _SECRET_NAME.search(name):
            found.add(value)
            # A key may hold a mark of those that stand between keys.
            words = {*value.split(), *re.split(r"[\s,;=]+", value)}
            found.update(word for word in words if word.lower() not in _SCHEMES)
    for _, value in parse_qsl(query, keep_blank_values=False):
        found.update((value, unquote_plus(value)))
    found.update(part.partition("=")[2] for part in query.split("&"))
    spelled = {way for secret in found if len(secret) >= _SHORTEST for way in _spellings(secret)}
    longest_first = sorted((way.encode("utf-8", "replace") for way in spelled), key=len, reverse=True)
    # The value of an API version is no secret, and stands in many a text.
    return [secret for secret in longest_first if not re.fullmatch(rb"[\d.\-]+(?:-?preview)?", secret)]


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield escaped
        # Some gateways escape it, which JSON allows.
        yield escaped.replace("/", "\\/")
    yield quote(secret, safe="", errors="replace")
    yield quote_plus(secret, errors="replace")


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


class Redactor:
    """Takes secrets out of a body that comes in pieces. What may be the beginning of one waits for the next piece."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = list(secrets)
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets))) if self._secrets else None
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        if self._pattern is None:
            return data
        data = self._hidden(self._held + data)
        keep = self._begun(data)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def hide(self, text: str) -> str:
        """A text that is whole, without the secrets."""
        return self._hidden(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def finish(self) -> bytes:
        """What was held back, which is none after all."""
        rest, self._held = self._held, b""
        return rest

    def _hidden(self, data: bytes) -> bytes:
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
