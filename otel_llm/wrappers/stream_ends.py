"""How a stream ends for its observation: read to its end, left, closed or failed.

No fault of otel-llm gets from here into a caller that reads or closes a stream.
"""

from __future__ import annotations

import inspect
from typing import Any

from otel_llm.observation import Observation, outcome_of
from otel_llm.protocol.choice import Outcome
from otel_llm.transparency.faults import swallow


def end_observation(observation: Observation, outcome: Outcome) -> None:
    try:
        observation.end(outcome)
    except Exception as fault:  # noqa: BLE001
        swallow("the end of a stream", fault)


def fail_observation(observation: Observation, error: BaseException, wait_started_ns: int, iterator: Any) -> None:
    try:
        if getattr(iterator, "gi_running", False) is True or getattr(iterator, "ag_running", False) is True:
            # Another read is in progress, so this one was refused. The stream itself is fine.
            return
        observation.fail(error, wait_started_ns)
    except Exception as fault:  # noqa: BLE001
        swallow("the end of a stream", fault)


def fail_closing(observation: Observation, error: BaseException, error_of_block: BaseException | None = None) -> None:
    """Closing the stream raised. At the end of a `with` block, the block's own error may be raised again."""
    if error is error_of_block:
        return
    try:
        observation.fail(error)
    except Exception as fault:  # noqa: BLE001
        swallow("the end of a stream", fault)


def close_stream(stream: Any) -> None:
    close = getattr(stream, "close", None)
    if close is not None:
        close()


async def aclose_stream(stream: Any) -> None:
    close = getattr(stream, "close", None) or getattr(stream, "aclose", None)
    if close is not None:
        closing = close()
        if inspect.isawaitable(closing):
            await closing


def outcome_of_block(error: BaseException | None) -> Outcome:
    """How a stream ends with its `with` block: an error raised in the block is no error of the stream."""
    try:
        return "cancelled" if error is not None and outcome_of(error) == "cancelled" else "closed"
    except Exception as fault:  # noqa: BLE001
        swallow("the end of a stream", fault)
        return "closed"
