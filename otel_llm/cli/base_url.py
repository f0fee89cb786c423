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


SDKS: Final = (
    SDK("openai", "OPENAI_BASE_URL", OPENAI),
    SDK("groq", "GROQ_BASE_URL", "https://api.groq.com", "/openai/v1"),
    SDK("cerebras", "CEREBRAS_BASE_URL", "https://api.cerebras.ai", "/v1"),
    SDK("anthropic", "ANTHROPIC_BASE_URL", "https://api.anthropic.com", "/v1"),
    SDK("ollama", "OLLAMA_HOST", "http://127.0.0.1:11434", "/api"),
)


def chosen_base_url(given: str | None) -> str:
    """`given`, or else OPENAI_BASE_URL, or else OpenAI's URL."""
    return given or os.environ.get("OPENAI_BASE_URL") or OPENAI
