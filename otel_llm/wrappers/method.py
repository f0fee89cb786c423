"""The wrapper around `create` and `parse`: starts a span, makes the call, and tracks the response."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from dataclasses import replace
from functools import lru_cache, partial
from types import CoroutineType, FrameType, GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_llm.observation import Observation, Span, end_open_at_exit
from otel_llm.protocol.fields import field
from otel_llm.protocol.request import Api, ChatRequest
from otel_llm.telemetry.handler import Telemetry
from otel_llm.telemetry.provider import Server, server_of
from otel_llm.transparency.faults import attempt, swallow
from otel_llm.transparency.proxies import wrapper_of
from otel_llm.wrappers.other_instrumentations import checked, warn_of_others_once
from otel_llm.wrappers.raw_response import RawResponse, UnreadRawResponse, is_raw_response, record_body, rewrite_body
from otel_llm.wrappers.refused_response import fail_with_response
from otel_llm.wrappers.response_body import BodyObserver, observe_body
from otel_llm.wrappers.response_socket import observed_socket
from otel_llm.wrappers.sdk_internals import (
    before_parsing,
    client_of,
    has_whole_body,
    observe_sockets,
    replace_request,
    sends_requests,
)
from otel_llm.wrappers.starting import start_observation, start_span
from otel_llm.wrappers.stream import EitherWayTracker, StreamingToolCallTracker, SyncStreamingToolCallTracker

if TYPE_CHECKING:
    from otel_llm.wrappers.rewritten_stream import Rewriting


class _Request:
    """A request in progress, made by the wrapper whose frame has the id `frame_id`.

    Several wrappers may see one request: the client may be intercepted while its SDK is instrumented, and an SDK's
    helper may call another wrapped method of the same resource. It is one request and one span.
    """

    __slots__ = ("frame_id", "is_over", "resource")

    def __init__(self, resource: object, frame: FrameType) -> None:
        self.resource = resource
        # The id, because a frame keeps its variables alive. It is not reused while the wrapper runs.
        self.frame_id = id(frame)
        self.is_over = False


class _Unawaited:
    """The SDK's coroutine, inside the wrapper's: if that is never awaited, Python warns only once."""

    __slots__ = ("pending",)

    def __init__(self, pending: Awaitable[Any]) -> None:
        self.pending: Awaitable[Any] | None = pending

    def __del__(self) -> None:
        pending = self.pending
        if pending is not None and inspect.iscoroutine(pending):
            pending.close()


# Tasks and threads that start during a request inherit this, and may keep it long after.
_current_request: ContextVar[_Request | None] = ContextVar("otel_llm_current_request", default=None)


def _is_part_of(request: _Request, resource: object) -> bool:
    """Whether the wrapped method that is being called is another step of `request`.

    If the SDK is sending the request, the caller is an event hook or an API-key function, which makes a new request.
    """
    if request.is_over:
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if id(frame) == request.frame_id:
            return True
        if sends_requests(frame):
            return False
        frame = frame.f_back
    # In another thread or task, a client may pass the request on to another one, but not back to the same resource.
    return request.resource is not resource


@lru_cache(maxsize=256)
def _is_awaitable(kind: type) -> bool:
    # Cached, as in `is_raw_response`.
    return hasattr(kind, "__await__")


def _server_of_resource(resource: Any) -> Server:
    return server_of(client_of(resource))


class Method(NamedTuple):
    """A method of an SDK, or a function, that makes requests."""

    name: str
    streams: bool | None = None
    """Whether its response is a stream; None if the argument `stream` says so."""
    arguments: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Mapping[str, Any] | None] | None = None
    """Takes the wrapped method, and the arguments of a call; returns the request's keyword arguments, None if the call
    is no request to a model. Without it, the request is what is passed by keyword."""
    fetches: bool = False
    """It asks no model, but for a response that was made before."""
    is_manager: bool = False
    """It returns a context manager, which makes the request when it is entered."""
    opens_socket: bool = False
    """It returns a context manager, which opens a WebSocket. Requests are messages that the application sends."""
    stream_key: str | None = None
    """Where the stream is in its response, a mapping. Without it, the response is the stream."""
    server: Callable[[Any, Mapping[str, Any]], Server] | None = None
    """Takes the resource, and the request's keyword arguments; returns the server that gets the request. Without it,
    the resource's client has its URL."""
    is_lazy: bool = False
    """If it is synchronous, it returns a generator, which makes the request when it is first read."""


# The text of the other APIs is not rewritten.
_REWRITTEN: frozenset[Api] = frozenset({"chat", "responses", "mistral", "ollama", "huggingface"})


class MethodWrapper:
    """The wrapper around one method of the classes of an API. While `active` is False, it passes calls through.

    It may be called after its removal, since SDKs cache `with_raw_response` with the wrapped method inside. So it can
    be switched on again.
    """

    def __init__(self, telemetry: Telemetry, api: Api, method: Method) -> None:
        self._api: Api = api
        self._method = method
        self.switch_on(telemetry)

    def switch_on(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        config = telemetry.config
        rewrites = self._api in _REWRITTEN and not self._method.fetches and not self._method.opens_socket
        self._config = config if rewrites else replace(config, tool_call_tags=None)
        self.active = True

    def switch_off(self) -> None:
        self.active = False

    def wrapper_for(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The wrapt wrapper for a synchronous or asynchronous method."""
        if self._method.is_manager:
            return self._call_manager
        if self._method.opens_socket:
            return self._call_socket
        # Decorators in the SDKs hide that a method is a coroutine function.
        return self._call_async if inspect.iscoroutinefunction(inspect.unwrap(function)) else self._call

    def _call_manager(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        manager = wrapped(*args, **kwargs)
        if self.active:
            try:
                requested = self._requested(wrapped, args, kwargs)
                if requested is not None:
                    replace_request(manager, partial(self._observed_request, instance, requested))
            except Exception as fault:  # noqa: BLE001
                swallow("a stream's manager", fault)
        return manager

    def _call_socket(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        manager = wrapped(*args, **kwargs)
        if self.active:
            begin = partial(self._asked, instance)
            attempt("a WebSocket", observe_sockets, manager, partial(observed_socket, begin))
        return manager

    def _asked(self, resource: Any, requested: Mapping[str, Any]) -> Observation | None:
        """A request has been sent over a WebSocket of `resource`."""
        observation = self._begin(resource, requested) if self.active else None
        if observation is not None:
            observation.release()
        return observation

    def _observed_request(self, resource: Any, requested: Mapping[str, Any], request: Any) -> Any:
        """The request that a manager will make, observed: a function, or something to await."""
        if callable(request):
            return lambda: self._observed_call(request, resource, (), {}, requested) if self.active else request()
        return self._observed_coroutine(request, resource, requested, [])

    def _call(self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        resource = wrapped if instance is None else instance
        requested = self._requested(wrapped, args, kwargs) if self.active else None
        if requested is None:
            return wrapped(*args, **kwargs)
        return self._observed_call(wrapped, resource, args, kwargs, requested)

    def _observed_call(
        self,
        wrapped: Callable[..., Any],
        resource: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        requested: Mapping[str, Any],
    ) -> Any:
        observation = self._begin(resource, requested)
        if observation is None:
            return wrapped(*args, **kwargs)
        if self._config.tool_call_tags is not None:
            wrapped = attempt("tag rewriting", _rewriting_parser, wrapped, [observation]) or wrapped
        request = _Request(resource, sys._getframe())
        token = _current_request.set(request)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            self._fail(observation, error)
            raise
        finally:
            request.is_over = True
            self._release(observation, token)
        kind: type = type(result)
        if _is_awaitable(kind):
            return self._await_result(result, observation)
        if self._method.is_lazy and type(result) is GeneratorType:
            result = _requesting(result, resource, observation)
        return self._tracked(result, observation)

    def _call_async(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        # The SDK checks the arguments when it is called, and starts when it is awaited; so does the span.
        resource = wrapped if instance is None else instance
        begun: list[Observation] = []
        if self.active and self._config.tool_call_tags is not None:
            wrapped = attempt("tag rewriting", _rewriting_parser, wrapped, begun) or wrapped
        pending = wrapped(*args, **kwargs)
        if not (self.active and (type(pending) is CoroutineType or hasattr(type(pending), "__await__"))):
            return pending
        requested = self._requested(wrapped, args, kwargs)
        return pending if requested is None else self._observed_coroutine(pending, resource, requested, begun)

    def _observed_coroutine(
        self, pending: Any, resource: Any, kwargs: Mapping[str, Any], begun: list[Observation]
    ) -> Any:
        coroutine: Any = self._await(_Unawaited(pending), resource, kwargs, begun)
        if type(pending) is CoroutineType:
            # Python's warning about a coroutine that was never awaited uses these.
            coroutine.__name__, coroutine.__qualname__ = pending.__name__, pending.__qualname__
        return coroutine

    async def _await(
        self, unawaited: _Unawaited, resource: Any, kwargs: Mapping[str, Any], begun: list[Observation]
    ) -> Any:
        observation = self._begin(resource, kwargs) if self.active else None
        pending: Any = unawaited.pending
        unawaited.pending = None
        if observation is None:
            return await pending
        begun.append(observation)
        request = _Request(resource, sys._getframe())
        token = _current_request.set(request)
        try:
            result = await pending
        except BaseException as error:
            self._fail(observation, error)
            raise
        finally:
            request.is_over = True
            self._release(observation, token)
        return self._tracked(result, observation)

    async def _await_result(self, pending: Awaitable[Any], observation: Observation) -> Any:
        try:
            result = await pending
        except BaseException as error:
            self._fail(observation, error)
            raise
        return self._tracked(result, observation)

    # The five steps around a call. None of them lets a fault of otel-llm through.

    def _requested(
        self, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Mapping[str, Any] | None:
        """The request's keyword arguments, None if the call makes no request to a model."""
        method = self._method
        if method.arguments is None and method.streams is None:
            return kwargs
        try:
            requested = kwargs if method.arguments is None else method.arguments(wrapped, args, kwargs)
            if requested is None or method.streams is None:
                return requested
            return {**requested, "stream": method.streams}
        except Exception as fault:  # noqa: BLE001
            swallow("the request's arguments", fault)
            return kwargs

    def _begin(self, resource: Any, kwargs: Mapping[str, Any]) -> Observation | None:
        try:
            return self._observe(resource, kwargs)
        except Exception as fault:  # noqa: BLE001
            swallow("a request", fault)
            return None

    def _release(self, observation: Observation, token: Token[_Request | None]) -> None:
        try:
            try:  # noqa: SIM105  `suppress` costs what all of this costs
                _current_request.reset(token)
            except ValueError:
                # A coroutine may be closed in another context than the one that set the variable.
                pass
            observation.release()
        except Exception as fault:  # noqa: BLE001
            swallow("the caller's context", fault)

    def _fail(self, observation: Observation, error: BaseException) -> None:
        try:
            fail_with_response(observation, error)
        except Exception as fault:  # noqa: BLE001
            swallow("an error", fault)

    def _tracked(self, result: Any, observation: Observation) -> Any:
        """The result, tracked; unchanged if that fails."""
        try:
            return self._track_result(result, observation)
        except Exception as fault:  # noqa: BLE001
            swallow("a result", fault)
        try:
            observation.end("completed", unread=True)
        except Exception as fault:  # noqa: BLE001
            swallow("the end of a request", fault)
        return result

    def _is_within_another(self, resource: Any) -> bool | None:
        """Whether the request is made while another observed one is. None if it is not to be observed."""
        if not is_instrumentation_enabled():
            return None
        around = _current_request.get()
        if around is not None and _is_part_of(around, resource):
            return None
        if type(resource) not in checked:
            attempt("other instrumentations", warn_of_others_once, type(resource))
        telemetry = self._telemetry
        if not telemetry.is_settled and attempt("exit", telemetry.has_other_providers):
            attempt("exit", end_open_at_exit)
        return around is not None

    def _observe(self, resource: Any, kwargs: Mapping[str, Any]) -> Observation | None:
        within_another = self._is_within_another(resource)
        if within_another is None:
            return None
        find = self._method.server
        return start_observation(
            self._telemetry,
            self._config,
            self._api,
            kwargs,
            partial(_server_of_resource, resource) if find is None else partial(find, resource, kwargs),
            partial(self._start_span, within_another=within_another),
            fetches=self._method.fetches,
        )

    def _start_span(
        self, request: ChatRequest, kwargs: Mapping[str, Any], server: Server, *, within_another: bool
    ) -> Span:
        return start_span(self._telemetry, request, kwargs, server, within_another)

    def _track_result(self, result: Any, observation: Observation) -> Any:
        key = self._method.stream_key
        if key is not None and _streams(observation):
            stream = field(result, key)
            if stream is None:
                observation.end("completed", unread=True)
            else:
                # The same mapping, since hooks of the SDK may have kept it.
                result[key] = _track(stream, observation)
            return result
        if not is_raw_response(result):
            return _track(result, observation)
        if _streams(observation):
            return RawResponse(result, observation, _track)
        if has_whole_body(result):
            if observation.config.tool_call_tags is not None:
                attempt("tag rewriting", rewrite_body, result, observation)
            record_body(result, observation)
            return result
        # The OpenAI SDK's `with_raw_response` has properties instead of the methods `read`, `text` and `json`.
        has_methods = callable(getattr(type(result), "text", None))
        return (UnreadRawResponse if has_methods else RawResponse)(result, observation, _track)


def _requesting(stream: Iterator[Any], resource: object, observation: Observation) -> Iterator[Any]:
    """What `stream` yields. Its first read, which makes the request, is done inside the request's span."""
    request = _Request(resource, sys._getframe())
    token = _current_request.set(request)
    leave = attempt("the request's context", observation.enter)
    try:
        first = next(stream)
    except StopIteration:
        return
    finally:
        request.is_over = True
        if leave is not None:
            attempt("the caller's context", leave)
        with suppress(ValueError):
            _current_request.reset(token)
    yield first
    yield from stream


def method_wrapper_of(method: Any) -> MethodWrapper | None:
    """The `MethodWrapper` around a method, None if there is none."""
    wrapper = getattr(wrapper_of(method), "__self__", None)
    return wrapper if isinstance(wrapper, MethodWrapper) else None


def without_inactive(method: Any) -> Any:
    """The method without wrappers of this package that could not be removed when they were switched off."""
    while (wrapper := method_wrapper_of(method)) is not None and not wrapper.active:
        method = method.__wrapped__
    return method


def _streams(observation: Observation) -> bool:
    # Where the request could not be read, its observation still knows this.
    return observation.recording.streamed


def _rewrite_response(response: Any, observation: Observation, is_parsed: bool = False) -> None:
    rewriting = _rewriting(observation)
    if rewriting is not None:
        rewriting.rewrite_response(response, is_parsed=is_parsed)


def _rewriting_parser(method: Callable[..., Any], begun: list[Observation]) -> Callable[..., Any]:
    """`method`, which rewrites the response before the SDK parses its text into a class of the caller's.

    `begun`: the observation of the request, as soon as it has begun.
    """

    def rewrite(response: Any) -> None:
        for observation in begun:
            attempt("tag rewriting", _rewrite_response, response, observation, True)
            observation.is_rewritten = True

    parsing: Callable[..., Any] = before_parsing(method, rewrite)
    return parsing


def _rewriting(observation: Observation) -> Rewriting | None:
    if observation.config.tool_call_tags is None or observation.is_rewritten:
        return None
    # Imported late: it loads the table of syntaxes, which most applications do not need.
    from otel_llm.wrappers.rewritten_stream import Rewriting

    return attempt("tag rewriting", Rewriting, observation)


def _track(result: Any, observation: Observation, body: BodyObserver | None = None) -> Any:
    """A stream inside its tracker; any other response unchanged, after it was read.

    `body`: what observes the body behind it already, if anything does.
    """
    if observation.request is not None and not observation.request.stream:
        # First, since a mock can be iterated too.
        _rewrite_response(result, observation)
        observation.read_response(result)
        return result
    kind = type(result)
    if kind is str or kind is bytes:
        # A stream requested through `extra_body`, without the SDK's knowledge, so it returns the body as text.
        observation.end("completed", unread=True)
        return result
    asynchronous = hasattr(kind, "__anext__") or hasattr(kind, "__aiter__")
    synchronous = hasattr(kind, "__next__") or (hasattr(kind, "__iter__") and _streams(observation))
    tracker: Any
    if asynchronous and synchronous:
        tracker = EitherWayTracker(result, observation, _rewriting(observation))
    elif asynchronous:
        tracker = StreamingToolCallTracker(result, observation, _rewriting(observation))
    elif synchronous:
        tracker = SyncStreamingToolCallTracker(result, observation, _rewriting(observation))
    else:
        _rewrite_response(result, observation)
        observation.read_response(result)
        return result
    if body is None:
        body = BodyObserver(observation)
    body.set_stream(result)
    attempt("a response's body", observe_body, getattr(result, "response", None), body)
    return tracker
