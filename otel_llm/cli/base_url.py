"""The server that a subcommand talks to."""

from __future__ import annotations

import os
from typing import Final

OPENAI: Final = "https://api.openai.com/v1"


def chosen_base_url(given: str | None) -> str:
    """`given`, or else OPENAI_BASE_URL, or else OpenAI's URL."""
    return given or os.environ.get("OPENAI_BASE_URL") or OPENAI
