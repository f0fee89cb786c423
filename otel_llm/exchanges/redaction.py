"""Secrets taken out of what is written down: each byte of one becomes an asterisk, so that no length changes.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote_plus

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
_SECRET_NAME = re.compile(r"auth|cookie|credential|key|pass|secret|session|sign|token", re.IGNORECASE)
# A shorter one would stand in any text.
_SHORTEST = 6


def harmless_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers that may be written down, in lower case."""
    return {name.lower(): value for name, value in headers if name.lower() in _HARMLESS}


def secrets_in(headers: Iterable[tuple[str, str]], query: str) -> list[bytes]:
    """What in a request's headers and query must not be found in what is written."""
    found: set[str] = set()
    for name, value in headers:
        if _SECRET_NAME.search(name) and name.lower() not in _HARMLESS:
            found.add(value)
            found.update(re.split(r"[\s,;=]+", value))
    for _, value in parse_qsl(query, keep_blank_values=False):
        found.update((value, unquote_plus(value)))
    found.update(part.partition("=")[2] for part in query.split("&"))
    longest_first = sorted((secret.encode() for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)
    # The value of an API version is no secret, and stands in many a text.
    return [secret for secret in longest_first if not re.fullmatch(rb"[\d.\-]+(?:-?preview)?", secret)]


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
