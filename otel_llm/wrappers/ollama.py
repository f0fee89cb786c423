"""The method of Ollama's SDK that makes requests, and where these go.

It is the one that `chat` calls: an application that has imported `ollama.chat` holds a method of the client that the
package made when it was imported, and no wrapper around `chat` would reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otel_llm.telemetry.provider import Server, server_at
from otel_llm.wrappers.method import Method
from otel_llm.wrappers.sdk_internals import OLLAMA_SENDER, client_of

_CHAT = "/api/chat"


def _arguments(_wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any] | None:
    body = kwargs.get("json")
    return body if _CHAT in args and isinstance(body, Mapping) else None


def _server(resource: Any, _arguments: Mapping[str, Any]) -> Server:
    base_url = getattr(client_of(resource), "base_url", None)
    return server_at(None if base_url is None else str(base_url), "ollama")


OLLAMA_METHODS = (Method(OLLAMA_SENDER, arguments=_arguments, server=_server),)
