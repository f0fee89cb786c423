"""What Bedrock's Converse API sends, as steps for :class:`~otel_llm.demo.scripted_server.ScriptedServer`.

A stream is described by its content blocks; :func:`converse_events` makes a server's events from them, each as the
bytes of one message of the event stream encoding (`vnd.amazon.eventstream`):

    >>> from otel_llm.demo.scripted_converse import converse_events, text_block, tool_use
    >>> from otel_llm.demo.scripted_server import ScriptedServer
    >>> with ScriptedServer(converse_events(text_block("Sure."), tool_use("add_task", {"title": "a"}))) as server:
    ...     url = server.base_url.removesuffix("/v1")
    ...     client = boto3.client("bedrock-runtime", endpoint_url=url, region_name="us-east-1")

Source of the encoding: the AWS documentation of Amazon Transcribe streaming, "Event stream encoding", and the Smithy
specification, "Amazon Event Stream".
"""

from __future__ import annotations

import json
from binascii import crc32
from collections.abc import Iterator, Mapping
from struct import pack
from typing import Any

_STRING = 7


def text_block(words: str) -> dict[str, Any]:
    """A content block with text."""
    return {"text": words}


def reasoning(thought: str) -> dict[str, Any]:
    """A content block with the model's thoughts."""
    return {"reasoningContent": {"reasoningText": {"text": thought, "signature": "c2lnbmF0dXJl"}}}


def tool_use(name: str, arguments: Any, *, call_id: str = "tooluse_1", **fields: Any) -> dict[str, Any]:
    """A content block that calls a tool. ``arguments``: an object, or text as it is to be streamed."""
    return {"toolUse": {"toolUseId": call_id, "name": name, "input": arguments, **fields}}


def response(*blocks: Mapping[str, Any], stop_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """A whole response. ``stop_reason`` defaults to what fits the blocks; ``fields`` are added, or replace others."""
    return {
        "output": {"message": {"role": "assistant", "content": [dict(block) for block in blocks]}},
        "stopReason": stop_reason or _reason_for(blocks),
        "usage": _USAGE,
        "metrics": {"latencyMs": 5},
        **fields,
    }


def converse_events(
    *blocks: Mapping[str, Any], stop_reason: str | None = None, size: int = 4, **fields: Any
) -> list[bytes]:
    """The events of a streamed answer with these blocks, with texts in pieces of ``size`` characters.

    ``fields``: those of the last event, ``metadata``.
    """
    return [event(value) for value in event_values(*blocks, stop_reason=stop_reason, size=size, **fields)]


def event_values(
    *blocks: Mapping[str, Any], stop_reason: str | None = None, size: int = 4, **fields: Any
) -> list[dict[str, Any]]:
    """The same events as the SDK gives them."""
    return [
        {"messageStart": {"role": "assistant"}},
        *(event for index, block in enumerate(blocks) for event in _block_events(index, block, size)),
        {"messageStop": {"stopReason": stop_reason or _reason_for(blocks)}},
        {"metadata": {"usage": _USAGE, "metrics": {"latencyMs": 5}, **fields}},
    ]


def event(value: Mapping[str, Any]) -> bytes:
    """One event, given as a mapping with its kind as the only key. A kind ``...Exception`` is an exception."""
    ((kind, payload),) = value.items()
    is_exception = kind.endswith("Exception")
    headers = {
        ":exception-type" if is_exception else ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception" if is_exception else "event",
    }
    return frame(headers, json.dumps(payload).encode("ascii"))


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message of the encoding: the prelude with its check sum, the headers, the payload, and a check sum of all."""
    encoded = b"".join(_header(name, value) for name, value in headers.items())
    prelude = pack("!II", 12 + len(encoded) + len(payload) + 4, len(encoded))
    begun = prelude + pack("!I", crc32(prelude)) + encoded + payload
    return begun + pack("!I", crc32(begun))


_USAGE = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}


def _header(name: str, value: str) -> bytes:
    encoded = value.encode()
    return pack("!B", len(name)) + name.encode("ascii") + pack("!BH", _STRING, len(encoded)) + encoded


def _reason_for(blocks: tuple[Mapping[str, Any], ...]) -> str:
    return "tool_use" if any("toolUse" in block and "type" not in block["toolUse"] for block in blocks) else "end_turn"


def _block_events(index: int, block: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    ((kind, value),) = block.items()
    start: dict[str, Any] = {}
    deltas: list[dict[str, Any]] = []
    if kind == "text":
        deltas = [{"text": part} for part in _parts(value, size)]
    elif kind == "reasoningContent":
        inner = value["reasoningText"]
        deltas = [{"reasoningContent": {"text": part}} for part in _parts(inner["text"], size)]
        deltas.append({"reasoningContent": {"signature": inner["signature"]}})
    elif kind == "toolUse":
        start = {kind: {name: field for name, field in value.items() if name != "input"}}
        arguments = value["input"]
        words = arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else ""
        deltas = [{kind: {"input": part}} for part in ["", *_parts(words, size)]]
    else:
        start = {kind: {name: field for name, field in value.items() if name != "content"}}
        deltas = [{kind: value["content"]}]
    if start:
        yield {"contentBlockStart": {"start": start, "contentBlockIndex": index}}
    for delta in deltas:
        yield {"contentBlockDelta": {"delta": delta, "contentBlockIndex": index}}
    yield {"contentBlockStop": {"contentBlockIndex": index}}


def _parts(words: str, size: int) -> list[str]:
    return [words[at : at + size] for at in range(0, len(words), size)]
