"""Keeps the deltas of all calls of a response within its limits: measures fresh ones, and folds neighbours.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from otel_llm.protocol.choice import Limits
from otel_llm.protocol.tool_call import ToolCall


def settle_calls(
    calls: Sequence[ToolCall], limits: Limits, preview: int, *, at_end: bool = False, most_deltas: int | None = None
) -> None:
    """Settle the fresh deltas of `calls`.

    `preview`: characters kept of each delta. `most_deltas`: how many deltas will be sent at most, if that is known.
    """
    fresh = sum(len(call.fresh) for call in calls)
    # While the stream flows it is folded more than it has to be, so that not every delta makes it be folded again.
    most = limits.deltas if at_end else max(1, limits.deltas // 2)
    if most_deltas is not None and not any(call.deltas for call in calls):
        # Nothing is folded yet, so deltas that will not be sent need not be made.
        most = max(1, min(most, most_deltas))
    room = limits.arguments_of_stream - sum(call.kept_length for call in calls)
    kept = 0
    for call in calls:
        before = call.kept_length
        groups = -(-len(call.fresh) * most // fresh) if fresh > most else len(call.fresh)
        call.settle(preview, min(limits.arguments - before, room), groups)
        room -= call.kept_length - before
        kept += len(call.deltas)
    while kept > limits.deltas:
        for call in calls:
            call.fold(preview)
        folded = sum(len(call.deltas) for call in calls)
        if folded == kept:
            break
        kept = folded
