"""One request under observation, from its start to the end of its response, whatever ends it.

It joins the pure parts (recording, diagnosis, timeline) to the edges (log lines, telemetry) and sees to it that the
span ends exactly once. Nothing here raises into the application.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from collections.abc import Callable, Iterable
from time import perf_counter_ns, time_ns
from typing import Any, Protocol

from otel_llm.config import Config
from otel_llm.diagnosis.case import Anomaly, Case
from otel_llm.diagnosis.judges import diagnose, diagnose_request
from otel_llm.protocol.choice import Limits, Notice, Outcome
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest
from otel_llm.protocol.responses_api import EitherEvents, ResponseEvents
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.telemetry.log_lines import log_end, log_notices
from otel_llm.telemetry.opentelemetry_internals import LOCKING_MODULES
from otel_llm.telemetry.timeline import Timeline, build_timeline
from otel_llm.transparency.faults import attempt, swallow


class Span(Protocol):
    """Where an observation is written down: `telemetry.RequestSpan` or `telemetry.CurrentSpan`.

    `event_limit` and `finish` raise nothing.
    """

    @property
    def event_limit(self) -> int | None:
        """How many more events fit, None for any number."""

    def release(self) -> None: ...
    def remember_calls(self, recording: Recording, /) -> None: ...
    def remember_call(self, recording: Recording, call: ToolCall, /) -> None: ...
    def finish(
        self, recording: Recording, timeline: Timeline, offset_ns: int, error: BaseException | None, /
    ) -> None: ...


class Reader(Protocol):
    """What reads a response: the recording itself, or what translates for it."""

    def feed(self, chunk: Any, asked_ns: int, came_ns: int, /) -> list[Notice] | None: ...
    def read_response(self, response: Any, came_ns: int, /) -> list[Notice]: ...


# Told of every request at its start.
listeners: list[Callable[[Observation], None]] = []
# Observations whose end is still to come, so that they can be ended when the interpreter exits.
_open: set[Observation] = set()
# Observations that were garbage-collected where ending them was not safe.
_deferred: list[Observation] = []
_exit_hooked = False


class Observation:
    """`request` is None where a stream is watched without its request. `logs`: whether anybody reads its log lines."""

    __slots__ = (
        "__weakref__",
        "_ending",
        "_logs",
        "_offset_ns",
        "_span",
        "anomalies",
        "config",
        "reader",
        "recording",
        "request",
    )

    def __init__(
        self,
        config: Config,
        request: ChatRequest | None,
        span: Span | None,
        *,
        logs: bool = False,
        keep_text: bool = False,
        started_ns: int | None = None,
    ) -> None:
        if not _exit_hooked:
            watch_exit()
        now = perf_counter_ns()
        # One clock for all that is measured; the time of day is only added when something is sent.
        self._offset_ns = time_ns() - now
        self.config = config
        self._logs = logs
        self.request = request
        self._span = span
        self.recording = Recording(
            started_ns=now if started_ns is None else started_ns,
            declared=_declared(config, request),
            preview=config.argument_limit if config.capture_arguments else 0,
            keep_text=keep_text or bool(listeners),
            # A call may come as text only where there is something to call.
            watch_text=request is not None and bool(request.tools),
            limits=_limits_for(None if span is None else span.event_limit),
        )
        self.reader: Reader = self.recording
        """Takes the chunks, or the events, of the response for the recording."""
        if request is None:
            self.reader = EitherEvents(self.recording)
        elif request.api == "responses":
            self.reader = ResponseEvents(self.recording)
        # What was not asked for as a stream is none, whatever becomes of it; a tracker that is made all the same knows.
        self.recording.streamed = request is None or request.stream
        self.anomalies: list[Anomaly] = []
        """What is wrong, known at the end."""
        # Whoever takes the one item ends the observation; popping a list is atomic.
        self._ending = [True]
        _open.add(self)
        for listener in listeners:
            attempt("a listener", listener, self)
        if _deferred:
            _end_deferred()

    @property
    def ended(self) -> bool:
        return not self._ending

    def disown(self) -> None:
        """Somebody else ends it."""
        self._ending.clear()

    def release(self) -> None:
        """The request was made: the caller's context is the caller's again."""
        if self._span is not None:
            self._span.release()

    def tell(self, notices: Iterable[Notice]) -> None:
        """Something happened that is worth more than a tuple."""
        for notice in notices:
            if self._span is None:
                break
            if notice.kind == "finish" and self.recording.first_tool_call_ns is not None:
                # Whoever executes calls need not wait for the end of the stream.
                attempt("the calls made", self._span.remember_calls, self.recording)
            else:
                # Nor for that of the calls behind it.
                call = _whole_since(notice)
                if call is not None:
                    attempt("the calls made", self._span.remember_call, self.recording, call)
        if self._logs:
            attempt("log lines", log_notices, self.config, self.recording, notices)

    def read_response(self, response: Any) -> None:
        """A response that came whole: read it and end."""
        notices = attempt("a response", self.reader.read_response, response, perf_counter_ns())
        if notices and self._logs:
            attempt("log lines", log_notices, self.config, self.recording, notices)
        self.end("completed")

    def fail(self, error: BaseException, asked_ns: int | None = None) -> None:
        """A read or the request itself raised. `asked_ns`: when the read began."""
        outcome = attempt("an error", outcome_of, error) or "error"
        self.end(outcome, error if outcome == "error" else None, asked_ns)

    def end(
        self,
        outcome: Outcome,
        error: BaseException | None = None,
        asked_ns: int | None = None,
        *,
        unread: bool = False,
    ) -> None:
        """End once; every later call does nothing.

        `unread`: the response went past us as bytes, so there is nothing to judge it by.
        """
        try:
            self._ending.pop()
        except IndexError:
            return
        _open.discard(self)
        recording = self.recording
        # Asked again: somebody may have put events on the span meanwhile.
        span = self._span
        limit = None if span is None else span.event_limit
        # Each by itself, and without `attempt`, which costs what some of them cost.
        try:
            notices = recording.end(outcome, perf_counter_ns(), asked_ns, limit)
        except Exception as fault:  # noqa: BLE001
            swallow("the end of a stream", fault)
            notices = []
        if notices and self._logs:
            attempt("log lines", log_notices, self.config, recording, notices)
        anomalies: list[Anomaly] = []
        try:
            if not unread and (error is None or recording.choices):
                anomalies = diagnose(Case(recording, self.request, self.config.stall_seconds, on_fault=swallow))
        except Exception as fault:  # noqa: BLE001
            swallow("diagnosis", fault)
        if self.request is not None and self.request.turn is not None:
            anomalies = [*(attempt("diagnosis", diagnose_request, self.request) or []), *anomalies]
        try:
            preview = self.config.argument_limit if self.config.capture_arguments else None
            timeline = build_timeline(recording, anomalies, limit, preview)
        except Exception as fault:  # noqa: BLE001
            swallow("the timeline", fault)
            timeline = Timeline([], 0, anomalies)
        self.anomalies = timeline.anomalies
        if self._logs:
            attempt("log lines", log_end, self.config, recording, timeline.anomalies)
        if span is not None:
            span.finish(recording, timeline, self._offset_ns, error)
        if _deferred:
            _end_deferred()


def _whole_since(notice: Notice) -> ToolCall | None:
    """The call that is known to be whole by this, as the one before a call that begins."""
    if notice.kind == "completed":
        return notice.call
    if notice.kind == "detected" and len(notice.choice.calls) > 1:
        return notice.choice.calls[-2]
    return None


def _declared(config: Config, request: ChatRequest | None) -> frozenset[str] | None:
    """The names that calls may have. Calls that are written as text may be of tools that only the prompt declares."""
    if request is None or (config.tool_call_tags is not None and not request.tools):
        return None
    return request.tool_names


def _limits_for(event_limit: int | None) -> Limits:
    """Whoever has room for more events than a span commonly has gets more deltas, up to a limit of ours."""
    if event_limit is not None and event_limit <= _LIMITS.deltas:
        return _LIMITS
    return Limits(deltas=_MOST_DELTAS if event_limit is None else min(event_limit, _MOST_DELTAS))


_LIMITS = Limits()
_MOST_DELTAS = 16_384


class AbandonedStream:
    """Held by a tracker alone: it goes when the tracker goes, and ends the observation."""

    __slots__ = ("_armed", "_observation")

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._armed = True

    def disarm(self) -> None:
        """Somebody else holds on to the observation now."""
        self._armed = False

    def __del__(self) -> None:
        try:
            if not self._armed or self._observation.ended:
                return
            # Garbage collection may run in the middle of anything, code that holds the locks we need included.
            if _locks_may_be_held():
                _deferred.append(self._observation)
            else:
                self._observation.end("abandoned")
        except Exception as fault:  # noqa: BLE001
            swallow("garbage collection", fault)


# Modules whose frames may hold a lock that ending a span, recording a metric or logging takes.
_LOCKING = (*LOCKING_MODULES, "logging", "otel_llm")


def _locks_may_be_held() -> bool:
    frame = sys._getframe(2)  # behind this function and `__del__`
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        if module.startswith(_LOCKING) and not module.startswith("otel_llm.demo"):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _end_deferred() -> None:
    while _deferred:
        try:
            observation = _deferred.pop()
        except IndexError:
            return
        observation.end("abandoned")


def _leave_to_parent() -> None:
    """A forked child inherits its parent's streams; the parent ends them."""
    for observation in _open:
        observation.disown()
    _open.clear()
    _deferred.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def watch_exit() -> None:
    """End what is open when the interpreter exits, before the SDK's providers shut down.

    Exit functions run last in, first out, and providers register theirs when they are made; so ours waits for the
    first request, and comes again for the first one that goes to other providers.
    """
    global _exit_hooked  # noqa: PLW0603
    _exit_hooked = True
    atexit.unregister(_end_open)
    atexit.register(_end_open)


def _end_open() -> None:
    _end_deferred()
    for observation in list(_open):
        attempt("exit", observation.end, "abandoned")


# Told by name, because whoever uses them has imported them, and nobody else shall have to.
_CANCELLING = frozenset({("trio", "Cancelled"), ("greenlet", "GreenletExit"), ("gevent", "GreenletExit")})


def outcome_of(error: BaseException) -> Outcome:
    """`cancelled` where the caller stopped waiting, `error` where waiting failed."""
    if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)):
        return "cancelled"
    kind = type(error)
    package = kind.__module__.partition(".")[0]
    return "cancelled" if (package, kind.__name__) in _CANCELLING else "error"
