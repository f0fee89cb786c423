"""What metrics have counted of recent responses: one that is fetched again brings the same calls and anomalies.

Each instrumentation has one `CountedResponses`, which all threads share. It is bounded: the oldest are forgotten.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from otel_llm.protocol.recording import Recording
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.transparency.forks import renew_lock_in_children

_MOST_RESPONSES = 1024
_MOST_CALLS = 256
_LONGEST_ID = 512


class _Counted:
    __slots__ = ("calls", "is_judged")

    def __init__(self) -> None:
        self.calls: set[str | int] = set()
        self.is_judged = False
        """Whether the anomalies of the whole response were counted."""


class CountedResponses:
    """What was counted, by the response's id."""

    def __init__(self, most: int = _MOST_RESPONSES) -> None:
        self._most = most
        self._of_response: OrderedDict[str, _Counted] = OrderedDict()
        self._lock = threading.Lock()
        renew_lock_in_children(self)

    def count(self, recording: Recording) -> tuple[list[ToolCall], bool]:
        """The calls that were not counted before, and whether the anomalies were not. Both are from now on."""
        response_id, calls = recording.response_id, recording.calls
        if response_id is None or len(response_id) > _LONGEST_ID:
            return calls, True
        with self._lock:
            counted = self._of_response.setdefault(response_id, _Counted())
            self._of_response.move_to_end(response_id)
            was_judged = counted.is_judged
            counted.is_judged = was_judged or recording.outcome == "completed"
            new = [call for call in calls if _key(call) not in counted.calls]
            counted.calls.update(_key(call) for call in new[: max(0, _MOST_CALLS - len(counted.calls))])
            if len(self._of_response) > self._most:
                self._of_response.popitem(last=False)
        return new, not was_judged


def _key(call: ToolCall) -> str | int:
    return call.index if call.id is None else call.id
