"""What a server of Anthropic's API sends, as steps for :class:`~otel_llm.demo.scripted_server.ScriptedServer`.

A stream is described by its content blocks; :func:`message_events` makes a server's events from them, each as the bytes
of a named server-sent event:

    >>> from otel_llm.demo.scripted_messages import message_events, text_block, tool_use
    >>> from otel_llm.demo.scripted_server import ScriptedServer
    >>> with ScriptedServer(message_events(text_block("Sure."), tool_use("add_task", {"title": "a"}))) as server:
    ...     client = anthropic.Anthropic(base_url=server.base_url.removesuffix("/v1"), api_key="unused")
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from otel_llm.demo.scripted_server import MODEL

MESSAGE_ID: Final = "msg_scripted"


def text_block(text: str) -> dict[str, Any]:
    """A content block with text."""
    return {"type": "text", "text": text}


def thinking(thought: str) -> dict[str, Any]:
    """A content block with the model's thoughts."""
    return {"type": "thinking", "thinking": thought, "signature": "c2lnbmF0dXJl"}


def tool_use(name: str, arguments: Any, *, call_id: str = "toolu_1") -> dict[str, Any]:
    """A content block that calls a tool. ``arguments``: an object, or text as it is to be streamed."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def message(*blocks: Mapping[str, Any], stop_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """A whole message. ``stop_reason`` defaults to what fits the blocks; ``fields`` are added, or replace others."""
    return {
        "id": MESSAGE_ID,
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [dict(block) for block in blocks],
        "stop_reason": stop_reason or _reason_for(blocks),
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 4},
        **fields,
    }


def event(value: Mapping[str, Any]) -> bytes:
    """A server-sent event that has the name of its type."""
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode("ascii")


def message_events(
    *blocks: Mapping[str, Any], stop_reason: str | None = None, size: int = 4, **fields: Any
) -> list[bytes]:
    """The events of a streamed message with these blocks, with texts in pieces of ``size`` characters.

    ``fields``: those of ``message_start``'s message.
    """
    return [event(value) for value in event_values(*blocks, stop_reason=stop_reason, size=size, **fields)]


def event_values(
    *blocks: Mapping[str, Any], stop_reason: str | None = None, size: int = 4, **fields: Any
) -> list[dict[str, Any]]:
    """The same events as dicts."""
    begun = message(**{"content": [], "usage": {"input_tokens": 3, "output_tokens": 1}, **fields})
    begun["stop_reason"] = None
    delta = {"stop_reason": stop_reason or _reason_for(blocks), "stop_sequence": None}
    return [
        {"type": "message_start", "message": begun},
        {"type": "ping"},
        *(event for index, block in enumerate(blocks) for event in _block_events(index, block, size)),
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]


def _reason_for(blocks: tuple[Mapping[str, Any], ...]) -> str:
    return "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"


def _block_events(index: int, block: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    kind = block["type"]
    if kind == "text":
        start, deltas = {**block, "text": ""}, [_delta("text_delta", text=part) for part in _parts(block["text"], size)]
    elif kind == "thinking":
        start = {**block, "thinking": "", "signature": ""}
        deltas = [_delta("thinking_delta", thinking=part) for part in _parts(block["thinking"], size)]
        deltas.append(_delta("signature_delta", signature=block["signature"]))
    elif "input" in block:
        arguments = block["input"]
        text = arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else ""
        start = {**block, "input": {}}
        deltas = [_delta("input_json_delta", partial_json=part) for part in ["", *_parts(text, size)]]
    else:
        start, deltas = dict(block), []
    yield {"type": "content_block_start", "index": index, "content_block": start}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _delta(kind: str, **fields: str) -> dict[str, Any]:
    return {"type": kind, **fields}


def _parts(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]
