"""Reads a response's bytes on their way to a caller that takes bytes: a gateway that forwards them, or a parser."""

from __future__ import annotations

import json
from contextlib import suppress
from time import perf_counter_ns

from otel_llm.observation import Observation
from otel_llm.protocol.body import ResponseBody
from otel_llm.protocol.content_encoding import Expander
from otel_llm.protocol.errors import UnreadableError, error_in
from otel_llm.transparency.faults import swallow

_PING = {"type": "ping"}


class ForwardedBody:
    """Feeds the bytes of one response to its observation. Nothing here raises.

    `encoding`: the response's `Content-Encoding`. A body that cannot be decoded or is too long is not diagnosed.
    """

    def __init__(self, observation: Observation, encoding: str) -> None:
        self._observation = observation
        self._encoding = encoding
        self._expander: Expander | None = None
        self._body = ResponseBody(is_document=not observation.recording.streamed)
        self._is_readable = True
        self._has_events = False

    @property
    def is_unread(self) -> bool:
        """Whether there is nothing to diagnose."""
        return not (self._is_readable and self._has_events)

    def feed(self, data: bytes, wait_started_ns: int) -> None:
        """Take bytes for which the caller began to wait at `wait_started_ns`."""
        if not self._is_readable or self._observation.ended:
            return
        received_ns = perf_counter_ns()
        try:
            if self._expander is None:
                self._expander = Expander(self._encoding)
            for piece in self._expander.feed(data):
                for event in self._body.feed(piece):
                    self._event(event.data, wait_started_ns, received_ns)
                    # Further events arrived in the same bytes, without a wait.
                    wait_started_ns = received_ns
        except UnreadableError:
            self._is_readable = False
        except Exception as fault:  # noqa: BLE001
            self._is_readable = False
            swallow("a response's bytes", fault)

    def finish(self) -> None:
        """The body has ended."""
        try:
            self._finish()
        except Exception as fault:  # noqa: BLE001
            swallow("the end of a response's bytes", fault)

    def fail(self, error: BaseException, wait_started_ns: int) -> None:
        """The read that began at `wait_started_ns` raised."""
        try:
            self._observation.fail(error, wait_started_ns)
        except Exception as fault:  # noqa: BLE001
            swallow("an error", fault)

    def _event(self, data: bytes, wait_started_ns: int, received_ns: int) -> None:
        observation = self._observation
        if observation.ended:
            return
        self._has_events = True
        if data.startswith(b"[DONE]"):
            observation.end("completed")
            return
        try:
            value = json.loads(data)
        except Exception as fault:  # noqa: BLE001  an SDK's stream stops here too
            observation.fail(fault)
            return
        if value == _PING and observation.reader.api == "messages":
            # Anthropic's SDK keeps it to itself.
            return
        error = error_in(value)
        if error is not None:
            observation.recording.fail(error, "error")
            observation.end("error")
            return
        notices = observation.reader.feed(value, wait_started_ns, received_ns)
        if notices is not None:
            observation.notify(notices)

    def _finish(self) -> None:
        observation = self._observation
        if observation.ended:
            return
        now = perf_counter_ns()
        for event in self._body.finish():
            self._event(event.data, now, now)
        document = self._body.document
        if self._is_readable and document is not None:
            # The caller finds out when parsing it.
            with suppress(ValueError):
                observation.read_body(document)
        observation.end("completed", unread=self.is_unread)
