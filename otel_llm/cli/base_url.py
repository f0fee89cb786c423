"""The server that a subcommand talks to."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import urlsplit

OPENAI: Final = "https://api.openai.com/v1"


def check_url(url: str) -> None:
    """Raise ValueError if this is not the URL of a server."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is not the URL of a server")


def chosen_base_url(given: str | None) -> str:
    """`given`, or else OPENAI_BASE_URL, or else OpenAI's URL."""
    return given or os.environ.get("OPENAI_BASE_URL") or OPENAI
