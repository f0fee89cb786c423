"""How many examples a property test tries: few in `make test`, all in `make test-all`."""

from __future__ import annotations

import os

THOROUGH = os.environ.get("OTEL_LLM_THOROUGH") == "1"


def examples(most: int) -> int:
    """A tenth of `most`, but at least 10; all of them if OTEL_LLM_THOROUGH is 1."""
    return most if THOROUGH else max(10, most // 10)
