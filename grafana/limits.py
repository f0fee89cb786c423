"""From where on a panel is red. Where an alert goes with it, it fires above the same number."""

from __future__ import annotations

from typing import Final

ERROR_SHARE: Final = 0.05  # of the requests
SLOW_SECONDS: Final = 30.0  # p95 of a whole request; the gateway keeps every trace above it
FIRST_CHUNK_SECONDS: Final = 5.0  # p95
ANOMALIES_PER_STREAM: Final = 0.05
QUEUE_FILLED: Final = 0.8  # of its capacity
# Of panels that no alert goes with.
FIRST_TOOL_CALL_SECONDS: Final = 15.0  # p95
GENERATION_SECONDS: Final = 20.0  # p95 of first to last piece of a call
REWRITE_SECONDS: Final = 0.05  # p95 of what rewriting a call took
