"""What each API needs besides the chat completions that the rest of the package speaks.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from otel_llm.protocol import anthropic_request, converse_request, huggingface_chat, mistral_chat, ollama_chat
from otel_llm.protocol.anthropic_messages import MessageEvents
from otel_llm.protocol.choice import Notice
from otel_llm.protocol.converse_events import ConverseEvents, kind_of_event
from otel_llm.protocol.fetched_response import ResumedEvents
from otel_llm.protocol.fields import field, is_empty, items_of, text_of
from otel_llm.protocol.gemini_fields import get
from otel_llm.protocol.gemini_request import gemini_arguments
from otel_llm.protocol.gemini_responses import GeminiResponses
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import Api, ChatRequest
from otel_llm.protocol.responses_api import ResponseEvents
from otel_llm.protocol.text_completions import TextCompletionChunks, is_text_completion, text_arguments


class Reader(Protocol):
    """Reads a response into a recording: the recording itself, or a translator in front of it."""

    @property
    def api(self) -> Api: ...
    def feed(self, chunk: Any, wait_started_ns: int, received_ns: int, /) -> list[Notice] | None: ...
    def read_response(self, response: Any, received_ns: int, /) -> list[Notice]: ...


def _response_events(recording: Recording, request: ChatRequest | None) -> ResponseEvents:
    fetch = None if request is None else request.fetch
    resumes = fetch is not None and fetch.starting_after is not None
    return (ResumedEvents if resumes else ResponseEvents)(recording, request)


_READERS: Mapping[Api, Callable[[Recording, ChatRequest | None], Reader]] = {
    "responses": _response_events,
    "completions": TextCompletionChunks,
    "messages": MessageEvents,
    "converse": ConverseEvents,
    "gemini": GeminiResponses,
    "mistral": mistral_chat.MistralEvents,
    "ollama": ollama_chat.OllamaChunks,
    "huggingface": huggingface_chat.HuggingFaceChunks,
}
_ARGUMENTS: Mapping[Api, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "completions": text_arguments,
    "messages": anthropic_request.chat_arguments,
    "converse": converse_request.chat_arguments,
    "gemini": gemini_arguments,
    "mistral": mistral_chat.chat_arguments,
    "ollama": ollama_chat.chat_arguments,
}


def reader_of(api: Api, recording: Recording, request: ChatRequest | None = None) -> Reader:
    """What reads a response of this API into `recording`."""
    make = _READERS.get(api)
    return recording if make is None else make(recording, request)


class EitherEvents:
    """Reads a response of any API, chosen by the first chunk or event."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.api: Api = "chat"
        """The API, once a chunk or event has shown it."""
        self._read: Callable[[Any, int, int], list[Notice] | None] | None = None

    def feed(self, event: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
        """Take one chunk or event, as `Recording.feed` does."""
        read = self._read
        if read is None:
            self.api = _api_of(event)
            read = self._read = reader_of(self.api, self._recording).feed
        return read(event, wait_started_ns, received_ns)

    def read_response(self, response: Any, received_ns: int) -> list[Notice]:
        """Take a whole response."""
        self.api = _api_of(response)
        return reader_of(self.api, self._recording).read_response(response, received_ns)


def _api_of(value: Any) -> Api:
    """The API of a chunk, an event or a whole response; chat completions if nothing shows another one."""
    if text_of(field(value, "object")) == "response":
        return "responses"
    if is_text_completion(value):
        return "completions"
    kind = text_of(field(value, "type"))
    if kind is not None:
        return _api_of_type(kind, value)
    if field(value, "choices") is not None:
        return "chat"
    if items_of(get(value, "candidates")):
        return "gemini"
    if field(value, "stopReason") is not None or kind_of_event(value):
        return "converse"
    if isinstance(field(value, "done"), bool) and field(value, "message") is not None:
        return "ollama"
    return "mistral" if field(field(value, "data"), "choices") is not None else "chat"


def _api_of_type(kind: str, value: Any) -> Api:
    if kind.startswith("response.") or (kind == "error" and is_empty(field(value, "error"))):
        return "responses"
    if kind.startswith(("message_", "content_block_")) or kind in {"ping", "error"}:
        return "messages"
    return "messages" if kind == "message" and field(value, "content") is not None else "chat"


def arguments_of(api: Api, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a request, in the names and shapes of OpenAI's APIs."""
    translate = _ARGUMENTS.get(api)
    return kwargs if translate is None else translate(kwargs)
