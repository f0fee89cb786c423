"""What a server of Gemini's API sends, as steps for :class:`~otel_llm.demo.scripted_server.ScriptedServer`.

Each response of a stream is a dict, which the server sends as an event; a whole response goes into an ``Answer``:

    >>> from otel_llm.demo.scripted_gemini import call_part, responses, text_part
    >>> from otel_llm.demo.scripted_server import ScriptedServer
    >>> with ScriptedServer(responses([text_part("Sure.")], [call_part("add_task", {"title": "a"})])) as server:
    ...     client = genai.Client(api_key="unused", http_options={"base_url": server.base_url})
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from otel_llm.demo.scripted_server import MODEL

RESPONSE_ID: Final = "gemini-scripted"
_USAGE: Final = {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}


def text_part(text: str, **fields: Any) -> dict[str, Any]:
    """A part with text; with ``thought=True`` one with the model's thoughts."""
    return {"text": text, **fields}


def call_part(name: str, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """A part with a whole call. ``fields``: those of the call, such as its ``id``."""
    call = {"name": name, **fields}
    return {"functionCall": call if arguments is None else {**call, "args": arguments}}


def call_in_pieces(name: str, *pieces: Mapping[str, Any], **fields: Any) -> list[list[dict[str, Any]]]:
    """The parts of a call whose arguments are streamed, each for a response of its own."""
    calls = [
        {"name": name, "willContinue": True, **fields},
        *({"partialArgs": [dict(piece)], "willContinue": True} for piece in pieces),
        {},
    ]
    return [[{"functionCall": call}] for call in calls]


def text_pieces(path: str, text: str, size: int = 4) -> list[dict[str, Any]]:
    """The pieces of a string argument at a JSON path, of ``size`` characters each."""
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    return [{"jsonPath": path, "stringValue": part, "willContinue": part is not parts[-1]} for part in parts]


def candidate(
    parts: Iterable[Mapping[str, Any]] | None, finish_reason: str | None = None, index: int = 0, **fields: Any
) -> dict[str, Any]:
    """A candidate with these parts, without content if that is None."""
    made: dict[str, Any] = {"index": index, **fields}
    if parts is not None:
        made["content"] = {"role": "model", "parts": [dict(part) for part in parts]}
    return made if finish_reason is None else {**made, "finishReason": finish_reason}


def response(*candidates: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """One response: a whole one, or one of a stream. ``fields`` are added, or replace others."""
    made = {"candidates": [dict(one) for one in candidates]} if candidates else {}
    return {**made, "usageMetadata": _USAGE, "modelVersion": MODEL, "responseId": RESPONSE_ID, **fields}


def whole(*parts: Mapping[str, Any], finish_reason: str = "STOP", **fields: Any) -> dict[str, Any]:
    """A whole response with one candidate."""
    return response(candidate(parts, finish_reason), **fields)


def responses(*parts: Sequence[Mapping[str, Any]], finish_reason: str | None = "STOP") -> list[dict[str, Any]]:
    """A stream of one candidate, a response for each list of parts. The last one has the finish reason."""
    last = len(parts) - 1
    return [response(candidate(some, finish_reason if at == last else None)) for at, some in enumerate(parts)]
