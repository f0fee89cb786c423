"""Which API a JSON value, or the path of a URL, belongs to.  Pure.

A value that several APIs could send, such as an error or `{}`, belongs to none. `type`, `object` and the names of other
fields are those of the APIs' references.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from otel_llm.protocol.converse_events import kind_of_event
from otel_llm.protocol.fields import text_of
from otel_llm.protocol.request import Api
from otel_llm.protocol.unicode_text import one_line


class Kind(NamedTuple):
    """What a value is, in words; and the API as which it is read, None if it is not read."""

    name: str
    api: Api | None = None


CHAT = Kind("a chat completion", "chat")
RESPONSES = Kind("a response of the Responses API", "responses")
MESSAGES = Kind("an Anthropic message", "messages")
CONVERSE = Kind("a response of Bedrock's Converse API", "converse")
GEMINI = Kind("a Gemini response", "gemini")
UNKNOWN = Kind("JSON of no API that is known")
EMPTY = Kind("an empty body")
_BEDROCK = Kind("a Bedrock response")
_COHERE = Kind("a Cohere chat")
_EMBEDDINGS = Kind("embeddings")
TEXT = Kind("a text completion", "completions")
OLLAMA = Kind("an Ollama chat", "ollama")
_OLLAMA_GENERATE = Kind("an Ollama completion")

_MESSAGE_TYPES = frozenset(
    {
        "content_block_delta",
        "content_block_start",
        "content_block_stop",
        "message",
        "message_delta",
        "message_start",
        "message_stop",
        "ping",
    }
)
_COHERE_TYPE = re.compile(r"(?:message|content|tool-plan|tool-call|citation)-(?:start|delta|end)")
_OF_DATA = {"embedding": _EMBEDDINGS, "model": Kind("a list of models")}
_OF_FIELD = (
    ("candidates", GEMINI),
    ("promptFeedback", GEMINI),
    ("usageMetadata", GEMINI),
    ("embedding", _EMBEDDINGS),
    ("embeddings", _EMBEDDINGS),
    ("generation_id", _COHERE),
    ("event_type", _COHERE),
    ("generated_text", Kind("a text generation")),
    ("jsonrpc", Kind("a JSON-RPC message")),
)
# The first that matches the end of a path.
_PATHS = (
    (re.compile(r"/chat/completions$"), CHAT),
    (re.compile(r"/responses$"), RESPONSES),
    (re.compile(r"/completions$"), TEXT),
    # llama.cpp has an API of its own at /completion.
    (re.compile(r"/completions?(?:/|$)"), Kind(TEXT.name)),
    # Assistants have messages, too.
    (re.compile(r"/v\d/messages$|:(?:streamR|r)awPredict$"), MESSAGES),
    (re.compile(r"/v\d/complete$"), Kind("an Anthropic completion")),
    (re.compile(r":(?:streamG|g)enerateContent$"), GEMINI),
    (re.compile(r"/embeddings$|:(?:batchE|e)mbedContents?$|/api/embed$"), _EMBEDDINGS),
    # An ARN has slashes, which a path may have undecoded.
    (re.compile(r"/model/.+/converse(?:-stream)?$"), CONVERSE),
    (re.compile(r"/model/.+/invoke(?:-with-response-stream)?$"), _BEDROCK),
    (re.compile(r"/api/chat$"), OLLAMA),
    (re.compile(r"/api/generate$"), _OLLAMA_GENERATE),
    (re.compile(r"/v[12]/chat$"), _COHERE),
)

_MODEL = re.compile(r"/model/(.+)/(?:converse|invoke)(?:-stream|-with-response-stream)?/?$")


def kind_of_path(path: str) -> Kind | None:
    """What the path of a URL says about its responses."""
    path = path.rstrip("/")
    return next((kind for pattern, kind in _PATHS if pattern.search(path)), None)


def model_in_path(path: str) -> str | None:
    """The model that a path of Bedrock's names, with the escapes of the path; None for any other path."""
    found = _MODEL.search(path)
    return None if found is None else found.group(1)


def kind_of(value: Any) -> Kind | None:
    """What a decoded response, chunk or event is, None if it could be of several APIs."""
    if not isinstance(value, Mapping):
        return None
    type_, object_ = text_of(value.get("type")) or "", text_of(value.get("object")) or ""
    # Anthropic's event of this name has its error in a field.
    is_error_event = type_ == "error" and "message" in value and not value.get("error")
    if object_ == "response" or type_.startswith("response.") or is_error_event:
        return RESPONSES
    choices = value.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if object_ == "text_completion" or (isinstance(first, Mapping) and "text" in first and not _has_message(first)):
        return TEXT
    if first is not None or object_.startswith("chat.completion"):
        return CHAT
    if isinstance(choices, list) or value.get("error"):
        return None
    return _other(value, type_, object_)


def _has_message(choice: Mapping[str, Any]) -> bool:
    return "message" in choice or "delta" in choice


def _other(value: Mapping[str, Any], type_: str, object_: str) -> Kind | None:
    data = value.get("data")
    of_data = data[0] if isinstance(data, list) and data and isinstance(data[0], Mapping) else {}
    if type_ in _MESSAGE_TYPES:
        return MESSAGES
    if type_ == "completion":
        return Kind("an Anthropic completion")
    if _COHERE_TYPE.fullmatch(type_):
        return _COHERE
    if object_ == "list":
        return _OF_DATA.get(str(of_data.get("object")), Kind("a list"))
    if object_:
        return Kind(f"an object {one_line(object_[:40])!r}")
    if isinstance(value.get("done"), bool) and ("message" in value or "response" in value):
        return OLLAMA if "message" in value else _OLLAMA_GENERATE
    if "b64_json" in of_data or ("created" in value and "url" in of_data):
        return Kind("images")
    message, inner = value.get("message"), value.get("response")
    if "stopReason" in value or (isinstance(value.get("output"), Mapping) and "message" in value["output"]):
        return CONVERSE
    if len(value) == 1 and kind_of_event(value):
        return CONVERSE
    if isinstance(message, Mapping) and "finish_reason" in value:
        return _COHERE
    if isinstance(inner, Mapping) and "candidates" in inner:
        return GEMINI
    return next((kind for name, kind in _OF_FIELD if name in value), None)
