"""The URL of a server, as a person gave it: is it one, and how is it shown.  Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_MASK = "****"
_LONGEST_SHOWN = 200
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}")
_QUERY = re.compile(r"[?#]")


def check_url(url: str) -> None:
    """Raise ValueError if this is not the URL of a server. The message shows no password and no key in it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        # The reason that it gives may quote a password.
        raise ValueError(f"{shown_url(url)}: the host in it cannot be read") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(f"{shown_url(url)!r} is not the URL of a server")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(f"{shown_url(url)}: its port is no number from 0 to 65535") from None


def shown_url(url: str) -> str:
    """A URL without user, password, query and fragment, cut for display. It may be malformed in any way."""
    scheme = _SCHEME.match(url)
    start = 0 if scheme is None else scheme.end()
    lead, rest = url[:start], url[start:]
    query = _QUERY.search(rest)
    end = len(rest) if query is None else query.start()
    if "@" in rest[end:] and "/" not in rest[:end]:
        # Either a password that holds these characters, or a query: nothing tells which.
        return f"{lead}{_MASK}"
    users = rest.rfind("@", 0, end)
    shown = rest[:end] if users < 0 else f"{_MASK}{rest[users:end]}"
    if query is not None:
        shown += f"{query.group()}{_MASK}"
    shown = lead + shown
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
