"""The servers that subcommands talk to, and the variables that tell the SDKs theirs."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

OPENAI: Final = "https://api.openai.com/v1"


class SDK(NamedTuple):
    """`variable` sets the base URL of an SDK, which is `default` without it. `own_path`: with what the SDK begins its
    paths itself, where OpenAI's has it in its base URL."""

    name: str
    variable: str
    default: str
    own_path: str = ""


_REGION: Final = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
SDKS: Final = (
    SDK("openai", "OPENAI_BASE_URL", OPENAI),
    SDK("groq", "GROQ_BASE_URL", "https://api.groq.com", "/openai/v1"),
    SDK("cerebras", "CEREBRAS_BASE_URL", "https://api.cerebras.ai", "/v1"),
    SDK("anthropic", "ANTHROPIC_BASE_URL", "https://api.anthropic.com", "/v1"),
    SDK("bedrock", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", f"https://bedrock-runtime.{_REGION}.amazonaws.com"),
    SDK("google-genai", "GOOGLE_GEMINI_BASE_URL", "https://generativelanguage.googleapis.com"),
    SDK("ollama", "OLLAMA_HOST", "http://127.0.0.1:11434", "/api"),
)


def takes_other_urls(sdk: SDK, given: str | None) -> bool:
    """Whether the SDK's requests reach their server through a proxy. `given`: the server that the user names.

    AWS signs the address of the server with a request, and refuses it at another; its SDK sends an API key over HTTPS
    only. Servers that stand for AWS take any signature.
    """
    if sdk.name != "bedrock":
        return True
    return bool(given or os.environ.get(sdk.variable)) and not os.environ.get("AWS_BEARER_TOKEN_BEDROCK")


def chosen_base_url(given: str | None, name: str = "openai") -> str:
    """`given`, or else what the SDK of this name is told by its variable, or else its default."""
    sdk = next(one for one in SDKS if one.name == name)
    return given or os.environ.get(sdk.variable) or sdk.default
