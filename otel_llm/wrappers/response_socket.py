"""Responses over a WebSocket, from `responses.connect()` of OpenAI's SDK: a span for each that is asked for.

The socket below the SDK's connection is observed, since all that an application can use goes through it: events, raw
messages, handlers, the lanes of a session. Source of the messages: the OpenAI API reference, "WebSocket mode".

- The client's `response.create` has the fields of a request, and `stream_id` if it is for a lane of its own. The server
  answers the requests of a lane one after the other.
- The server's events are those of a stream, with the `stream_id` of their lane.
- A refused request is an `error` event. Its status tells it from the error of a response that has begun.
- A response that is steered ends, and the server begins another one that nobody asked for.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any, Final

from otel_llm.observation import CollectionGuard, Observation
from otel_llm.protocol.fields import field, index_of, text_of
from otel_llm.transparency.faults import swallow
from otel_llm.transparency.proxies import ObjectProxy
from otel_llm.wrappers.sdk_internals import is_asynchronous_socket, says_that_socket_closed

Begin = Callable[[Mapping[str, Any]], "Observation | None"]
"""Begins to observe a request with these fields; returns None if it is not to be observed."""

_CREATE: Final = "response.create"
_ENDS: Final = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})
# Events of a connection, not of a response.
_BESIDE: Final = ("response.steer", "response.inject")
# A lane's name is the application's. Of each, so many requests may wait for their answers.
_MOST_LANES: Final = 256
_MOST_WAITING: Final = 256


class _Asked:
    """A request that was sent, and its response as far as it came."""

    __slots__ = ("guard", "has_begun", "is_unread", "observation", "received_ns")

    def __init__(self, observation: Observation | None, request: Mapping[str, Any]) -> None:
        self.observation = observation
        self.guard = None if observation is None else CollectionGuard(observation)
        # It prepares the state of a later request, and has no answer.
        self.is_unread = request.get("generate") is False
        self.has_begun = False
        self.received_ns = perf_counter_ns()

    def feed(self, event: Mapping[str, Any], wait_started_ns: int) -> None:
        observation = self.observation
        self.has_begun = True
        if observation is not None:
            now = perf_counter_ns()
            # The application may wait for events long before it asks for any.
            waited_from, self.received_ns = max(wait_started_ns, self.received_ns), now
            notices = observation.reader.feed(SimpleNamespace(**event), waited_from, now)
            if notices is not None:
                observation.notify(notices)

    def end(self) -> None:
        if self.observation is not None:
            self.observation.end("completed", unread=self.is_unread)

    def close(self) -> None:
        if self.observation is not None:
            self.observation.end("closed")

    def fail(self, error: BaseException, wait_started_ns: int | None = None) -> None:
        if self.observation is not None:
            self.observation.fail(error, wait_started_ns)


class _Lane:
    """The requests of a lane that have no whole response yet."""

    __slots__ = ("asked", "previous")

    def __init__(self) -> None:
        self.asked: deque[_Asked] = deque()
        self.previous: Mapping[str, Any] | None = None
        """What a response that nobody asks for has of the request before it."""


class _Responses:
    """The responses of one socket. Nothing that is raised here reaches the caller."""

    __slots__ = ("_begin", "_is_closed", "_lanes")

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._lanes: dict[str | None, _Lane] = {}
        self._is_closed = False

    def sent(self, message: Any) -> _Asked | None:
        """The application sends a message; returns the request that it is, if it is one."""
        try:
            # Anything else that a socket sends is read while it is sent.
            if isinstance(message, (str, bytes)) and _mentions_create(message):
                return self._asked(json.loads(message))
        except Exception as fault:  # noqa: BLE001
            swallow("a message of a WebSocket", fault)
        return None

    def refused(self, asked: _Asked | None, error: BaseException) -> None:
        """The message could not be sent."""
        if asked is not None:
            self._attempt(self._refused, asked, error)

    def received(self, message: Any, wait_started_ns: int) -> None:
        if self._lanes:
            self._attempt(self._received, message, wait_started_ns)

    def broken(self, error: BaseException, wait_started_ns: int) -> None:
        """A read raised. If the socket is still open, the next one may succeed."""
        if self._lanes:
            self._attempt(self._broken, error, wait_started_ns)

    def begin_to_close(self) -> None:
        self._is_closed = True

    def closed(self) -> None:
        self._attempt(self._end_all, _Asked.close)

    def _attempt(self, step: Callable[..., object], *args: Any) -> None:
        try:
            step(*args)
        except Exception as fault:  # noqa: BLE001
            swallow("a message of a WebSocket", fault)

    def _asked(self, event: Any) -> _Asked | None:
        if text_of(field(event, "type")) != _CREATE:
            return None
        request = {name: value for name, value in event.items() if name not in {"type", "stream_id"}}
        lane_id = text_of(event.get("stream_id"))
        lane = self._lanes.get(lane_id)
        if lane is None:
            if len(self._lanes) >= _MOST_LANES:
                return None
            lane = self._lanes[lane_id] = _Lane()
        return self._begin_in(lane, request)

    def _begin_in(self, lane: _Lane, request: Mapping[str, Any]) -> _Asked:
        # Also where the request is not observed, so that its events are nobody else's.
        asked = _Asked(self._begin({**request, "stream": True}), request)
        lane.asked.append(asked)
        if len(lane.asked) > _MOST_WAITING:
            lane.asked.popleft().close()
        lane.previous = {name: value for name, value in request.items() if name != "input"}
        return asked

    def _refused(self, asked: _Asked, error: BaseException) -> None:
        for lane in self._lanes.values():
            if asked in lane.asked:
                lane.asked.remove(asked)
        asked.fail(error)

    def _broken(self, error: BaseException, wait_started_ns: int) -> None:
        if says_that_socket_closed(error):
            self._end_all(lambda asked: asked.fail(error, wait_started_ns))

    def _received(self, message: Any, wait_started_ns: int) -> None:
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            return
        kind = text_of(field(event, "type"))
        if kind is None or kind.startswith(_BESIDE):
            return
        lane = self._lane_of(event, kind)
        if lane is None:
            return
        if not lane.asked and kind == "response.created" and lane.previous is not None:
            self._begin_in(lane, lane.previous)
        asked = self._addressed(lane, event, kind)
        if asked is None:
            return
        asked.feed(event, wait_started_ns)
        if kind in _ENDS:
            lane.asked.remove(asked)
            if lane.previous is not None:
                response_id = text_of(field(field(event, "response"), "id"))
                lane.previous = {**lane.previous, "previous_response_id": response_id}
            asked.end()

    def _lane_of(self, event: Any, kind: str) -> _Lane | None:
        lane_id = text_of(event.get("stream_id"))
        lane = self._lanes.get(lane_id)
        if kind == "error" and lane_id is None and (lane is None or not lane.asked):
            # An error of the connection; if one request is open, it is that one's.
            lanes = [one for one in self._lanes.values() if one.asked]
            return lanes[0] if len(lanes) == 1 else None
        return lane

    @staticmethod
    def _addressed(lane: _Lane, event: Any, kind: str) -> _Asked | None:
        status = index_of(event.get("status"))
        if kind == "error" and status is not None and status < 500:
            # A request that the server does not take, while it answers another one.
            for asked in lane.asked:
                if not asked.has_begun:
                    return asked
        return lane.asked[0] if lane.asked else None

    def _end_all(self, end: Callable[[_Asked], None]) -> None:
        end = _Asked.close if self._is_closed else end
        for lane in list(self._lanes.values()):
            while lane.asked:
                end(lane.asked.popleft())
        self._lanes.clear()


def _mentions_create(message: str | bytes) -> bool:
    return _CREATE in message if isinstance(message, str) else _CREATE.encode() in message


class _Socket(ObjectProxy):
    """What both kinds of sockets share."""

    def __init__(self, socket: Any, begin: Begin) -> None:
        super().__init__(socket)
        self._self_responses = _Responses(begin)


class _SyncSocket(_Socket):
    def send(self, message: Any, *args: Any, **kwargs: Any) -> Any:
        asked = self._self_responses.sent(message)
        try:
            return self.__wrapped__.send(message, *args, **kwargs)
        except BaseException as error:
            self._self_responses.refused(asked, error)
            raise

    def recv(self, *args: Any, **kwargs: Any) -> Any:
        wait_started_ns = perf_counter_ns()
        try:
            message = self.__wrapped__.recv(*args, **kwargs)
        except BaseException as error:
            self._self_responses.broken(error, wait_started_ns)
            raise
        self._self_responses.received(message, wait_started_ns)
        return message

    def close(self, *args: Any, **kwargs: Any) -> Any:
        self._self_responses.begin_to_close()
        try:
            return self.__wrapped__.close(*args, **kwargs)
        finally:
            self._self_responses.closed()


class _AsyncSocket(_Socket):
    async def send(self, message: Any, *args: Any, **kwargs: Any) -> Any:
        asked = self._self_responses.sent(message)
        try:
            return await self.__wrapped__.send(message, *args, **kwargs)
        except BaseException as error:
            self._self_responses.refused(asked, error)
            raise

    async def recv(self, *args: Any, **kwargs: Any) -> Any:
        wait_started_ns = perf_counter_ns()
        try:
            message = await self.__wrapped__.recv(*args, **kwargs)
        except BaseException as error:
            self._self_responses.broken(error, wait_started_ns)
            raise
        self._self_responses.received(message, wait_started_ns)
        return message

    async def close(self, *args: Any, **kwargs: Any) -> Any:
        self._self_responses.begin_to_close()
        try:
            return await self.__wrapped__.close(*args, **kwargs)
        finally:
            self._self_responses.closed()


def observed_socket(begin: Begin, socket: Any) -> Any:
    """The socket, observed; unchanged if that fails."""
    try:
        return (_AsyncSocket if is_asynchronous_socket(socket) else _SyncSocket)(socket, begin)
    except Exception as fault:  # noqa: BLE001
        swallow("a WebSocket", fault)
        return socket
