"""Who answers: `gen_ai.provider.name` and the server's address, told by the client's base URL.

Names are the well-known values of the GenAI semantic conventions; an OpenAI-compatible server that has none of its
own keeps `openai`, the protocol it speaks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_PROVIDER_BY_HOST = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "services.ai.azure.com": "azure.ai.inference",
    "api.groq.com": "groq",
    "api.cerebras.ai": "cerebras",
    "api.deepseek.com": "deepseek",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "api.anthropic.com": "anthropic",
    "api.cohere.com": "cohere",
}


class Server(NamedTuple):
    """`address` and `port` are None where the client tells no URL; the port is None where it is HTTPS's own."""

    provider: str
    address: str | None = None
    port: int | None = None


# Most applications have one client, and writing its URL out takes longer than all else here.
_last: tuple[Any, Server] = (None, Server("openai"))


def server_of(resource: Any) -> Server:
    """The server that a resource of an SDK client (`client.chat.completions`) talks to."""
    base_url = getattr(getattr(resource, "_client", None), "base_url", None)
    if base_url is None:
        return Server("openai")
    global _last  # noqa: PLW0603
    known, server = _last
    if known is not base_url:
        server = _server_at(str(base_url))
        _last = (base_url, server)
    return server


@lru_cache(maxsize=64)
def _server_at(base_url: str) -> Server:
    url = urlsplit(base_url)
    host = url.hostname
    if not host:
        return Server("openai")
    port = url.port or (80 if url.scheme == "http" else 443)
    return Server(_provider(host), host, None if port == 443 else port)


def _provider(host: str) -> str:
    labels = host.split(".")
    for start in range(len(labels)):
        name = _PROVIDER_BY_HOST.get(".".join(labels[start:]))
        if name is not None:
            return name
    return "openai"
