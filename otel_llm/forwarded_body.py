"""Reads a response beside a caller who takes it as bytes: to hand it on, as a gateway does, or to parse it there."""

from __future__ import annotations

import json
from time import perf_counter_ns

from otel_llm.exchanges.bodies import LONGEST_DOCUMENT, error_in
from otel_llm.exchanges.compression import Expander
from otel_llm.exchanges.parts import UnreadableFileError
from otel_llm.exchanges.sse import EventReader
from otel_llm.faults import swallow
from otel_llm.observation import Observation


class ForwardedBody:
    """Notes what the bytes of one response say, as they come. Nothing here raises.

    `encoding`: that of the content. A body whose bytes cannot be read, by that or by their length, is not judged.
    """

    def __init__(self, observation: Observation, encoding: str) -> None:
        self._observation = observation
        self._encoding = encoding
        self._expander: Expander | None = None
        self._events = EventReader() if observation.recording.streamed else None
        self._is_begun = False
        self._document = bytearray()
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
                if not self._is_begun and (head := piece.lstrip()):
                    self._is_begun = True
                    if head.startswith(b"{"):
                        # Some answer whole where a stream was asked for, above all with an error.
                        self._events = None
                if self._events is None:
                    self._keep(piece)
                    continue
                for event in self._events.feed(piece):
                    self._event(event.data, asked_ns, came_ns)
                    # The others came with it.
                    asked_ns = came_ns
        except UnreadableFileError:
            self._is_readable = False
            self._document.clear()
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

    def _keep(self, data: bytes) -> None:
        self._document += data
        if len(self._document) > LONGEST_DOCUMENT:
            raise UnreadableFileError("the response is too long")

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
        except Exception as error:  # noqa: BLE001  as the SDK, which reads no further
            observation.fail(error)
            return
        if error_in(value):
            observation.recording.fail(value["error"], "error")
            observation.end("error")
            return
        notices = observation.reader.feed(value, asked_ns, came_ns)
        if notices is not None:
            observation.tell(notices)

    def _over(self) -> None:
        observation = self._observation
        if observation.ended:
            return
        if self._events is not None:
            now = perf_counter_ns()
            for event in self._events.finish():
                self._event(event.data, now, now)
        elif self._is_readable:
            try:
                completion = json.loads(self._document)
            except ValueError:
                # The caller will say what they think of it.
                pass
            else:
                observation.read_response(completion)
        observation.end("completed", unread=self.is_unread)
