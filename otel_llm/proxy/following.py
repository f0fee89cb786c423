"""What follows one exchange: its observation, its rewriting, its recording. The exchange itself never waits for them.

Nothing here raises into the exchange.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from otel_llm.observation import Observation
from otel_llm.protocol.apis import Kind
from otel_llm.proxy.headers import Fields, readable_encodings, set_field, text_of_field, value_of
from otel_llm.proxy.observed import EMBEDDINGS, OBSERVED, REWRITTEN, ProxiedObservation, fail_with_status, request_body
from otel_llm.transparency.faults import attempt, swallow
from otel_llm.wrappers.forwarded_body import ForwardedBody

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.protocol.request import Api
    from otel_llm.proxy.exchange import Request
    from otel_llm.proxy.gateway import Gateway
    from otel_llm.proxy.recording import Recorded
    from otel_llm.proxy.upstreams import Upstream
    from otel_llm.wrappers.rewritten_body import RewrittenBody

# Codings that are read for the rewriting, and can be written again.
_REWRITABLE = frozenset({b"gzip", b"deflate", b"identity"})
_MOST_OF_AN_ERROR = 65_536
_ERROR_STATUS = 400


def is_observed(kind: Kind | None, path: bytes) -> bool:
    """Whether a path is one of those whose requests are observed."""
    if kind is None:
        return False
    return kind.api in OBSERVED or (kind.name == EMBEDDINGS and path.endswith(b"/embeddings"))


class Following:
    """Made with the head of a request. `kind`: what the request's path says, None for anything but a POST."""

    def __init__(self, gateway: Gateway, request: Request, kind: Kind | None) -> None:
        self._gateway = gateway
        self._request = request
        self._kind = kind if is_observed(kind, request.path) and gateway.observing is not None else None
        self.api: Api | None = None if kind is None else kind.api
        recorder = gateway.recorder
        self._is_recorded = recorder is not None and recorder.takes(request)
        # Also for the model, which may choose the server.
        self.wants_body = (
            self._kind is not None
            or self._is_recorded
            or (is_observed(kind, request.path) and gateway.configuration.upstreams.by_model)
        )
        self._body: Mapping[str, Any] | None = None
        self._bytes: bytes | None = None
        self._observation: Observation | None = None
        self._forwarded: ForwardedBody | None = None
        self._rewritten: RewrittenBody | None = None
        self._recorded: Recorded | None = None
        self._tags: Any = None
        # A response that is an error, and the beginning of what it says.
        self._error_status = 0
        self._error = bytearray()
        self._encoding = ""
        self._passed: list[bytes] = []
        self._waits_since = 0
        self._has_response = False
        self.is_document = False
        """Whether the response is one JSON document."""
        self.held_bytes = 0
        """Of a document, so many bytes that wait for its end, or for the end of its rewriting."""

    # -- the request --

    def read_request(self, body: bytes) -> str | None:
        """The model that the request names. Called in any thread."""
        self._bytes = body
        if self._kind is None and self.api is None:
            return None
        limit = self._gateway.limits.observed_bytes
        self._body = attempt("a request's body", request_body, body, self._request.fields, limit)
        model = None if self._body is None else self._body.get("model")
        return model if isinstance(model, str) else None

    def begin(self, upstream: Upstream, path: bytes, fields: Fields) -> None:
        """A server was chosen. `fields`: those of the request to it, changed where needed. Called in any thread."""
        gateway = self._gateway
        observing = gateway.observing
        self._tags = gateway.configuration.tags if upstream.tags is None else upstream.tags
        rewrites = self._tags is not None and self.api in REWRITTEN
        if self._is_recorded and gateway.recorder is not None:
            # A compressed body can neither be read in the recording nor be searched for secrets.
            set_field(fields, b"Accept-Encoding", b"identity")
            self._recorded = attempt(
                "a recording", gateway.recorder.begin, self._request, upstream, path, self._bytes or b""
            )
        elif rewrites:
            accepted = value_of(fields, b"accept-encoding")
            if accepted is not None:
                set_field(fields, b"Accept-Encoding", readable_encodings(accepted, _REWRITABLE))
        self._bytes = None
        body, self._body = self._body, None
        if body is not None and self._kind is not None and observing is not None:
            self._observation = observing.start(self._kind, body, upstream, self._tags, fields)
            if isinstance(self._observation, ProxiedObservation):
                self._observation.background = gateway.background

    def sent(self) -> None:
        """The request was sent."""
        self._waits_since = perf_counter_ns()

    # -- the response --

    def response_head(self, status: int, reason: bytes, fields: Fields) -> bool:
        """Whether the body will be rewritten."""
        try:
            return self._response_head(status, reason, fields)
        except Exception as fault:  # noqa: BLE001
            swallow("a response's head", fault)
            return False

    def _response_head(self, status: int, reason: bytes, fields: Fields) -> bool:
        del reason
        self._has_response = True
        if self._recorded is not None:
            self._recorded.head(status, fields)
        observation = self._observation
        if observation is None:
            return False
        self._encoding = text_of_field(fields, b"content-encoding")
        if status >= _ERROR_STATUS:
            self._error_status = status
            return False
        self._forwarded = ForwardedBody(observation, self._encoding)
        media_type = text_of_field(fields, b"content-type").partition(";")[0].strip().lower()
        self.is_document = media_type == "application/json" or not observation.recording.streamed
        if observation.config.tool_call_tags is None:
            return False
        from otel_llm.wrappers.rewritten_body import RewrittenBody

        self._rewritten = RewrittenBody(observation, self._encoding)
        return self._rewritten.is_at_work

    def response_body(self, data: bytes) -> bytes:
        """What the client gets for some bytes of the body."""
        if self._recorded is not None:
            self._recorded.data(data)
        if self._observation is None:
            return data
        if self._error_status:
            self._error += data[: max(0, _MOST_OF_AN_ERROR - len(self._error))]
            return data
        if self._rewritten is not None:
            if self.is_document:
                self.held_bytes += len(data)
            data = self._rewritten.feed(data)
        if data:
            self._passed.append(data)
        return data

    def response_end(self) -> bytes:
        """The body has ended: what the client still gets of it. Called in any thread."""
        rewritten, self._rewritten = self._rewritten, None
        if rewritten is None:
            return b""
        rest = rewritten.finish()
        if rewritten.has_failed:
            self._gateway.metrics.rewrite_failures += 1
        if rest:
            self._passed.append(rest)
        return rest

    def observe(self) -> None:
        """Look at what has passed. Called after it was sent."""
        passed, forwarded = self._passed, self._forwarded
        if not passed or forwarded is None:
            return
        self._passed = []
        since, self._waits_since = self._waits_since, perf_counter_ns()
        self._run(partial(_feed, forwarded, passed, since), sum(map(len, passed)))

    def _run(self, function: Any, size: int) -> None:
        """Run a step of the observation: here, or where the encoding hides how much there is to read, elsewhere."""
        observation = self._observation
        if isinstance(observation, ProxiedObservation):
            observation.size += size
        if not self._encoding or self._encoding == "identity":
            function()
        elif not self._gateway.background.post(function, size):
            self._forwarded = None

    # -- the ends --

    def finish(self, end: str) -> None:
        """The exchange is over: `completed`, `closed` by the client, or `cancelled` before its request was whole."""
        recorded, self._recorded = self._recorded, None
        if recorded is not None:
            recorded.end(end)
        observation = self._observation
        if observation is None:
            return
        try:
            self._finish(observation, end)
        except Exception as fault:  # noqa: BLE001
            swallow("the end of an exchange", fault)

    def _finish(self, observation: Observation, end: str) -> None:
        self.observe()
        if self._error_status:
            fail_with_status(observation, self._error_status, bytes(self._error), self._encoding)
        elif end == "completed" and self._forwarded is not None:
            step = self._forwarded.finish
            if self.is_document and isinstance(observation, ProxiedObservation) and observation.size > 65_536:
                self._gateway.background.post(step)
            else:
                self._run(step, 0)
        elif self._has_response:
            forwarded = self._forwarded
            self._run(lambda: observation.end("closed", unread=forwarded is None or forwarded.is_unread), 0)
        else:
            observation.end("cancelled", unread=True)

    def fail(self, error: Exception) -> None:
        """The server failed."""
        recorded, self._recorded = self._recorded, None
        if recorded is not None:
            recorded.end(f"error: {type(error).__name__}", unreached=not self._has_response)
        observation = self._observation
        if observation is None:
            return
        try:
            self.observe()
            since = self._waits_since or None
            self._run(lambda: observation.fail(error, since), 0)
        except Exception as fault:  # noqa: BLE001
            swallow("the end of an exchange", fault)


def _feed(forwarded: ForwardedBody, passed: list[bytes], since: int) -> None:
    for data in passed:
        forwarded.feed(data, since)
