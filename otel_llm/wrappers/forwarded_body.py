"""Reads a response beside a caller who takes it as bytes: to hand it on, as a gateway does, or to parse it there."""

from __future__ import annotations

import json
from time import perf_counter_ns

from otel_llm.observation import Observation
from otel_llm.protocol.body import ResponseBody
from otel_llm.protocol.content_encoding import Expander
from otel_llm.protocol.errors import UnreadableError, error_in
from otel_llm.transparency.faults import swallow


class ForwardedBody:
    """Notes what the bytes of one response say, as they come. Nothing here raises.

    `encoding`: that of the content. A body whose bytes cannot be read, by that or by their length, is not judged.
    """

    def __init__(self, observation: Observation, encoding: str) -> None:
        self._observation = observation
        self._encoding = encoding
        self._expander: Expander | None = None
        self._body = ResponseBody(is_document=not observation.recording.streamed)
        self._is_readable = True
        self._is_heard = False

    @property
    def is_unread(self) -> bool:
        """Whether there is nothing to judge the response by."""
        return not (self._is_readable and self._is_heard)

    def take(self, data: bytes, asked_ns: int) -> None:
        """Some bytes, for which the caller asked at `asked_ns`."""
        if not self._is_readable or self._observation.ended:
            return
        came_ns = perf_counter_ns()
        try:
            if self._expander is None:
                self._expander = Expander(self._encoding)
            for piece in self._expander.feed(data):
                for event in self._body.feed(piece):
                    self._event(event.data, asked_ns, came_ns)
                    # The others came with it.
                    asked_ns = came_ns
        except UnreadableError:
            self._is_readable = False
        except Exception as fault:  # noqa: BLE001
            self._is_readable = False
            swallow("a response's bytes", fault)

    def over(self) -> None:
        """The body has come to its end."""
        try:
            self._over()
        except Exception as fault:  # noqa: BLE001
            swallow("the end of a response's bytes", fault)

    def failed(self, error: BaseException, asked_ns: int) -> None:
        """It could not be read on; the caller asked at `asked_ns`."""
        try:
            self._observation.fail(error, asked_ns)
        except Exception as fault:  # noqa: BLE001
            swallow("an error", fault)

    def _event(self, data: bytes, asked_ns: int, came_ns: int) -> None:
        observation = self._observation
        if observation.ended:
            return
        self._is_heard = True
        if data.startswith(b"[DONE]"):
            observation.end("completed")
            return
        try:
            value = json.loads(data)
        except Exception as fault:  # noqa: BLE001  as the SDK, which reads no further
            observation.fail(fault)
            return
        error = error_in(value)
        if error is not None:
            observation.recording.fail(error, "error")
            observation.end("error")
            return
        notices = observation.reader.feed(value, asked_ns, came_ns)
        if notices is not None:
            observation.tell(notices)

    def _over(self) -> None:
        observation = self._observation
        if observation.ended:
            return
        now = perf_counter_ns()
        for event in self._body.finish():
            self._event(event.data, now, now)
        document = self._body.document
        if self._is_readable and document is not None:
            try:
                response = json.loads(document)
            except ValueError:
                # The caller will find out.
                response = None
            # A list is no response of any API that is read here.
            if response is not None and not isinstance(response, list):
                observation.read_response(response)
        observation.end("completed", unread=self.is_unread)
