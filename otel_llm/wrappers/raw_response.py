"""Raw responses: `with_raw_response.create(...)` and `with_streaming_response.create(...)`.

They have the headers and the status, and return the stream or the completion only when the caller calls `parse()`. So
the response itself is wrapped, and the result of `parse()` is observed; if a caller takes bytes instead, these are
(`response_body.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from otel_llm.observation import CollectionGuard, Observation
from otel_llm.transparency.faults import attempt, swallow
from otel_llm.transparency.proxies import ObjectProxy
from otel_llm.wrappers.refused_response import fail_with_response
from otel_llm.wrappers.response_body import BodyObserver, observe_body
from otel_llm.wrappers.sdk_internals import forget_length, replace_content

# What a caller gets by these belongs to the SDK's response and may outlive the proxy.
_GIVE_BYTES = frozenset({"http_response", "iter_bytes", "iter_lines", "iter_text"})


def is_raw_response(result: Any) -> bool:
    """Whether `result` has the shape of an SDK's raw response."""
    kind: type = type(result)
    return _has_request(kind) and callable(getattr(result, "parse", None))


@lru_cache(maxsize=256)
def _has_request(kind: type) -> bool:
    # Cached, since the classes of pydantic's models are slow to say what they lack.
    return hasattr(kind, "http_request")


class RawResponse(ObjectProxy):
    """A raw response whose `parse()` returns the result of `track`, the same object at every call."""

    def __init__(
        self, response: Any, observation: Observation, track: Callable[[Any, Observation, BodyObserver], Any]
    ) -> None:
        super().__init__(response)
        self._self_observation = observation
        self._self_track = track
        self._self_body = BodyObserver(observation)
        self._self_guard = CollectionGuard(observation)
        self._self_tracked: dict[int, tuple[Any, Any]] = {}
        if observation.config.tool_call_tags is not None:
            # Rewriting changes it.
            attempt("tag rewriting", forget_length, response.http_response)
        observe_body(response.http_response, self._self_body)

    def __getattr__(self, name: str) -> Any:
        if name in _GIVE_BYTES:
            self._self_body.kept = self._self_guard
        return super().__getattr__(name)

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        observation = self._self_observation
        if kwargs.get("to") is not None and observation.config.tool_call_tags is not None and not self._self_tracked:
            # A class of the caller's may have no room for calls. What it is parsed from is rewritten instead.
            self._self_body.rewrites_for_parser = observation.is_rewritten = True
        return self._read(lambda: self.__wrapped__.parse(*args, **kwargs), self._tracked)

    def _read(self, read: Callable[[], Any], then: Callable[[Any], Any]) -> Any:
        """`then(read())`, awaited if need be. Meanwhile the body's own observer does nothing."""
        self._self_body.is_being_parsed = True
        try:
            result = read()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._self_body.is_being_parsed = False
        return self._read_async(result, then) if inspect.isawaitable(result) else then(result)

    async def _read_async(self, pending: Awaitable[Any], then: Callable[[Any], Any]) -> Any:
        self._self_body.is_being_parsed = True
        try:
            result = await pending
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._self_body.is_being_parsed = False
        return then(result)

    def _fail(self, error: BaseException) -> None:
        try:
            fail_with_response(self._self_observation, error)
        except Exception as fault:  # noqa: BLE001
            swallow("a raw response", fault)

    def _tracked(self, parsed: Any) -> Any:
        """The parsed response, tracked; unchanged if that fails."""
        try:
            return self._track(parsed)
        except Exception as fault:  # noqa: BLE001
            swallow("a parsed response", fault)
            return parsed

    def _track(self, parsed: Any) -> Any:
        known = self._self_tracked.get(id(parsed))
        if known is not None:
            return known[1]
        if self._self_tracked or self._self_observation.ended:
            # One response is one span, whatever else it is parsed into.
            return parsed
        tracked = self._self_track(parsed, self._self_observation, self._self_body)
        # The stream, which has a guard of its own, may outlive the raw response.
        self._self_guard.disarm()
        self._self_tracked[id(parsed)] = (parsed, tracked)
        return tracked


class UnreadRawResponse(RawResponse):
    """The raw response of a request that is not streamed, with its body still to be read (`with_streaming_response`).

    Whichever way the caller reads the whole body, it is rewritten first, and then recorded.
    """

    def __init__(
        self, response: Any, observation: Observation, track: Callable[[Any, Observation, BodyObserver], Any]
    ) -> None:
        super().__init__(response, observation, track)
        self._self_body.rewrites_for_parser = True

    def read(self) -> Any:
        return self._read(self.__wrapped__.read, self._recorded)

    def text(self) -> Any:
        return self._read(self.__wrapped__.text, self._recorded)

    def json(self) -> Any:
        return self._read(self.__wrapped__.json, self._recorded)

    def _recorded(self, result: Any) -> Any:
        """`result`, after the body was recorded."""
        try:
            self._record()
        except Exception as fault:  # noqa: BLE001
            swallow("a response's body", fault)
        return result

    def _record(self) -> None:
        if not self._self_observation.ended:
            record_body(self.__wrapped__, self._self_observation)


def rewrite_body(response: Any, observation: Observation) -> None:
    """Rewrite the body of a raw response that was read."""
    # Imported late, as in `method.py`.
    from otel_llm.wrappers.rewritten_body import rewritten_document
    from otel_llm.wrappers.rewritten_stream import Rewriting

    body = response.http_response.content
    rewritten = rewritten_document(body, Rewriting(observation))
    observation.is_rewritten = True
    if rewritten is not body:
        replace_content(response.http_response, rewritten)


def record_body(response: Any, observation: Observation) -> None:
    """Record the body of a raw response that was read, as the server sent it, and end the observation."""
    try:
        observation.read_body(response.http_response.content)
    except ValueError:
        # The caller finds out when parsing it.
        observation.end("completed", unread=True)
