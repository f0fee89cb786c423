"""The provider's name and the server's address, inferred from the base URL and class of an SDK's client.

Names are the well-known values of `gen_ai.provider.name` in the GenAI semantic conventions; servers that the
conventions lack have names in the same style. The provider defaults to `openai`, the protocol that the server speaks.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_PROVIDER_BY_HOST = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "openai.azure.us": "azure.ai.openai",
    "cognitiveservices.azure.com": "azure.ai.openai",
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
    "api.cohere.ai": "cohere",
    "openrouter.ai": "openrouter",
    "api.together.xyz": "together",
    "api.fireworks.ai": "fireworks",
    "router.huggingface.co": "huggingface",
}
# Hosts whose name contains a region.
_PROVIDER_BY_REGIONAL_HOST = (
    (re.compile(r"[a-z0-9-]+-aiplatform\.googleapis\.com"), "gcp.vertex_ai"),
    (re.compile(r"bedrock-runtime(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?"), "aws.bedrock"),
    (re.compile(r"bedrock-mantle\.[a-z0-9-]+\.api\.aws"), "aws.bedrock"),
)
# Behind a gateway's base URL, the class of the client decides, by its name or its package.
_PROVIDER_BY_CLASS = {
    "AzureOpenAI": "azure.ai.openai",
    "AsyncAzureOpenAI": "azure.ai.openai",
    "BedrockOpenAI": "aws.bedrock",
    "AsyncBedrockOpenAI": "aws.bedrock",
    "AnthropicBedrock": "aws.bedrock",
    "AsyncAnthropicBedrock": "aws.bedrock",
    "AnthropicVertex": "gcp.vertex_ai",
    "AsyncAnthropicVertex": "gcp.vertex_ai",
    "AnthropicFoundry": "azure.ai.inference",
    "AsyncAnthropicFoundry": "azure.ai.inference",
    "AnthropicBedrockMantle": "aws.bedrock",
    "AsyncAnthropicBedrockMantle": "aws.bedrock",
    "GeminiAddress": "gcp.gemini",
    "VertexAIAddress": "gcp.vertex_ai",
}
_PROVIDER_BY_PACKAGE = {"groq": "groq", "cerebras": "cerebras", "anthropic": "anthropic"}
# Self-hosted servers are often named after the program (`http://ollama:11434`, `http://vllm-0.models.svc:8000`).
_PROVIDER_BY_WORD = {"ollama": "ollama", "vllm": "vllm", "sglang": "sglang", "llamacpp": "llama_cpp"}
_PROVIDER_BY_WORDS = {"llama-cpp": "llama_cpp", "llama-server": "llama_cpp"}
_OLLAMA_PORT = 11434
# `system_fingerprint` is the build in llama.cpp, a fixed text in Ollama.
_PROVIDER_BY_FINGERPRINT = ((re.compile(r"b\d+-\w+"), "llama_cpp"), (re.compile(r"fp_ollama"), "ollama"))
_DEFAULT_PROVIDER = "openai"
# Their APIs are spoken by many servers, so an SDK for one of them does not tell whose server it is.
_OFTEN_IMITATED = frozenset({_DEFAULT_PROVIDER, "anthropic", "gcp.gemini", "gcp.vertex_ai"})


class Server(NamedTuple):
    """`address` and `port` are None if the client has no URL; the port is also None if it is 443."""

    provider: str
    address: str | None = None
    port: int | None = None


# Most applications have one client, and converting its URL to text takes longer than everything else here.
_last: tuple[Any, type, Server] = (None, object, Server(_DEFAULT_PROVIDER))
# Providers inferred from responses, by address and port, if URL and client do not reveal them.
_inferred: dict[tuple[str | None, int | None], str] = {}
_MOST_INFERRED = 256


def server_of(client: Any) -> Server:
    """The server that an SDK's client talks to; the defaults for a client without `base_url`, or None."""
    base_url = getattr(client, "base_url", None)
    if base_url is None:
        return Server(_DEFAULT_PROVIDER)
    global _last  # noqa: PLW0603
    known, known_kind, server = _last
    kind: type = type(client)
    if known is not base_url or kind is not known_kind:
        server = _server_at(str(base_url), _provider_of_class(kind))
        _last = (base_url, kind, server)
    if _inferred and server.provider == _DEFAULT_PROVIDER:
        return server._replace(provider=_inferred.get(server[1:], _DEFAULT_PROVIDER))
    return server


def server_at(base_url: str | None, provider: str) -> Server:
    """The server at a URL; `provider`: whose it is if its address does not tell."""
    return Server(provider) if base_url is None else _server_at(base_url, provider)


@lru_cache(maxsize=64)
def known_provider(server: Server) -> str | None:
    """The server's provider, None if nothing tells and it is only presumed."""
    if server.provider not in _OFTEN_IMITATED or _by_host(server.address or "", "") == server.provider:
        return server.provider
    return None


def provider_at(url: str) -> str | None:
    """The provider whose address a URL has, None if it is none that is known."""
    try:
        parts = urlsplit(url)
        return _by_host(parts.hostname or "", parts.path)
    except ValueError:
        return None


def server_inferred_from(fingerprint: str | None, server: Server) -> Server:
    """The server; if its provider is still the default, inferred from a response's `system_fingerprint`."""
    if fingerprint is None or server.provider != _DEFAULT_PROVIDER or server.address == "api.openai.com":
        return server
    provider = _provider_of_fingerprint(fingerprint)
    if provider is None:
        return server
    if len(_inferred) < _MOST_INFERRED:
        _inferred[server[1:]] = provider
    return server._replace(provider=provider)


@lru_cache(maxsize=64)
def _provider_of_fingerprint(fingerprint: str) -> str | None:
    for pattern, provider in _PROVIDER_BY_FINGERPRINT:
        if pattern.fullmatch(fingerprint):
            return provider
    return None


@lru_cache(maxsize=64)
def _server_at(base_url: str, by_class: str | None = None) -> Server:
    url = urlsplit(base_url)
    host = url.hostname
    if not host:
        return Server(by_class or _DEFAULT_PROVIDER)
    port = url.port or (80 if url.scheme in {"http", "ws"} else 443)
    by_port = "ollama" if port == _OLLAMA_PORT else _DEFAULT_PROVIDER
    provider = _by_host(host, url.path) or by_class or _by_words(host) or by_port
    return Server(provider, host, None if port == 443 else port)


@lru_cache(maxsize=64)
def _provider_of_class(kind: type) -> str | None:
    for base in kind.__mro__:
        package = base.__module__.partition(".")[0]
        name = _PROVIDER_BY_CLASS.get(base.__name__) or _PROVIDER_BY_PACKAGE.get(package)
        if name is not None:
            return name
    return None


def _by_host(host: str, path: str) -> str | None:
    if path.startswith("/openai/") and host.endswith(".services.ai.azure.com"):
        # This host serves several protocols; paths below /openai/ are OpenAI's.
        return "azure.ai.openai"
    labels = host.split(".")
    for start in range(len(labels)):
        name = _PROVIDER_BY_HOST.get(".".join(labels[start:]))
        if name is not None:
            return name
    for pattern, name in _PROVIDER_BY_REGIONAL_HOST:
        if pattern.fullmatch(host):
            return name
    return None


def _by_words(host: str) -> str | None:
    text = host.replace("_", "-")
    for words, name in _PROVIDER_BY_WORDS.items():
        if words in text:
            return name
    for word in re.split(r"[.-]", text):
        if word in _PROVIDER_BY_WORD:
            return _PROVIDER_BY_WORD[word]
    return None
