"""The values above which panels are red. If a panel has an alert, it fires above the same value."""

from __future__ import annotations

from typing import Final

ERROR_SHARE: Final = 0.05  # of the requests
SLOW_SECONDS: Final = 30.0  # p95 of a whole request; the gateway keeps every slower trace
FIRST_CHUNK_SECONDS: Final = 5.0  # p95
ANOMALIES_PER_REQUEST: Final = 0.05
QUEUE_FILLED: Final = 0.8  # of its capacity
# For panels without an alert.
FIRST_TOOL_CALL_SECONDS: Final = 15.0  # p95
GENERATION_SECONDS: Final = 20.0  # p95, from the first to the last delta of a call
REWRITE_SECONDS: Final = 0.05  # p95 of the time to rewrite a call
