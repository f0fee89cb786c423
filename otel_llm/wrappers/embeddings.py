"""Requests for embeddings: a span each, without events, since nothing streams and no model calls a tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_llm.config import Config
from otel_llm.observation import Observation, open_until_exit
from otel_llm.protocol.choice import Outcome
from otel_llm.protocol.embeddings import Embeddings, read_embeddings, read_embeddings_body
from otel_llm.protocol.recording import Recording
from otel_llm.telemetry.embedding_span import EmbeddingSpan
from otel_llm.telemetry.provider import Server, server_of
from otel_llm.transparency.faults import swallow
from otel_llm.wrappers.method import MethodWrapper
from otel_llm.wrappers.raw_response import UnreadRawResponse, is_raw_response
from otel_llm.wrappers.sdk_internals import client_of, has_whole_body

_NOTHING = Embeddings()
# Says that nothing is streamed. Nothing is recorded.
_RECORDING = Recording()
_RECORDING.streamed = False


class EmbeddingObservation(Observation):
    """An observation of which only the span is left, since a whole one costs more than the span."""

    __slots__ = ("_found", "_of_embeddings")

    def __init__(self, config: Config, span: EmbeddingSpan) -> None:
        self.config = config
        self.request = None
        self.recording = _RECORDING
        self.is_rewritten = False
        self._of_embeddings = span
        self._found = _NOTHING
        self._ending = [True]
        open_until_exit(self)

    def release(self) -> None:
        self._of_embeddings.release()

    def read_response(self, response: Any) -> None:
        try:
            self._found = read_embeddings(response)
        except Exception as fault:  # noqa: BLE001
            swallow("a response", fault)
        self.end("completed")

    def read_body(self, body: bytes) -> None:
        try:
            self._found = read_embeddings_body(body)
        except Exception as fault:  # noqa: BLE001
            swallow("a response's body", fault)
        self.end("completed")

    def end(
        self,
        _outcome: Outcome,
        error: BaseException | None = None,
        _wait_started_ns: int | None = None,
        *,
        unread: bool = False,  # noqa: ARG002
    ) -> None:
        if self._ends_now():
            self._of_embeddings.finish(self._found, error)


class EmbeddingsWrapper(MethodWrapper):
    """The wrapper around `embeddings.create`."""

    def _observe(self, resource: Any, kwargs: Mapping[str, Any]) -> Observation | None:
        within_another = self._is_within_another(resource)
        if within_another is None:
            return None
        try:
            server = server_of(client_of(resource))
        except Exception as fault:  # noqa: BLE001
            swallow("the server's address", fault)
            server = Server("openai")
        return EmbeddingObservation(self._config, EmbeddingSpan(self._telemetry, kwargs, server, within_another))

    def _track_result(self, result: Any, observation: Observation) -> Any:
        if not is_raw_response(result):
            observation.read_response(result)
        elif has_whole_body(result):
            observation.read_body(result.http_response.content)
        else:
            return UnreadRawResponse(result, observation, _read)
        return result


def _read(response: Any, observation: Observation, _body: object) -> Any:
    observation.read_response(response)
    return response
