"""The APIs that a server may be probed by.  Pure.

The battery is written as chat completions. An API has a function that says the same in its own words, and its responses
are read into the same recording, so the checks and what they expect are those of chat completions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otel_llm.probe.check import Check
from otel_llm.probe.messages_request import messages_body
from otel_llm.probe.responses_request import responses_body

_VERSION_OF_MESSAGES = "2023-06-01"


@dataclass(frozen=True)
class ProbedApi:
    """An API, and how its requests are made.

    `path`: behind the base URL. `body`: the body of a request, from that of a chat completion. `headers`: those of a
    request, from the API key and the token, of which one may be empty. `lacks`: fields of a chat completion that the
    API has nothing for.
    """

    path: str
    body: Callable[[Mapping[str, Any]], dict[str, Any]]
    headers: Callable[[str, str], dict[str, str]]
    lacks: frozenset[str] = frozenset()
    shows_cut_calls: bool = True
    """Whether a whole response shows a call that was cut as far as it came. An object cannot be cut."""
    version: str = ""
    """With what the path begins, where base URLs are written with or without it."""

    def url(self, base_url: str) -> str:
        """The URL of a request."""
        base = base_url.rstrip("/")
        return (base if base.endswith(self.version) else base + self.version) + self.path

    def checks(self, battery: Sequence[Check]) -> list[Check]:
        """The checks that the API has a request for."""
        return [check for check in battery if self.lacks.isdisjoint(check.request)]


def _bearer(key: str, token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key or token}"} if key or token else {}


def _anthropic_headers(key: str, token: str) -> dict[str, str]:
    made = {"anthropic-version": _VERSION_OF_MESSAGES}
    if key:
        made["x-api-key"] = key
    if token:
        made["authorization"] = f"Bearer {token}"
    return made


CHAT = ProbedApi("/chat/completions", dict, _bearer)
APIS: Mapping[str, ProbedApi] = {
    "chat": CHAT,
    "responses": ProbedApi("/responses", responses_body, _bearer, frozenset({"n"})),
    "messages": ProbedApi("/messages", messages_body, _anthropic_headers, frozenset({"n"}), False, "/v1"),
}
