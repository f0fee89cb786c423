"""The observation of requests that pass: the client's trace goes on in our span, and the server's in ours.

What a request and its response say is read by the same modules as in an application; this one reads the request's
bytes, and keeps what takes long off the event loop.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.metrics import MeterProvider

from otel_llm.config import Config
from otel_llm.observation import Observation
from otel_llm.protocol.apis import Kind
from otel_llm.protocol.choice import Outcome
from otel_llm.protocol.content_encoding import Expander
from otel_llm.protocol.errors import UnreadableError, error_in
from otel_llm.protocol.fields import field, text_of
from otel_llm.protocol.request import Api
from otel_llm.protocol.unicode_text import exportable
from otel_llm.proxy.headers import Fields, set_field, text_of_field
from otel_llm.telemetry.embedding_span import EmbeddingSpan
from otel_llm.telemetry.handler import Telemetry
from otel_llm.telemetry.provider import Server, server_at
from otel_llm.telemetry.redaction import Redaction
from otel_llm.telemetry.semconv import HTTP_REQUEST_HEADER, OTEL_LLM_REQUEST_METADATA, USER_ID
from otel_llm.transparency.faults import swallow
from otel_llm.wrappers.embeddings import EmbeddingObservation
from otel_llm.wrappers.starting import start_observation, start_span

if TYPE_CHECKING:
    from otel_llm.proxy.background import Background
    from otel_llm.proxy.configuration import Configuration
    from otel_llm.proxy.upstreams import Upstream

OBSERVED: Final[frozenset[Api]] = frozenset({"chat", "responses", "completions", "messages"})
REWRITTEN: Final[frozenset[Api]] = frozenset({"chat", "responses"})
EMBEDDINGS: Final = "embeddings"
# The text of a longer response may take long to judge.
_INLINE_BYTES = 262_144
_MOST_METADATA = 16
_LONGEST_NAME = 64
_LONGEST_VALUE = 512


class ProxiedObservation(Observation):
    """Ends in another thread if the response is long. Only the event loop calls its methods."""

    __slots__ = ("_is_ending", "background", "size")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_ending = False
        self.background: Background | None = None
        self.size = 0
        """Bytes of the response so far."""

    @property
    def ended(self) -> bool:
        return self._is_ending or super().ended

    def end(
        self,
        outcome: Outcome,
        error: BaseException | None = None,
        wait_started_ns: int | None = None,
        *,
        unread: bool = False,
    ) -> None:
        if self._is_ending:
            return
        self._is_ending = True
        end = partial(super().end, outcome, error, wait_started_ns, unread=unread)
        if self.background is None or self.size <= _INLINE_BYTES:
            end()
        else:
            self.background.post(end)


class Observing:
    """How requests are observed. `meter_provider` None: the global one. `header_names`: those that are put on spans."""

    def __init__(
        self, telemetry: Telemetry, meter_provider: MeterProvider | None = None, header_names: Collection[str] = ()
    ) -> None:
        self.telemetry = telemetry
        self.meter_provider = meter_provider
        self._header_names = header_names

    def reload(self, configuration: Configuration) -> None:
        self._header_names = configuration.span_headers

    def config_for(self, api: Api, tags: Any) -> Config:
        """The options for a request of this API. `tags`: what calls in text are rewritten to."""
        return replace(self.telemetry.config, tool_call_tags=tags if api in REWRITTEN else None)

    def start(
        self, kind: Kind, body: Mapping[str, Any], upstream: Upstream, tags: Any, fields: Fields
    ) -> Observation | None:
        """Start the span of a request, and let `fields`, those of the request to the server, name it."""
        carried = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in fields}
        token = context.attach(propagate.extract(carried, context.Context()))
        try:
            observation = self._observation(kind, body, upstream, tags)
            try:
                self._describe(body, carried)
                told: dict[str, str] = {}
                propagate.inject(told)
                for name, value in told.items():
                    # The client's baggage goes on as it wrote it.
                    if name.lower() != "baggage" or "baggage" not in carried:
                        set_field(fields, name.encode("latin-1"), value.encode("latin-1"))
            finally:
                observation.release()
            return observation
        except Exception as fault:  # noqa: BLE001
            swallow("a request", fault)
            return None
        finally:
            context.detach(token)

    def _observation(self, kind: Kind, body: Mapping[str, Any], upstream: Upstream, tags: Any) -> Observation:
        telemetry = self.telemetry
        server = _server(upstream, kind.api)
        if kind.api is None:
            config = replace(telemetry.config, tool_call_tags=None)
            return EmbeddingObservation(config, EmbeddingSpan(telemetry, body, server, within_another=False))
        return start_observation(
            telemetry,
            self.config_for(kind.api, tags),
            kind.api,
            body,
            lambda: server,
            lambda request, kwargs, server: start_span(telemetry, request, kwargs, server, within_another=False),
            make=ProxiedObservation,
        )

    def _describe(self, body: Mapping[str, Any], carried: Mapping[str, str]) -> None:
        """Put on the current span who asks and what for, as far as the request says."""
        said: dict[str, str] = {}
        metadata = body.get("metadata")
        user = text_of(body.get("user")) or text_of(field(metadata, "user_id"))
        if user is not None:
            said[USER_ID] = user
        if isinstance(metadata, Mapping):
            for name, value in list(metadata.items())[:_MOST_METADATA]:
                if (text := text_of(value)) is not None:
                    said[f"{OTEL_LLM_REQUEST_METADATA}.{str(name)[:_LONGEST_NAME]}"] = text
        for name in self._header_names:
            if (value := carried.get(name)) is not None:
                said[f"{HTTP_REQUEST_HEADER}.{name}"] = value
        redact = self.telemetry.config.redact
        redaction = None if redact is None else Redaction(redact)
        span = trace.get_current_span()
        for attribute, text in said.items():
            shown = text if redaction is None else redaction.text(text)
            span.set_attribute(exportable(attribute), exportable(shown[:_LONGEST_VALUE]))


def request_body(body: bytes, fields: Fields, most: int) -> Mapping[str, Any] | None:
    """The JSON object in a request's body, None if there is none, or it expands to more than `most` bytes."""
    try:
        encoding = text_of_field(fields, b"content-encoding")
        if encoding:
            expander = Expander(encoding, most)
            body = b"".join(expander.feed(body))
            expander.finish()
        value = json.loads(body)
    except (UnreadableError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def fail_with_status(observation: Observation, status: int, body: bytes, encoding: str) -> None:
    """End the observation of a request that the server refused. `body`: the beginning of what it said."""
    try:
        body = b"".join(Expander(encoding, len(body) * 20 + 65_536).feed(body))
    except UnreadableError:
        body = b""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    error = error_in(value)
    if error is None:
        error = {"message": text_of(field(value, "message")) or f"HTTP status {status}"}
    if isinstance(observation, EmbeddingObservation):
        observation.end("error", RefusedRequest(f"{status}: {text_of(field(error, 'message')) or error}"))
        return
    observation.recording.fail(error, str(status))
    observation.end("error")


class RefusedRequest(Exception):  # noqa: N818 - a name of telemetry
    """The server answered a request for embeddings with an error."""


def _server(upstream: Upstream, api: Api | None) -> Server:
    return server_at(upstream.url, "anthropic" if api == "messages" else "openai")
