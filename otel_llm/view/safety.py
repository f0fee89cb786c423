"""Which requests are answered, and how large they may be.  Pure.

A page of any site can make the browser send requests to 127.0.0.1, and by DNS rebinding also read the responses. So the
Host must be a name of the loopback interface, an Origin must be the view's own, and requests that change something must
have a content type that a page cannot send to another origin without a preflight. On any other address a token replaces
the check of the Host.
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple

from otel_llm.serving import loopback

_MEGABYTE = 2**20

COOKIE = "otel_llm_token"
LONGEST_BODY = 64 * _MEGABYTE
"""The largest body of a request, as it arrives and also decompressed."""
MOST_AT_ONCE = 128 * _MEGABYTE
"""The largest size of all bodies in memory. Above it further senders get 503 with `Retry-After`."""
RETRY_AFTER = 2  # seconds

HEADERS = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
"""Headers of every response."""


class Refusal(NamedTuple):
    """An HTTP status and a sentence."""

    status: int
    sentence: str


def is_loopback(host: str) -> bool:
    """Whether a host name or address, with or without a port, belongs to the loopback interface."""
    return loopback.is_loopback(_name(host))


def refusal(headers: dict[bytes, bytes], given_token: str | None, token: str | None) -> Refusal | None:
    """Why a request is refused, None if it is answered. `given_token`: the token in the query, if any."""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if token is not None:
        if not _has_token(headers, given_token, token):
            return Refusal(401, "A token is required: `Authorization: Bearer TOKEN`, or ?token=TOKEN once.")
    elif not is_loopback(host):
        return Refusal(403, "This server answers only to names of the loopback interface.")
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1").lower() not in {f"http://{host}", f"https://{host}"}:
        return Refusal(403, "This server answers only its own page.")
    if headers.get(b"sec-fetch-site", b"none") not in {b"none", b"same-origin"} and (
        headers.get(b"sec-fetch-mode") != b"navigate"
    ):
        return Refusal(403, "This server answers only its own page.")
    return None


def is_token(given: str | None, token: str) -> bool:
    """Whether the token is right, in constant time."""
    return given is not None and hmac.compare_digest(given.encode(), token.encode())


def _has_token(headers: dict[bytes, bytes], given: str | None, token: str) -> bool:
    scheme, _, credentials = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer" and is_token(credentials.strip(), token):
        return True
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        cookies = SimpleCookie()
    return is_token(cookies[COOKIE].value if COOKIE in cookies else None, token) or is_token(given, token)


def _name(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        address, _, rest = host[1:].partition("]")
        return address if not rest or rest.startswith(":") else host
    return host if host.count(":") > 1 else host.partition(":")[0]
