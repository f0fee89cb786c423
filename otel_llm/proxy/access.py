"""Who may use the proxy.

Without a token only this machine may, and no page of another site in one of its browsers: a page can send requests to
the loopback interface, also under a name of its own that leads there, and would spend the user's key.
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from otel_llm.protocol.request import Api
from otel_llm.proxy.answers import Answer, error_answer
from otel_llm.proxy.headers import Fields, value_of, values_of
from otel_llm.serving.loopback import is_loopback

TOKEN_FIELD = b"x-otel-llm-token"


def refusal(fields: Fields, token: str | None, *, replaces_credentials: bool, api: Api | None) -> Answer | None:
    """The answer for a client that may not use the proxy, None if it may.

    `replaces_credentials`: the server gets a key of the proxy's, so what the client sends as its key may be the token.
    """
    if token is not None:
        if _has_token(fields, token.encode(), also_as_key=replaces_credentials):
            return None
        sent_in = "x-otel-llm-token" + (" or as API key" if replaces_credentials else "")
        return error_answer(401, f"a token is needed, in the header {sent_in}", "unauthorized", api)
    if value_of(fields, b"sec-fetch-site") == b"cross-site":
        # A page's GET without an Origin.
        return error_answer(403, "without a token, no pages of other sites are served", "forbidden", api)
    origin = value_of(fields, b"origin")
    try:
        host = urlsplit("//" + (value_of(fields, b"host") or b"localhost").decode("latin-1"))
        is_local = is_loopback((host.hostname or "").lower())
        is_ours = origin is None or is_loopback((urlsplit(origin.decode("latin-1")).hostname or "").lower())
    except ValueError:
        is_local = is_ours = False
    if is_local and is_ours:
        return None
    return error_answer(403, "without a token, only this machine and its own pages are served", "forbidden", api)


def _has_token(fields: Fields, token: bytes, *, also_as_key: bool) -> bool:
    sent = values_of(fields, TOKEN_FIELD)
    if also_as_key:
        sent += values_of(fields, b"x-api-key") + values_of(fields, b"api-key")
        sent += [value[7:] for value in values_of(fields, b"authorization") if value[:7].lower() == b"bearer "]
    # All of them are compared, so that the time tells nothing.
    return True in [hmac.compare_digest(one.strip(), token) for one in sent]
