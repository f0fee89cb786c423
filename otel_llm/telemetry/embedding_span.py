"""The span of a request for embeddings, as the GenAI semantic conventions have it: `embeddings {model}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_llm.protocol.embeddings import Embeddings
from otel_llm.protocol.fields import index_of, text_of
from otel_llm.protocol.request import with_extra_body
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.handler import Telemetry
from otel_llm.telemetry.opentelemetry_internals import context_outside_request
from otel_llm.telemetry.provider import Server
from otel_llm.telemetry.redaction import Redaction
from otel_llm.telemetry.span_errors import error_of
from otel_llm.transparency.faults import attempt, swallow


class EmbeddingSpan:
    """Current from its creation until `release`. `within_another`: as in `start_request_span`."""

    __slots__ = ("_invocation", "_telemetry")

    def __init__(self, telemetry: Telemetry, kwargs: Mapping[str, Any], server: Server, within_another: bool) -> None:
        kwargs = with_extra_body(kwargs)
        model = text_of(kwargs.get("model"))
        self._telemetry = telemetry
        self._invocation = telemetry.handler.embedding(
            server.provider,
            request_model=None if model is None else exportable(model),
            server_address=server.address,
            server_port=server.port,
            context=context_outside_request() if within_another else None,
        )
        if (dimensions := index_of(kwargs.get("dimensions"))) is not None:
            self._invocation.dimension_count = dimensions
        if (encoding := text_of(kwargs.get("encoding_format"))) is not None:
            self._invocation.encoding_formats = [exportable(encoding)]

    def release(self) -> None:
        """Restore the caller's context."""
        self._invocation.suspend()

    def finish(self, found: Embeddings, error: BaseException | None) -> None:
        """Record what was found in the response, and end the span."""
        invocation = self._invocation
        try:
            if found.model is not None:
                invocation.response_model_name = exportable(found.model)
            if found.dimensions is not None:
                invocation.dimension_count = found.dimensions
            if found.input_tokens is not None:
                invocation.input_tokens = found.input_tokens
        except Exception as fault:  # noqa: BLE001
            swallow("response attributes", fault)
        if error is not None:
            attempt("the end of the span", self._fail, error)
            return
        try:
            invocation.stop()
        except Exception as fault:  # noqa: BLE001
            swallow("the end of the span", fault)

    def _fail(self, error: BaseException) -> None:
        redact = self._telemetry.config.redact
        redaction = None if redact is None else Redaction(redact)
        self._invocation.fail(error_of(error, redaction))
