"""The calls that models made lately, by id: so that the request which brings a call's result finds the call's span.

One instance an instrumentation, shared by all threads. It is bounded: the calls that nobody looked at for longest are
forgotten first, and those of them that had no result yet are counted.

Servers that count their calls give several conversations the same ids. Which call of an id a request means is told by
the response that it goes on from, by its trace, by the other calls of the same message, by the tool's name. Where that
leaves more than one without a result, none is meant: a link too few is better than one to somebody else's conversation.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from opentelemetry.trace import SpanContext

from otel_llm.protocol.conversation import Turn
from otel_llm.telemetry.semconv import OTHER
from otel_llm.transparency.forks import renew_lock_in_children

_MOST_CALLS = 4096
_MOST_OF_AN_ID = 8
_MOST_ANSWERED = 64
_LONGEST_ID = 512


class Answer(NamedTuple):
    """A call, and the request that answers it. `turnaround_ns` is None where another request answered it before."""

    call_id: str
    tool: str
    span: SpanContext
    turnaround_ns: int | None


class _Made:
    __slots__ = ("answered", "completed_ns", "is_one_of_many", "span", "tool")

    def __init__(self, tool: str, span: SpanContext, completed_ns: int) -> None:
        self.tool = tool
        self.span = span
        self.completed_ns = completed_ns
        self.answered = False
        self.is_one_of_many = False
        """Whether others of its trace had the same id and no result, and are forgotten: it is never the only one."""


class _SameId:
    """The calls of one id, in the order in which they were made."""

    __slots__ = ("_calls", "is_shared")

    def __init__(self) -> None:
        self._calls: list[_Made] = []
        self.is_shared = False
        """Whether there was more than one, ever."""

    def add(self, tool: str, span: SpanContext, completed_ns: int) -> int:
        """Take one more, once for each span; how many without a result were forgotten for it."""
        known = self.made_by(span)
        if known:
            if not known[0].answered:
                known[0].completed_ns = completed_ns
            return 0
        call = _Made(tool, span, completed_ns)
        self.is_shared = bool(self._calls)
        siblings = self._of_trace(span.trace_id)
        call.is_one_of_many = any(one.is_one_of_many for one in siblings)
        # An agent that goes on has no use for what it answered.
        self._calls = [one for one in self._calls if not (one.answered and one in siblings)]
        self._calls.append(call)
        if len(self._calls) <= _MOST_OF_AN_ID:
            return 0
        oldest = next((one for one in self._calls if one.answered), self._calls[0])
        self._calls.remove(oldest)
        if oldest.answered:
            return 0
        for one in self._of_trace(oldest.span.trace_id):
            one.is_one_of_many = True
        return 1

    def made_by(self, *spans: SpanContext) -> list[_Made]:
        return [one for one in self._calls if one.span in spans]

    def meant_in(self, trace_id: int) -> list[_Made]:
        """Those that somebody in this trace may mean. Several: it cannot be told."""
        among = self._of_trace(trace_id) or self._calls
        if any(one.is_one_of_many for one in among):
            return []
        return [one for one in among if not one.answered] or among

    def unanswered(self) -> int:
        return sum(not one.answered for one in self._calls)

    def _of_trace(self, trace_id: int) -> list[_Made]:
        return [one for one in self._calls if one.span.trace_id == trace_id]


class RecentCalls:
    """`forgot` is called when a call is forgotten that had no result."""

    def __init__(self, forgot: Callable[[], None], most: int = _MOST_CALLS) -> None:
        self._forgot = forgot
        self._most = most
        self._calls: OrderedDict[str, _SameId] = OrderedDict()
        self._of_response: OrderedDict[str, tuple[SpanContext, tuple[str, ...]]] = OrderedDict()
        # By response: the calls that were answered in front of it, as far back as the responses are known.
        self._answered_before: OrderedDict[str, tuple[str, ...]] = OrderedDict()
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
                if known is None or not span.is_valid:
                    # Where nothing is traced, all spans are the same one, and the last call counts.
                    known = _SameId()
                self._calls[call_id] = known
                forgotten += known.add(tool, span, completed_ns)
            if response_id is not None and made and len(response_id) <= _LONGEST_ID:
                self._of_response[response_id] = span, tuple(call_id for call_id, _ in made)
                if len(self._of_response) > self._most:
                    self._of_response.popitem(last=False)
            while len(self._calls) > self._most:
                _, oldest = self._calls.popitem(last=False)
                forgotten += oldest.unanswered()
        for _ in range(forgotten):
            self._forgot()

    def remember_answers(self, turn: Turn, span: SpanContext, response_id: str) -> None:
        """The server took the results of `turn`: it answered with this response, after its calls were remembered."""
        if len(response_id) > _LONGEST_ID:
            return
        with self._lock:
            made_by, made = self._of_response.get(response_id, (span, ()))
            before = self._answered_before.get(turn.previous_response or "", ())
            results = [call_id for call_id in turn.results[-_MOST_ANSWERED:] if len(call_id) <= _LONGEST_ID]
            answered = [call_id for call_id in dict.fromkeys((*before, *results)) if call_id not in made]
            # A server that gives several responses one id does not say which of them a request goes on from.
            if made_by != span or response_id in self._answered_before or response_id == turn.previous_response:
                answered = []
            self._answered_before[response_id] = tuple(answered[-_MOST_ANSWERED:])
            if len(self._answered_before) > self._most:
                self._answered_before.popitem(last=False)

    def answer(self, turn: Turn, trace_id: int, now_ns: int) -> list[Answer]:
        """The calls whose results a request of the trace `trace_id` brings, as far as they are known."""
        with self._lock:
            meant = {call_id: self._meant(call_id, trace_id, turn) for call_id in turn.results}
            # The calls of one message were made by one request, so one that is told tells the others.
            spans = [calls[0].span for calls in meant.values() if len(calls) == 1]
            answers = []
            for call_id, calls in meant.items():
                sure = calls if len(calls) == 1 else [call for call in calls if call.span in spans]
                if len(sure) == 1:
                    answers.append(_answered(call_id, sure[0], now_ns))
            for call_id in turn.earlier:
                known = self._calls.get(call_id)
                calls = [] if known is None else known.meant_in(trace_id)
                if known is not None and known.is_shared:
                    # It may be one of long ago.
                    calls = known.made_by(*spans)
                # Those before the first that is answered were sent by earlier requests.
                if len(calls) != 1 or calls[0].answered:
                    break
                answers.append(_answered(call_id, calls[0], now_ns))
        return answers

    def _meant(self, call_id: str, trace_id: int, turn: Turn) -> list[_Made]:
        known = self._calls.get(call_id)
        if known is None:
            return []
        self._calls.move_to_end(call_id)
        before = self._of_response.get(turn.previous_response or "")
        if before is not None and call_id in before[1]:
            return known.made_by(before[0])
        calls = known.meant_in(trace_id)
        if len(calls) > 1 and (name := dict(turn.tools).get(call_id)) is not None:
            return [call for call in calls if call.tool in {name, OTHER}]
        return calls

    def span_of(self, call_id: str, trace_id: int) -> SpanContext | None:
        """The span of the request that made a call, for somebody in the trace `trace_id`."""
        with self._lock:
            known = self._calls.get(call_id)
            calls = [] if known is None else known.meant_in(trace_id)
        return calls[0].span if len(calls) == 1 else None

    def complete(self, turn: Turn) -> Turn:
        """The turn, with what it leaves to the response that it goes on from."""
        with self._lock:
            before = self._of_response.get(turn.previous_response or "")
            answered = self._answered_before.get(turn.previous_response or "", ())
        again = tuple(call for call in turn.results if call in answered and call not in turn.repeated)
        if again:
            turn = turn._replace(repeated=turn.repeated + again)
        if before is None:
            return turn
        _, made = before
        return turn._replace(
            unanswered=tuple(call for call in made if call not in turn.results),
            without_call=tuple(call for call in turn.results if call not in made and call not in answered),
        )


def _answered(call_id: str, call: _Made, now_ns: int) -> Answer:
    first, call.answered = not call.answered, True
    return Answer(call_id, call.tool, call.span, now_ns - call.completed_ns if first else None)
