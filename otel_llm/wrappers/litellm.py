"""The functions of LiteLLM that make requests, and where these go.

LiteLLM calls the SDK of OpenAI for some providers, and its own HTTP client for others. Its Router calls these
functions, once for each deployment that it tries.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_llm.protocol.fields import text_of
from otel_llm.telemetry.provider import Server, server_at
from otel_llm.wrappers.method import Method

# Providers by their names in LiteLLM, where the name in telemetry is another.
_PROVIDERS: Final = {
    "ai21": "ai21",
    "anthropic_text": "anthropic",
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "azure_text": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "gemini": "gcp.gemini",
    "hosted_vllm": "vllm",
    "mistral": "mistral_ai",
    "ollama_chat": "ollama",
    "sagemaker": "aws.sagemaker",
    "sagemaker_chat": "aws.sagemaker",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
# What any server may speak.
_ANY_SERVER: Final = frozenset({"custom_openai", "openai_like", "litellm_proxy"})
_OPENAI_URLS: Final = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
_OPENAI: Final = "https://api.openai.com/v1"


def _arguments_after(
    *names: str,
) -> Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Mapping[str, Any]]:
    """Reads the arguments of a function whose first ones have these names."""

    def read(_wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        made = {**dict(zip(names, args, strict=False)), **kwargs}
        base_url = text_of(made.get("base_url")) or text_of(made.get("api_base"))
        made["model"], provider, found_url = _resolved(made.get("model"), made.get("custom_llm_provider"), base_url)
        made["custom_llm_provider"] = provider
        made["api_base"] = base_url or found_url
        return made

    return read


def _resolved(model: Any, provider: Any, base_url: str | None) -> tuple[Any, str | None, str | None]:
    """The model, the provider and its URL, as LiteLLM resolves them; as they are if it does not know the model."""
    litellm: Any = sys.modules.get("litellm")
    name = text_of(model)
    if litellm is None or name is None:
        return model, text_of(provider), None
    prefix = name.partition("/")[0]
    # It prints advice on the standard output if it does not know the provider, and does so again when it is called.
    is_known = prefix in litellm.provider_list or name in litellm.model_cost
    if text_of(provider) is None and base_url is None and not is_known:
        return model, None, None
    found = litellm.get_llm_provider(model=name, custom_llm_provider=provider, api_base=base_url)
    return text_of(found[0]) or model, text_of(found[1]), text_of(found[3])


def _server(_function: Any, arguments: Mapping[str, Any]) -> Server:
    provider, url = text_of(arguments.get("custom_llm_provider")), text_of(arguments.get("api_base"))
    if provider is None or provider in _ANY_SERVER:
        provider = "openai"
    if url is None and provider == "openai":
        url = next((found for name in _OPENAI_URLS if (found := os.environ.get(name))), _OPENAI)
    return server_at(url, _PROVIDERS.get(provider, provider))


_CHAT_ARGUMENTS = _arguments_after("model", "messages")
_RESPONSES_ARGUMENTS = _arguments_after("input", "model")
LITELLM_CHAT = tuple(Method(name, arguments=_CHAT_ARGUMENTS, server=_server) for name in ("completion", "acompletion"))
LITELLM_RESPONSES = tuple(
    Method(name, arguments=_RESPONSES_ARGUMENTS, server=_server) for name in ("responses", "aresponses")
)
