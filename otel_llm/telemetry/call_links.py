"""Recent tool calls by id: a request that carries a call's result finds the span of the request that made the call.

Each instrumentation has one `RecentCalls`, which all threads share. It is bounded: the least recently used calls are
forgotten first, and those without a result are counted.

Servers that number their calls use the same ids in several conversations. Which call of an id a request means is
inferred from the response that it continues from, its trace, the other calls of the same message, and the tool's name.
If several unanswered calls remain, none is chosen: a missing link is better than one into somebody else's conversation.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from opentelemetry.trace import SpanContext

from otel_llm.protocol.conversation import Turn
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest
from otel_llm.protocol.tools_found import FoundTools
from otel_llm.telemetry.semconv import OTHER
from otel_llm.transparency.forks import renew_lock_in_children

_MOST_CALLS = 4096
_MOST_OF_AN_ID = 8
_MOST_ANSWERED = 64
_LONGEST_ID = 512


class AnsweredCall(NamedTuple):
    """A call whose result a request carries. `turnaround_ns` is None if an earlier request carried it already."""

    call_id: str
    tool: str
    span: SpanContext
    """Of the request that made the call."""
    turnaround_ns: int | None


class _Call:
    __slots__ = ("answered", "completed_ns", "is_ambiguous", "span", "tool")

    def __init__(self, tool: str, span: SpanContext, completed_ns: int) -> None:
        self.tool = tool
        self.span = span
        self.completed_ns = completed_ns
        self.answered = False
        self.is_ambiguous = False
        """Whether an unanswered call with the same id, from the same trace, was forgotten: it may be the one meant."""


class _CallsOfAnId:
    """The calls with one id, oldest first."""

    __slots__ = ("_calls", "is_shared")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self.is_shared = False
        """Whether there was ever more than one."""

    def add(self, tool: str, span: SpanContext, completed_ns: int) -> int:
        """Add a call, once per span. Returns how many unanswered calls were forgotten to make room."""
        known = self.of_spans(span)
        if known:
            if not known[0].answered:
                known[0].completed_ns = completed_ns
            return 0
        call = _Call(tool, span, completed_ns)
        self.is_shared = bool(self._calls)
        siblings = self._of_trace(span.trace_id)
        call.is_ambiguous = any(sibling.is_ambiguous for sibling in siblings)
        # A new call in the same trace means that the agent is done with those that it answered.
        self._calls = [other for other in self._calls if not (other.answered and other in siblings)]
        self._calls.append(call)
        if len(self._calls) <= _MOST_OF_AN_ID:
            return 0
        oldest = next((other for other in self._calls if other.answered), self._calls[0])
        self._calls.remove(oldest)
        if oldest.answered:
            return 0
        for sibling in self._of_trace(oldest.span.trace_id):
            sibling.is_ambiguous = True
        return 1

    def of_spans(self, *spans: SpanContext) -> list[_Call]:
        return [call for call in self._calls if call.span in spans]

    def candidates(self, trace_id: int) -> list[_Call]:
        """The calls that a request in this trace may mean."""
        among = self._of_trace(trace_id) or self._calls
        if any(call.is_ambiguous for call in among):
            return []
        return [call for call in among if not call.answered] or among

    def unanswered(self) -> int:
        return sum(not call.answered for call in self._calls)

    def _of_trace(self, trace_id: int) -> list[_Call]:
        return [call for call in self._calls if call.span.trace_id == trace_id]


class RecentCalls:
    """`on_forgotten` is called once for each unanswered call that is forgotten."""

    def __init__(self, on_forgotten: Callable[[], None], most: int = _MOST_CALLS) -> None:
        self._on_forgotten = on_forgotten
        self._most = most
        self._calls: OrderedDict[str, _CallsOfAnId] = OrderedDict()
        self._of_response: OrderedDict[str, tuple[SpanContext, tuple[str, ...]]] = OrderedDict()
        # By response id: the calls answered in the conversation before it, as far back as its responses are known.
        self._answered_before: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._found_tools = FoundTools()
        self._lock = threading.Lock()
        renew_lock_in_children(self)

    def remember(
        self, calls: Iterable[tuple[str, str]], span: SpanContext, completed_ns: int, response_id: str | None = None
    ) -> None:
        """Remember calls, as (id, tool), that the request of `span` made.

        `response_id`: of the response with these calls, if later requests may continue from it.
        """
        kept = [(call_id, tool) for call_id, tool in calls if len(call_id) <= _LONGEST_ID]
        forgotten = 0
        with self._lock:
            for call_id, tool in kept:
                known = self._calls.pop(call_id, None)
                if known is None or not span.is_valid:
                    # Without tracing, all requests have the same invalid span; the last call counts.
                    known = _CallsOfAnId()
                self._calls[call_id] = known
                forgotten += known.add(tool, span, completed_ns)
            if response_id is not None and kept and len(response_id) <= _LONGEST_ID:
                self._of_response[response_id] = span, tuple(call_id for call_id, _ in kept)
                if len(self._of_response) > self._most:
                    self._of_response.popitem(last=False)
            while len(self._calls) > self._most:
                _, oldest = self._calls.popitem(last=False)
                forgotten += oldest.unanswered()
        for _ in range(forgotten):
            self._on_forgotten()

    def remember_fetched(
        self, calls: Iterable[tuple[str, str]], span: SpanContext, completed_ns: int, response_id: str
    ) -> None:
        """Remember the calls of a response that the request of `span` fetched, if none of them was observed before."""
        calls = [(call_id, tool) for call_id, tool in calls if len(call_id) <= _LONGEST_ID]
        with self._lock:
            is_known = response_id in self._of_response or any(call_id in self._calls for call_id, _ in calls)
        if not is_known:
            self.remember(calls, span, completed_ns, response_id)

    def remember_results(self, turn: Turn, span: SpanContext, response_id: str) -> None:
        """Remember that the server accepted the results of `turn`: it answered with this response.

        To be called after the response's calls were remembered.
        """
        if len(response_id) > _LONGEST_ID:
            return
        with self._lock:
            known_span, calls = self._of_response.get(response_id, (span, ()))
            before = self._answered_before.get(turn.previous_response or "", ())
            results = [call_id for call_id in turn.results[-_MOST_ANSWERED:] if len(call_id) <= _LONGEST_ID]
            answered = [call_id for call_id in dict.fromkeys((*before, *results)) if call_id not in calls]
            # If a server gives several responses the same id, the one that a request continues from is unknown.
            if known_span != span or response_id in self._answered_before or response_id == turn.previous_response:
                answered = []
            self._answered_before[response_id] = tuple(answered[-_MOST_ANSWERED:])
            if len(self._answered_before) > self._most:
                self._answered_before.popitem(last=False)

    def remember_tools(self, request: ChatRequest, recording: Recording) -> None:
        """Remember the tools that items of the conversation up to this response declared."""
        with self._lock:
            self._found_tools.remember(request, recording)

    def with_earlier_tools(self, request: ChatRequest) -> ChatRequest:
        """The request, with the tools of the part of its conversation that the server has, as far as they are known."""
        with self._lock:
            return self._found_tools.complete(request)

    def match_results(self, turn: Turn, trace_id: int, now_ns: int) -> list[AnsweredCall]:
        """The known calls whose results a request in the trace `trace_id` carries."""
        with self._lock:
            candidates = {call_id: self._candidates(call_id, trace_id, turn) for call_id in turn.results}
            # The calls of one message were made by one request, so a certain one decides about the others.
            spans = [calls[0].span for calls in candidates.values() if len(calls) == 1]
            answered = []
            for call_id, calls in candidates.items():
                certain = calls if len(calls) == 1 else [call for call in calls if call.span in spans]
                if len(certain) == 1:
                    answered.append(_answer(call_id, certain[0], now_ns))
        # Not within the lock, because this reads the application's messages.
        for call_id in turn.earlier:
            with self._lock:
                known = self._calls.get(call_id)
                calls = [] if known is None else known.candidates(trace_id)
                if known is not None and known.is_shared:
                    # Its call may be from long ago.
                    calls = known.of_spans(*spans)
                # Results before the first answered one were sent by earlier requests.
                if len(calls) != 1 or calls[0].answered:
                    break
                answered.append(_answer(call_id, calls[0], now_ns))
        return answered

    def _candidates(self, call_id: str, trace_id: int, turn: Turn) -> list[_Call]:
        known = self._calls.get(call_id)
        if known is None:
            return []
        self._calls.move_to_end(call_id)
        previous = self._of_response.get(turn.previous_response or "")
        if previous is not None and call_id in previous[1]:
            return known.of_spans(previous[0])
        calls = known.candidates(trace_id)
        if len(calls) > 1 and (name := dict(turn.tools).get(call_id)) is not None:
            return [call for call in calls if call.tool in {name, OTHER}]
        return calls

    def span_of(self, call_id: str, trace_id: int) -> SpanContext | None:
        """The span of the request that made a call, as seen from the trace `trace_id`."""
        with self._lock:
            known = self._calls.get(call_id)
            calls = [] if known is None else known.candidates(trace_id)
        return calls[0].span if len(calls) == 1 else None

    def complete_turn(self, turn: Turn) -> Turn:
        """The turn, with the faults that only the calls of the previous response reveal."""
        with self._lock:
            previous = self._of_response.get(turn.previous_response or "")
            answered = self._answered_before.get(turn.previous_response or "", ())
        again = tuple(call for call in turn.results if call in answered and call not in turn.repeated)
        if again:
            turn = turn._replace(repeated=turn.repeated + again)
        if previous is None:
            return turn
        _, calls = previous
        unknown = tuple(call for call in turn.results if call not in calls and call not in answered)
        if any(call in turn.by_item for call in unknown):
            # Which calls these answer cannot be known.
            return turn._replace(without_call=tuple(call for call in unknown if call not in turn.by_item))
        return turn._replace(unanswered=tuple(call for call in calls if call not in turn.results), without_call=unknown)


def _answer(call_id: str, call: _Call, now_ns: int) -> AnsweredCall:
    is_first, call.answered = not call.answered, True
    return AnsweredCall(call_id, call.tool, call.span, now_ns - call.completed_ns if is_first else None)
