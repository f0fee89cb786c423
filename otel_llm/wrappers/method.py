"""What a wrapped `create` or `parse` does: start a span, make the call, watch what comes back."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar, Token
from time import perf_counter_ns
from types import CoroutineType, FrameType
from typing import Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_llm.observation import Observation, watch_exit
from otel_llm.protocol.request import Api, ChatRequest, read_request
from otel_llm.telemetry.handler import Telemetry
from otel_llm.telemetry.log_lines import are_wanted, log_request
from otel_llm.telemetry.provider import Server, server_of
from otel_llm.transparency.faults import attempt, swallow
from otel_llm.transparency.proxies import wrapper_of
from otel_llm.wrappers.other_instrumentations import checked, warn_of_others_once
from otel_llm.wrappers.raw_response import RawResponse, WholeRawResponse, is_raw_response, read_body
from otel_llm.wrappers.refused_response import fail_with_response
from otel_llm.wrappers.response_body import BodyClosing, watch_body
from otel_llm.wrappers.sdk_internals import client_of, has_post_parser, has_whole_body, sends_requests
from otel_llm.wrappers.stream import EitherWayTracker, StreamingToolCallTracker, SyncStreamingToolCallTracker


class _Request:
    """A request that is being made, by the wrapper whose frame has `frame_id`.

    A client that is intercepted under an instrumented SDK, or a helper of the SDK that calls another wrapped method of
    the same resource, is one request and one span.
    """

    __slots__ = ("frame_id", "made", "resource")

    def __init__(self, resource: object, frame: FrameType) -> None:
        self.resource = resource
        # A number, because a frame holds whatever is in it. No other frame has it before the request is made.
        self.frame_id = id(frame)
        self.made = False


class _Unawaited:
    """The SDK's coroutine within ours: where nobody awaits ours, Python shall not complain of both."""

    __slots__ = ("pending",)

    def __init__(self, pending: Awaitable[Any]) -> None:
        self.pending: Awaitable[Any] | None = pending

    def __del__(self) -> None:
        pending = self.pending
        if pending is not None and inspect.iscoroutine(pending):
            pending.close()


# Whoever is started while a request is made inherits this, and may keep it long after.
_requesting: ContextVar[_Request | None] = ContextVar("otel_llm_requesting", default=None)


def _is_part_of(request: _Request, resource: object) -> bool:
    """Whether a wrapped method that is called now is called for the sake of `request`.

    It is not once the SDK sends the request: what calls then is an event hook or a function that gives the API key.
    """
    if request.made:
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if id(frame) == request.frame_id:
            return True
        if sends_requests(frame):
            return False
        frame = frame.f_back
    # In another thread or task: nobody hands a request back to the same resource by that way.
    return request.resource is not resource


class MethodWrapper:
    """The wrapper around every wrapped method of one API. While `active` is False it only passes through.

    It may outlive its removal: the SDK caches `with_raw_response` together with the wrapped method. So it can be
    switched on again.
    """

    def __init__(self, telemetry: Telemetry, api: Api = "chat") -> None:
        self._api: Api = api
        self.switch_on(telemetry)

    def switch_on(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.active = True

    def switch_off(self) -> None:
        self.active = False

    def wrapper_for(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The wrapt wrapper for a synchronous or asynchronous method."""
        # The SDK's decorators hide that a method is a coroutine function; what they wrap tells.
        return self._call_async if inspect.iscoroutinefunction(inspect.unwrap(function)) else self._call

    def _call(self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        resource = wrapped if instance is None else instance
        observation = self._begin(resource, kwargs) if self.active else None
        if observation is None:
            return wrapped(*args, **kwargs)
        request = _Request(resource, sys._getframe())
        token = _requesting.set(request)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            self._failed(observation, error)
            raise
        finally:
            request.made = True
            self._released(observation, token)
        if hasattr(type(result), "__await__"):
            return self._finish_later(result, observation)
        return self._watched(result, observation)

    def _call_async(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        # The SDK looks at the arguments when it is called; it starts when it is awaited, and so do we.
        pending = wrapped(*args, **kwargs)
        is_coroutine = type(pending) is CoroutineType
        if not (self.active and (is_coroutine or hasattr(type(pending), "__await__"))):
            return pending
        coroutine: Any = self._await(_Unawaited(pending), wrapped if instance is None else instance, kwargs)
        if is_coroutine:
            # What Python calls it when nobody awaits it.
            coroutine.__name__, coroutine.__qualname__ = pending.__name__, pending.__qualname__
        return coroutine

    async def _await(self, unawaited: _Unawaited, resource: Any, kwargs: Mapping[str, Any]) -> Any:
        observation = self._begin(resource, kwargs) if self.active else None
        pending: Any = unawaited.pending
        unawaited.pending = None
        if observation is None:
            return await pending
        request = _Request(resource, sys._getframe())
        token = _requesting.set(request)
        try:
            result = await pending
        except BaseException as error:
            self._failed(observation, error)
            raise
        finally:
            request.made = True
            self._released(observation, token)
        return self._watched(result, observation)

    async def _finish_later(self, pending: Awaitable[Any], observation: Observation) -> Any:
        try:
            result = await pending
        except BaseException as error:
            self._failed(observation, error)
            raise
        return self._watched(result, observation)

    # The four steps around a call. Each is the last line of defence: nothing of ours gets past it.

    def _begin(self, resource: Any, kwargs: Mapping[str, Any]) -> Observation | None:
        try:
            return self._observe(resource, kwargs)
        except Exception as fault:  # noqa: BLE001
            swallow("a request", fault)
            return None

    def _released(self, observation: Observation, token: Token[_Request | None]) -> None:
        try:
            try:  # noqa: SIM105  `suppress` costs what all of this costs
                _requesting.reset(token)
            except ValueError:
                # A coroutine is closed from another context, which never saw the mark.
                pass
            observation.release()
        except Exception as fault:  # noqa: BLE001
            swallow("the caller's context", fault)

    def _failed(self, observation: Observation, error: BaseException) -> None:
        try:
            fail_with_response(observation, error)
        except Exception as fault:  # noqa: BLE001
            swallow("an error", fault)

    def _watched(self, result: Any, observation: Observation) -> Any:
        """The result, watched; the result itself where that fails."""
        try:
            return self._watch_result(result, observation)
        except Exception as fault:  # noqa: BLE001
            swallow("a result", fault)
        try:
            observation.end("completed", unread=True)
        except Exception as fault:  # noqa: BLE001
            swallow("the end of a request", fault)
        return result

    def _observe(self, resource: Any, kwargs: Mapping[str, Any]) -> Observation | None:
        if not is_instrumentation_enabled():
            return None
        around = _requesting.get()
        within_another = around is not None and not _is_part_of(around, resource)
        if around is not None and not within_another:
            return None
        if type(resource) not in checked:
            attempt("other instrumentations", warn_of_others_once, type(resource))
        # What fails is left out, each by itself, and without `attempt`, which costs what some of them cost.
        request = span = None
        try:
            request = read_request(kwargs, self._api)
        except Exception as fault:  # noqa: BLE001
            swallow("the request's arguments", fault)
        telemetry = self._telemetry
        if request is not None and request.turn is not None and request.turn.previous_response is not None:
            turn = attempt("the calls before", telemetry.recent_calls.complete, request.turn)
            request = request._replace(turn=turn)
        described = request or ChatRequest(stream=bool(kwargs.get("stream")), api=self._api)
        logs = attempt("log lines", are_wanted, telemetry.config) or False
        if logs:
            attempt("log lines", log_request, described)
        try:
            server = server_of(client_of(resource))
        except Exception as fault:  # noqa: BLE001
            swallow("the server's address", fault)
            server = Server("openai")
        if not telemetry.is_settled and attempt("exit", telemetry.has_other_providers):
            attempt("exit", watch_exit)
        started_ns = perf_counter_ns()
        try:
            span = telemetry.start(described, kwargs, server, within_another)
        except Exception as fault:  # noqa: BLE001
            swallow("the start of a span", fault)
        try:
            return Observation(
                telemetry.config,
                request,
                span,
                logs=logs,
                keep_text=telemetry.captures_content,
                started_ns=started_ns,
            )
        except Exception:
            if span is not None:
                span.release()
            raise

    def _watch_result(self, result: Any, observation: Observation) -> Any:
        if not is_raw_response(result):
            return _watch(result, observation, BodyClosing(observation))
        if _streams(observation):
            return RawResponse(result, observation, _watch)
        if has_whole_body(result):
            # The body is here already. What `parse()` makes of it, with validators of the caller's, is for the caller.
            if observation.config.tool_call_tags is None or has_post_parser(result):
                read_body(result, observation)
                return result
            # The SDK keeps what it parsed.
            response = result.parse()
            _rewrite_response(response, observation)
            observation.read_response(response)
            return result
        # The other raw responses have properties of these names.
        has_methods = callable(getattr(type(result), "text", None))
        return (WholeRawResponse if has_methods else RawResponse)(result, observation, _watch)


def method_wrapper_of(method: Any) -> MethodWrapper | None:
    """Those whose wrapper a method is, None where it is none of ours."""
    calls = getattr(wrapper_of(method), "__self__", None)
    return calls if isinstance(calls, MethodWrapper) else None


def without_idle(method: Any) -> Any:
    """The method without those wrappers of this package that were switched off while another one was around them."""
    while (calls := method_wrapper_of(method)) is not None and not calls.active:
        method = method.__wrapped__
    return method


def _streams(observation: Observation) -> bool:
    return observation.request is not None and observation.request.stream


def _rewrite_response(response: Any, observation: Observation) -> None:
    if observation.config.tool_call_tags is not None and (rewriting := _rewriting(observation)) is not None:
        rewriting.response(response)


def _rewritten_stream(stream: Any, observation: Observation) -> Any:
    if observation.config.tool_call_tags is None or (rewriting := _rewriting(observation)) is None:
        return stream
    return rewriting.stream(stream)


def _rewriting(observation: Observation) -> Any:
    if observation.request is not None and observation.request.api != "chat":
        return None
    # Loads the table of syntaxes, which most applications do not need.
    from otel_llm.wrappers.rewritten_stream import rewriting_of

    return attempt("tag rewriting", rewriting_of, observation)


def _watch(result: Any, observation: Observation, closing: BodyClosing) -> Any:
    """A stream behind its tracker; a whole response as it is, read."""
    if observation.request is not None and not observation.request.stream:
        # Whatever it can do besides: a mock has every method there is.
        _rewrite_response(result, observation)
        observation.read_response(result)
        return result
    kind = type(result)
    if kind is str or kind is bytes:
        # A stream that only the body asked for (`extra_body`), so that the SDK took it for a text. It is the caller's.
        observation.end("completed", unread=True)
        return result
    asynchronous = hasattr(kind, "__anext__") or hasattr(kind, "__aiter__")
    synchronous = hasattr(kind, "__next__") or (hasattr(kind, "__iter__") and _streams(observation))
    tracker: Any
    if asynchronous and synchronous:
        tracker = EitherWayTracker(_rewritten_stream(result, observation), observation)
    elif asynchronous:
        tracker = StreamingToolCallTracker(_rewritten_stream(result, observation), observation)
    elif synchronous:
        tracker = SyncStreamingToolCallTracker(_rewritten_stream(result, observation), observation)
    else:
        _rewrite_response(result, observation)
        observation.read_response(result)
        return result
    closing.read_by(result)
    attempt("a response's body", watch_body, getattr(result, "response", None), closing)
    return tracker
