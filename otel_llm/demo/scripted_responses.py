"""What a server of the Responses API sends, as steps for :class:`~otel_llm.demo.scripted_server.ScriptedServer`.

A stream is described by its output items; :func:`response_events` makes a server's events from them, one dict each, to
be played as they are or after changes:

    >>> from otel_llm.demo.scripted_responses import function_call, response_events
    >>> from otel_llm.demo.scripted_server import ScriptedServer
    >>> with ScriptedServer(response_events(function_call("add_task", '{"title": "a"}'))) as server:
    ...     client = openai.OpenAI(base_url=server.base_url, api_key="unused")
    ...     stream = client.responses.create(model="m", input="add a task", stream=True)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from otel_llm.demo.scripted_server import MODEL

RESPONSE_ID: Final = "resp_scripted"


def message(text: str, *, id: str = "msg_1") -> dict[str, Any]:  # noqa: A002 - what the protocol calls it
    """An output item with text."""
    return _message(id, {"type": "output_text", "text": text, "annotations": [], "logprobs": []})


def refusal(text: str) -> dict[str, Any]:
    """An output item with a refusal."""
    return _message("msg_1", {"type": "refusal", "refusal": text})


def reasoning(text: str) -> dict[str, Any]:
    """An output item with a summary of the model's reasoning."""
    return {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": text}]}


def function_call(name: str, arguments: str, *, call_id: str = "call_1") -> dict[str, Any]:
    """An output item that calls a function."""
    fields = {"call_id": call_id, "name": name, "arguments": arguments}
    return {"type": "function_call", "id": f"fc_{call_id}", "status": "completed", **fields}


def custom_tool_call(name: str, text: str, *, call_id: str = "call_1") -> dict[str, Any]:
    """An output item that calls a custom tool, whose input is free text."""
    return {"type": "custom_tool_call", "id": f"ctc_{call_id}", "call_id": call_id, "name": name, "input": text}


def response(*items: Mapping[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    """A whole ``response``. ``fields`` are added, or replace others."""
    tokens = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    details = {"input_tokens_details": {"cached_tokens": 1}, "output_tokens_details": {"reasoning_tokens": 2}}
    return {
        "id": RESPONSE_ID,
        "object": "response",
        "created_at": 1_700_000_000,
        "model": MODEL,
        "status": status,
        "output": [dict(item) for item in items],
        "usage": None if status == "in_progress" else {**tokens, **details},
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        **fields,
    }


def response_events(
    *items: Mapping[str, Any], status: str = "completed", size: int = 4, **fields: Any
) -> list[dict[str, Any]]:
    """The events of a streamed response with these output items, with texts in pieces of ``size`` characters.

    ``status``: how it ends (``completed``, ``incomplete``, ``failed``). ``fields``: those of the response at its end.
    """
    started = response(status="in_progress")
    events = [_event("response.created", response=started), _event("response.in_progress", response=started)]
    for index, item in enumerate(items):
        events += _item_events(item, index, size)
    events.append(_event(f"response.{status}", response=response(*items, status=status, **fields)))
    for number, event in enumerate(events):
        event["sequence_number"] = number
    return events


def _event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "sequence_number": 0, **fields}


def _message(item_id: str, part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": item_id, "role": "assistant", "status": "completed", "content": [part]}


def _item_events(item: Mapping[str, Any], index: int, size: int) -> Iterator[dict[str, Any]]:
    kind = item["type"]
    place = {"item_id": item["id"], "output_index": index}
    if kind in {"function_call", "custom_tool_call"}:
        name, event = (
            ("arguments", "function_call_arguments") if kind == "function_call" else ("input", f"{kind}_input")
        )
        yield _event("response.output_item.added", item={**item, name: ""}, output_index=index)
        for piece in _pieces(item[name], size):
            yield _event(f"response.{event}.delta", **place, delta=piece)
        yield _event(f"response.{event}.done", **place, **{name: item[name]})
    else:
        name = "summary" if kind == "reasoning" else "content"
        parts = item.get(name, ())
        yield _event("response.output_item.added", item={**item, name: []} if parts else item, output_index=index)
        for number, part in enumerate(parts):
            yield from _part_events(part, place, number, size)
    yield _event("response.output_item.done", item=dict(item), output_index=index)


def _part_events(part: Mapping[str, Any], place: Mapping[str, Any], number: int, size: int) -> Iterator[dict[str, Any]]:
    kind = part["type"]
    field = "refusal" if kind == "refusal" else "text"
    if kind == "summary_text":
        begins, deltas = "response.reasoning_summary_part", "response.reasoning_summary_text"
        where = {**place, "summary_index": number}
        extra: dict[str, Any] = {}
    else:
        begins, deltas = "response.content_part", f"response.{kind}"
        where = {**place, "content_index": number}
        extra = {"logprobs": []} if kind == "output_text" else {}
    yield _event(f"{begins}.added", **where, part={**part, field: ""})
    for piece in _pieces(part[field], size):
        yield _event(f"{deltas}.delta", **where, delta=piece, **extra)
    yield _event(f"{deltas}.done", **where, **{field: part[field]}, **extra)
    yield _event(f"{begins}.done", **where, part=dict(part))


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]
