"""Keeps what the environment has of secrets out of every sentence.  Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MASK: Final = "****"
_SHORTEST: Final = 4  # characters: shorter ones are parts of ordinary words
_HEADERS: Final = re.compile(r"OTEL_EXPORTER_OTLP_(?:\w+_)?HEADERS")
_USER: Final = re.compile(r"://[^/\s@\"']+@")
_QUERY: Final = re.compile(r"(https?://[^\s?\"']*)\?[^\s\"']+")


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """What must not be shown: the values of headers, whole and in words, as written and decoded; longest first."""
    found: set[str] = set()
    for name, value in environ.items():
        if _HEADERS.fullmatch(name):
            found.update(_parts(value))
        elif name.upper().endswith("_PROXY") or name.startswith("OTEL_EXPORTER_OTLP_"):
            found.update(_password(value))
    return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without these, without users and passwords in URLs, and without what follows a URL's `?`."""
    for secret in secrets:
        text = text.replace(secret, _MASK)
    return _QUERY.sub(rf"\1?{_MASK}", _USER.sub(f"://{_MASK}@", text))


def _parts(headers: str) -> Iterable[str]:
    for entry in [headers, *headers.split(",")]:
        # Where the = is missing, nobody can tell the name from the secret.
        values = [entry.partition("=")[2]] if "=" in entry else [entry]
        for value in values:
            for form in (value, unquote(value)):
                yield form.strip()
                yield from (word for word in form.split() if word.lower() not in {"bearer", "basic"})


def _password(url: str) -> Iterable[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        return
    if password:
        yield from (password, unquote(password))
