"""The method of Hugging Face's SDK that makes requests, and where these go.

`client.chat.completions.create` is this method, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otel_llm.protocol.fields import text_of
from otel_llm.telemetry.provider import Server, server_at
from otel_llm.wrappers.method import Method

_PROVIDER = "huggingface"
_ROUTER = "https://router.huggingface.co"
# Providers by their names in the SDK, where the name in telemetry is another.
_PROVIDERS = {"fireworks-ai": "fireworks", "hf-inference": _PROVIDER, "auto": _PROVIDER}
# How keys begin that are for its router, whatever the provider.
_KEYS = "hf_"


def _arguments(wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
    made = {"messages": args[0], **kwargs} if args else kwargs
    model = text_of(kwargs.get("model")) or text_of(getattr(getattr(wrapped, "__self__", None), "model", None))
    return {**made, "model": None if model is None or _is_url(model) else model}


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _server(resource: Any, arguments: Mapping[str, Any]) -> Server:
    resource = getattr(resource, "__self__", resource)
    for url in (text_of(getattr(resource, "model", None)), text_of(arguments.get("model"))):
        if url is not None and _is_url(url):
            return server_at(url, _PROVIDER)
    provider = text_of(getattr(resource, "provider", None)) or _PROVIDER
    token = text_of(getattr(resource, "token", None))
    if token is None or token.startswith(_KEYS) or provider in _PROVIDERS.values():
        return server_at(_ROUTER, _PROVIDER)
    return Server(_PROVIDERS.get(provider, provider))


HUGGING_FACE_METHODS = (Method("chat_completion", arguments=_arguments, server=_server),)
