"""What the proxy answers by itself: errors in the shape of the API that was asked.  Pure."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import NamedTuple

from otel_llm.protocol.request import Api

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
}


class Answer(NamedTuple):
    """A whole response. `error_type`: what went wrong, empty if nothing did."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    error_type: str = ""

    @property
    def reason(self) -> bytes:
        return HTTPStatus(self.status).phrase.encode()


def error_answer(status: int, message: str, error_type: str = "proxy_error", api: Api | None = None) -> Answer:
    """An error as an SDK of this API expects it. The message is for people, the type for programs."""
    if api == "messages":
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        value: object = {"type": "error", "error": {"type": kind, "message": f"otel-llm proxy: {message}"}}
    else:
        value = {
            "error": {
                "message": f"otel-llm proxy: {message}",
                "type": "proxy_error",
                "param": None,
                "code": error_type,
            }
        }
    return Answer(status, json.dumps(value).encode(), error_type=error_type)


def plain_answer(status: int, text: str) -> Answer:
    """An answer for probes of the proxy itself."""
    return Answer(status, text.encode() + b"\n", b"text/plain; charset=utf-8")
