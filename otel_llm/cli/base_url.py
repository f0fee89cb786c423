"""Which server a subcommand talks to."""

from __future__ import annotations

import os
from typing import Final

OPENAI: Final = "https://api.openai.com/v1"


def chosen_base_url(given: str | None) -> str:
    """`given`, else what OPENAI_BASE_URL says, else OpenAI's."""
    return given or os.environ.get("OPENAI_BASE_URL") or OPENAI
