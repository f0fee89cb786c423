"""The calls that models made lately, by id: so that the request which brings a call's result finds the call's span.

One instance an instrumentation, shared by all threads. It is bounded: the calls that nobody looked at for longest are
forgotten first, and those of them that had no result yet are counted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from opentelemetry.trace import SpanContext

from otel_llm.conversation import Turn
from otel_llm.forks import renew_lock_in_children

_MOST_CALLS = 4096
_LONGEST_ID = 512


class Answer(NamedTuple):
    """A call, and the request that answers it. `turnaround_ns` is None where another request answered it before."""

    call_id: str
    tool: str
    span: SpanContext
    turnaround_ns: int | None


class _Made:
    __slots__ = ("answered", "completed_ns", "shares_id", "span", "tool")

    def __init__(self, tool: str, span: SpanContext, completed_ns: int) -> None:
        self.tool = tool
        self.span = span
        self.completed_ns = completed_ns
        self.answered = False
        self.shares_id = False
        """Whether a call of another trace had the same id and no result yet: servers that count calls make such ids."""

    def is_known_to(self, trace_id: int) -> bool:
        return not self.shares_id or self.span.trace_id == trace_id


class CallsMade:
    """`forgot` is called when a call is forgotten that had no result."""

    def __init__(self, forgot: Callable[[], None], most: int = _MOST_CALLS) -> None:
        self._forgot = forgot
        self._most = most
        self._calls: OrderedDict[str, _Made] = OrderedDict()
        self._of_response: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._lock = threading.Lock()
        renew_lock_in_children(self)

    def remember(
        self, calls: Iterable[tuple[str, str]], span: SpanContext, completed_ns: int, response_id: str | None = None
    ) -> None:
        """`calls`: id and tool of each. `response_id`: of the response that a later request may go on from."""
        made = [(call_id, tool) for call_id, tool in calls if len(call_id) <= _LONGEST_ID]
        forgotten = 0
        with self._lock:
            for call_id, tool in made:
                known = self._calls.pop(call_id, None)
                # Where nothing is traced, all spans are the same one.
                if known is not None and known.span == span and span.is_valid:
                    if not known.answered:
                        known.completed_ns = completed_ns
                    self._calls[call_id] = known
                    continue
                call = self._calls[call_id] = _Made(tool, span, completed_ns)
                if known is not None and not known.answered:
                    call.shares_id = known.shares_id or known.span.trace_id != span.trace_id
            if response_id is not None and made and len(response_id) <= _LONGEST_ID:
                self._of_response[response_id] = tuple(call_id for call_id, _ in made)
                if len(self._of_response) > self._most:
                    self._of_response.popitem(last=False)
            while len(self._calls) > self._most:
                _, oldest = self._calls.popitem(last=False)
                forgotten += not oldest.answered
        for _ in range(forgotten):
            self._forgot()

    def answer(self, turn: Turn, trace_id: int, now_ns: int) -> list[Answer]:
        """The calls whose results a request of the trace `trace_id` brings, as far as they are known."""
        with self._lock:
            answers = [self._answer(call_id, trace_id, now_ns, again=True) for call_id in turn.results]
            for call_id in turn.earlier:
                # Those before this one were sent by earlier requests.
                answer = self._answer(call_id, trace_id, now_ns, again=False)
                if answer is None:
                    break
                answers.append(answer)
        return [answer for answer in answers if answer is not None]

    def _answer(self, call_id: str, trace_id: int, now_ns: int, *, again: bool) -> Answer | None:
        call = self._calls.get(call_id)
        if call is None or (call.answered and not again):
            return None
        if not call.is_known_to(trace_id):
            return None
        self._calls.move_to_end(call_id)
        first, call.answered = not call.answered, True
        return Answer(call_id, call.tool, call.span, now_ns - call.completed_ns if first else None)

    def span_of(self, call_id: str, trace_id: int) -> SpanContext | None:
        """The span of the request that made a call, for somebody in the trace `trace_id`."""
        with self._lock:
            call = self._calls.get(call_id)
        return None if call is None or not call.is_known_to(trace_id) else call.span

    def complete(self, turn: Turn) -> Turn:
        """The turn, with what it leaves to the response that it goes on from."""
        with self._lock:
            made = self._of_response.get(turn.previous_response or "")
        if made is None:
            return turn
        return turn._replace(
            unanswered=tuple(call for call in made if call not in turn.results),
            without_call=tuple(call for call in turn.results if call not in made),
        )
