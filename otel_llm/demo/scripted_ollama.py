"""What an Ollama server sends, as steps for :class:`~otel_llm.demo.scripted_server.ScriptedServer`: lines of JSON.

>>> from otel_llm.demo.scripted_ollama import answer_lines, call, says
>>> from otel_llm.demo.scripted_server import ScriptedServer
>>> with ScriptedServer(answer_lines(says("Sure."), says(calls=[call("add_task", {"title": "a"})]))) as server:
...     client = ollama.Client(host=server.base_url.removesuffix("/v1"))
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from otel_llm.demo.scripted_server import MODEL


def call(name: str, arguments: Any, **fields: Any) -> dict[str, Any]:
    """A tool call. ``fields``: an ``id``, of servers that send one."""
    return {**fields, "function": {"name": name, "arguments": arguments}}


def says(content: str = "", *, thinking: str | None = None, calls: Sequence[Any] | None = None) -> dict[str, Any]:
    """A message, or a piece of one."""
    made: dict[str, Any] = {"role": "assistant", "content": content}
    if thinking is not None:
        made["thinking"] = thinking
    if calls is not None:
        made["tool_calls"] = list(calls)
    return made


def response(message: Mapping[str, Any], *, done: bool = True, reason: str | None = "stop", **fields: Any) -> Any:
    """A response to an unstreamed request, or a line of a stream."""
    made = {"model": MODEL, "created_at": "2026-11-30T09:00:00Z", "message": dict(message), "done": done}
    if done:
        made |= {"done_reason": reason, "total_duration": 9, "prompt_eval_count": 3, "eval_count": 4}
    return {**made, **fields}


def line(value: Any) -> bytes:
    """A line of a stream. Lone surrogates are sent as escapes."""
    return json.dumps(value).encode("ascii") + b"\n"


def answer_lines(*messages: Mapping[str, Any], reason: str | None = "stop", **fields: Any) -> list[bytes]:
    """The lines of a stream with these pieces, and its last one. ``fields``: those of the last line."""
    pieces = [line(response(message, done=False)) for message in messages]
    return [*pieces, line(response(says(), reason=reason, **fields))]
