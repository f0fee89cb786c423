"""The observation of one request, from its start to the end of its response, however that comes.

It connects the pure parts (recording, diagnosis) to the edges (log lines, telemetry) and ends the span exactly once.
Nothing here raises into the application.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import sys
from collections.abc import Callable, Iterable
from time import perf_counter_ns, time_ns
from typing import Any, Protocol

from otel_llm.config import Config
from otel_llm.diagnosis.case import Anomaly, Case
from otel_llm.diagnosis.judges import diagnose, diagnose_request
from otel_llm.protocol.choice import Limits, Notice, Outcome
from otel_llm.protocol.dialects import EitherEvents, Reader, reader_of
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.telemetry.log_lines import log_end, log_notices
from otel_llm.telemetry.opentelemetry_internals import LOCKING_MODULES
from otel_llm.telemetry.redaction import Redaction
from otel_llm.telemetry.timeline import Timeline, build_timeline
from otel_llm.transparency.faults import attempt, swallow


class Span(Protocol):
    """Takes the result of an observation, as `telemetry.request_span` does. `event_limit` and `finish` never raise."""

    @property
    def event_limit(self) -> int | None:
        """How many more events the span can hold, None if any number."""

    def release(self) -> None: ...
    def enter(self) -> Callable[[], None]: ...
    def remember_calls(self, recording: Recording, /) -> None: ...
    def remember_call(self, recording: Recording, call: ToolCall, /) -> None: ...
    def finish(
        self,
        recording: Recording,
        timeline: Timeline,
        offset_ns: int,
        error: BaseException | None,
        redaction: Redaction | None,
        /,
    ) -> None: ...


# Called with each observation when it starts.
listeners: list[Callable[[Observation], None]] = []
# Observations that have not ended yet, to be ended when the interpreter exits.
_open: set[Observation] = set()
# Observations whose tracker was garbage-collected where ending them was not safe.
_deferred: list[Observation] = []
_exit_hooked = False


class Observation:
    """`request` is None if a stream is observed without its request. `logs`: whether log lines are wanted.

    `provider`: who serves the request, if that is known. `server`: its address and port, as far as known.

    `started_ns`: when the request started, on the clock of `perf_counter_ns`; by default, now.
    """

    __slots__ = (
        "__weakref__",
        "_ending",
        "_logs",
        "_offset_ns",
        "_span",
        "anomalies",
        "config",
        "is_rewritten",
        "provider",
        "reader",
        "recording",
        "repeated_calls",
        "request",
        "server",
    )

    def __init__(
        self,
        config: Config,
        request: ChatRequest | None,
        span: Span | None,
        *,
        logs: bool = False,
        provider: str | None = None,
        server: tuple[str | None, int | None] = (None, None),
        started_ns: int | None = None,
    ) -> None:
        now = perf_counter_ns()
        # Everything is measured on one clock; the offset to the time of day is only added when something is sent.
        self._offset_ns = time_ns() - now
        self.config = config
        self.is_rewritten = False
        """Whether the tool calls in its text are rewritten already, before what is read here."""
        self._logs = logs
        self.request = request
        self._span = span
        self.provider = provider
        """Who serves the request, None if that is only presumed."""
        self.server = server
        self.recording = Recording(
            started_ns=now if started_ns is None else started_ns,
            declared=_declared_names(config, request),
            preview=config.argument_limit if config.capture_arguments else 0,
            limits=_limits_for(None if span is None else span.event_limit),
        )
        self.reader: Reader = (
            EitherEvents(self.recording) if request is None else reader_of(request.api, self.recording, request)
        )
        """Takes the chunks or events of the response."""
        # A tracker, which may be around the response to any request, sets this to True.
        self.recording.streamed = request is None or request.stream
        self.anomalies: list[Anomaly] = []
        """Empty until the observation has ended."""
        self.repeated_calls = 0
        """In so many turns in a row, counting this response, the model made the same call; 0 if there is one."""
        self._ending = [True]
        open_until_exit(self)
        for listener in listeners:
            attempt("a listener", listener, self)
        if _deferred:
            _end_deferred()

    @property
    def ended(self) -> bool:
        return not self._ending

    def _ends_now(self) -> bool:
        """Whether the observation ends now. False if it has ended."""
        try:
            # Atomic: the caller that pops the one item ends the observation.
            self._ending.pop()
        except IndexError:
            return False
        _open.discard(self)
        return True

    def drop(self) -> None:
        """End without sending anything: another process ends it."""
        self._ending.clear()

    def release(self) -> None:
        """The call has returned: restore the caller's context."""
        if self._span is not None:
            self._span.release()

    def enter(self) -> Callable[[], None] | None:
        """Enter the request's context once more; returns what restores the caller's, None if there is no span."""
        return None if self._span is None else self._span.enter()

    def notify(self, notices: Iterable[Notice]) -> None:
        """Handle what cannot wait for the end of the stream: log lines, and calls that may be answered before it."""
        if self._span is not None and self.recording.first_tool_call_ns is not None:
            for notice in notices:
                if notice.kind == "finish":
                    # An agent may execute the calls before the stream ends.
                    attempt("the calls made", self._span.remember_calls, self.recording)
                else:
                    # An agent may also execute a call while later ones are still arriving.
                    call = _call_completed_by(notice)
                    if call is not None:
                        attempt("the calls made", self._span.remember_call, self.recording, call)
        if self._logs:
            attempt("log lines", log_notices, self.config, self.recording, notices)

    def read_response(self, response: Any) -> None:
        """Read a response that was not streamed, and end."""
        notices = attempt("a response", self.reader.read_response, response, perf_counter_ns())
        if notices and self._logs:
            attempt("log lines", log_notices, self.config, self.recording, notices)
        self.end("completed")

    def read_body(self, body: bytes) -> None:
        """Read the body of a response that was not streamed, and end. Raises ValueError if it is no response."""
        response = json.loads(body)
        # No supported API answers with a list, or with null.
        if response is None or isinstance(response, list):
            raise ValueError("not a response")
        self.read_response(response)

    def fail(self, error: BaseException, wait_started_ns: int | None = None) -> None:
        """End because the request, or the read that began at `wait_started_ns`, raised."""
        outcome = attempt("an error", outcome_of, error) or "error"
        self.end(outcome, error if outcome == "error" else None, wait_started_ns)

    def end(
        self,
        outcome: Outcome,
        error: BaseException | None = None,
        wait_started_ns: int | None = None,
        *,
        unread: bool = False,
    ) -> None:
        """End once; later calls do nothing.

        `unread`: the response was not parsed here, so there is nothing to diagnose.
        """
        if not self._ends_now():
            return
        recording = self.recording
        # The application may have added events to the span since the start.
        config, span = self.config, self._span
        limit = None if span is None else span.event_limit
        # Each step has its own `try`: calling `attempt` costs as much as some of them.
        try:
            notices = recording.end(outcome, perf_counter_ns(), wait_started_ns, _smaller(limit, config.delta_events))
        except Exception as fault:  # noqa: BLE001
            swallow("the end of a stream", fault)
            notices = []
        if notices and self._logs:
            attempt("log lines", log_notices, config, recording, notices)
        anomalies: list[Anomaly] = []
        try:
            if not unread and (error is None or recording.choices):
                case = Case(recording, self.request, config.stall_seconds, config.loop_turns, on_fault=swallow)
                case.api = self.reader.api
                anomalies = diagnose(case)
                self.repeated_calls = case.repeated_turns
        except Exception as fault:  # noqa: BLE001
            swallow("diagnosis", fault)
        if self.request is not None and (self.request.turn is not None or self.provider is not None):
            anomalies = [*(attempt("diagnosis", diagnose_request, self.request, self.provider) or []), *anomalies]
        redaction = None if config.redact is None else Redaction(config.redact)
        try:
            preview = config.argument_limit if config.capture_arguments else None
            timeline = build_timeline(recording, anomalies, limit, preview, config.delta_events, redaction)
        except Exception as fault:  # noqa: BLE001
            swallow("the timeline", fault)
            timeline = Timeline([], 0, anomalies)
        self.anomalies = timeline.anomalies
        if self._logs:
            attempt("log lines", log_end, config, recording, timeline.anomalies)
        if span is not None:
            if self.repeated_calls:
                timeline = timeline._replace(repeated_calls=self.repeated_calls)
            span.finish(recording, timeline, self._offset_ns, error, redaction)
        if _deferred:
            _end_deferred()


def open_until_exit(observation: Observation) -> None:
    """Have an observation ended when the interpreter exits, if nothing else has ended it."""
    if not _exit_hooked:
        end_open_at_exit()
    _open.add(observation)


def _call_completed_by(notice: Notice) -> ToolCall | None:
    """The call that this notice shows to be complete: a new call completes the one before it."""
    if notice.kind == "completed":
        return notice.call
    if notice.kind == "detected" and len(notice.choice.calls) > 1:
        return notice.choice.calls[-2]
    return None


def _declared_names(config: Config, request: ChatRequest | None) -> frozenset[str] | None:
    """The names that calls may have, None if any. With rewriting, tools may be declared in the prompt alone."""
    if request is None or (config.tool_call_tags is not None and not request.tools):
        return None
    return request.tool_names


def _smaller(limit: int | None, other: int | None) -> int | None:
    """The smaller of two limits, of which either may be None: no limit."""
    return other if limit is None else limit if other is None else min(limit, other)


def _limits_for(event_limit: int | None) -> Limits:
    """If the span's event limit was raised, keep more deltas, up to `_MOST_DELTAS`."""
    if event_limit is not None and event_limit <= _LIMITS.deltas:
        return _LIMITS
    return Limits(deltas=_MOST_DELTAS if event_limit is None else min(event_limit, _MOST_DELTAS))


_LIMITS = Limits()
_MOST_DELTAS = 16_384


class CollectionGuard:
    """Ends an observation as `abandoned` when the tracker that holds this guard is garbage-collected."""

    __slots__ = ("_armed", "_observation")

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._armed = True

    def disarm(self) -> None:
        """Another guard ends the observation."""
        self._armed = False

    def __del__(self) -> None:
        try:
            if not self._armed or self._observation.ended:
                return
            # Garbage collection may run anywhere, even in code that holds a lock which ending a span takes.
            if _locks_may_be_held():
                _deferred.append(self._observation)
            else:
                self._observation.end("abandoned")
        except Exception as fault:  # noqa: BLE001
            swallow("garbage collection", fault)


# Modules whose frames may hold a lock that ending a span, recording a metric or logging takes.
_LOCKING = (*LOCKING_MODULES, "logging", "otel_llm")


def _locks_may_be_held() -> bool:
    frame = sys._getframe(2)  # the caller of `__del__`
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
    """A forked child inherits open observations; the parent ends them."""
    for observation in _open:
        observation.drop()
    _open.clear()
    _deferred.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def end_open_at_exit() -> None:
    """End open observations when the interpreter exits, before the OpenTelemetry SDK's providers shut down.

    Exit functions run last in, first out, and providers register theirs when they are created. So this is called at
    the first request, and again at the first request that goes to other providers.
    """
    global _exit_hooked  # noqa: PLW0603
    _exit_hooked = True
    atexit.unregister(_end_open)
    atexit.register(_end_open)


def _end_open() -> None:
    _end_deferred()
    for observation in list(_open):
        attempt("exit", observation.end, "abandoned")


# Recognized by name: an application that uses these libraries has imported them, and no other needs to.
_CANCELLING = frozenset({("trio", "Cancelled"), ("greenlet", "GreenletExit"), ("gevent", "GreenletExit")})


def outcome_of(error: BaseException) -> Outcome:
    """`cancelled` if the caller stopped waiting, else `error`."""
    if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)):
        return "cancelled"
    kind = type(error)
    package = kind.__module__.partition(".")[0]
    return "cancelled" if (package, kind.__name__) in _CANCELLING else "error"
