"""Raw responses: `with_raw_response.create(...)` and `with_streaming_response.create(...)`.

They carry headers and status, and give the stream or the completion only when the caller asks for it with `parse()`.
So the response itself is wrapped, and what `parse()` gives is watched; where a caller takes bytes instead, these are
(`response_body.py`).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any

from otel_llm.observation import AbandonedStream, Observation
from otel_llm.transparency.faults import swallow
from otel_llm.transparency.proxies import ObjectProxy
from otel_llm.wrappers.refused_response import fail_with_response
from otel_llm.wrappers.response_body import BodyClosing, watch_body

# By these a caller takes the bytes; what they give is the wrapped response's own and may outlive our proxy.
_GIVE_BYTES = frozenset({"http_response", "iter_bytes", "iter_lines", "iter_text"})


def is_raw_response(result: Any) -> bool:
    """Whether `result` is one of the SDK's raw responses, told by its shape."""
    return callable(getattr(result, "parse", None)) and hasattr(type(result), "http_request")


class RawResponse(ObjectProxy):
    """A raw response whose `parse()` gives what `watch` makes of it, the same at every call."""

    def __init__(
        self, response: Any, observation: Observation, watch: Callable[[Any, Observation, BodyClosing], Any]
    ) -> None:
        super().__init__(response)
        self._self_observation = observation
        self._self_watch = watch
        self._self_closing = BodyClosing(observation)
        self._self_abandoned = AbandonedStream(observation)
        self._self_watched: dict[int, tuple[Any, Any]] = {}
        watch_body(response.http_response, self._self_closing)

    def __getattr__(self, name: str) -> Any:
        if name in _GIVE_BYTES:
            self._self_closing.kept = self._self_abandoned
        return super().__getattr__(name)

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        return self._taking(lambda: self.__wrapped__.parse(*args, **kwargs), self._watched)

    def _taking(self, take: Callable[[], Any], then: Callable[[Any], Any]) -> Any:
        """What `then` makes of what `take` gives: a whole body is read and closed before it says anything."""
        self._self_closing.parsing = True
        try:
            taken = take()
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            self._self_closing.parsing = False
        return self._taking_later(taken, then) if inspect.isawaitable(taken) else then(taken)

    async def _taking_later(self, pending: Awaitable[Any], then: Callable[[Any], Any]) -> Any:
        self._self_closing.parsing = True
        try:
            taken = await pending
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            self._self_closing.parsing = False
        return then(taken)

    def _failed(self, error: BaseException) -> None:
        try:
            fail_with_response(self._self_observation, error)
        except Exception as fault:  # noqa: BLE001
            swallow("a raw response", fault)

    def _watched(self, parsed: Any) -> Any:
        """What was parsed, watched; itself where that fails."""
        try:
            return self._watch(parsed)
        except Exception as fault:  # noqa: BLE001
            swallow("a parsed response", fault)
            return parsed

    def _watch(self, parsed: Any) -> Any:
        known = self._self_watched.get(id(parsed))
        if known is not None:
            return known[1]
        if self._self_watched or self._self_observation.ended:
            # One response is one span, whatever else it is parsed into.
            return parsed
        watched = self._self_watch(parsed, self._self_observation, self._self_closing)
        # The stream may outlive the raw response that it was parsed from.
        self._self_abandoned.disarm()
        self._self_watched[id(parsed)] = (parsed, watched)
        return watched


class WholeRawResponse(RawResponse):
    """A raw response that is no stream, and whose body is still to come: `with_streaming_response.create(...)`.

    However the caller takes the body whole, it says then what it has to say.
    """

    def read(self) -> Any:
        return self._taking(self.__wrapped__.read, self._noted)

    def text(self) -> Any:
        return self._taking(self.__wrapped__.text, self._noted)

    def json(self) -> Any:
        return self._taking(self.__wrapped__.json, self._noted)

    def _noted(self, taken: Any) -> Any:
        """What was taken, when the body has been looked at."""
        try:
            self._note()
        except Exception as fault:  # noqa: BLE001
            swallow("a response's body", fault)
        return taken

    def _note(self) -> None:
        observation = self._self_observation
        if observation.ended or observation.config.tool_call_tags is not None:
            # What is to be rewritten is noted when it is parsed.
            return
        read_body(self.__wrapped__, observation)


def read_body(response: Any, observation: Observation) -> None:
    """Read and end the observation of a raw response whose body is here, as the server sent it."""
    try:
        completion = json.loads(response.http_response.content)
    except ValueError:
        # No JSON: the caller will say what they think of it.
        observation.end("completed", unread=True)
    else:
        observation.read_response(completion)
