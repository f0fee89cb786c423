"""The servers that subcommands talk to, and the variables that tell the SDKs theirs."""

from __future__ import annotations

import os
from typing import Final, NamedTuple
from urllib.parse import urlsplit

OPENAI: Final = "https://api.openai.com/v1"


def check_url(url: str) -> None:
    """Raise ValueError if this is not the URL of a server."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is not the URL of a server")


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
)


def chosen_base_url(given: str | None) -> str:
    """`given`, or else OPENAI_BASE_URL, or else OpenAI's URL."""
    return given or os.environ.get("OPENAI_BASE_URL") or OPENAI
