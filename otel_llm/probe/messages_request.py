"""A request of the battery in the words of Anthropic's messages.  Pure.

Shapes: Anthropic's API reference, "Create a Message". The opposite of `protocol.anthropic_request`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_SAME = ("model", "max_tokens", "temperature", "stream")
_MODES = {"required": "any", "auto": "auto", "none": "none"}
_THOUGHTS = 1024  # tokens, the least that the API takes


def messages_body(chat: Mapping[str, Any]) -> dict[str, Any]:
    """The body that asks the same. What the API has nothing for is left out, such as `seed`."""
    made = {name: chat[name] for name in _SAME if name in chat}
    made["messages"] = _merged(_message(message) for message in chat["messages"])
    if "tools" in chat:
        made["tools"] = [_tool(tool["function"]) for tool in chat["tools"]]
    choice = _choice(chat.get("tool_choice"))
    if chat.get("parallel_tool_calls") is False:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        made["tool_choice"] = choice
    if "reasoning_effort" in chat:
        made["thinking"] = {"type": "enabled", "budget_tokens": _THOUGHTS}
        # Where the model thinks, the API takes no other temperature than its default.
        made.pop("temperature", None)
    return made


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": function["name"],
        "description": function["description"],
        "input_schema": function["parameters"],
    }


def _choice(choice: Any) -> dict[str, Any] | None:
    if choice is None:
        return None
    return {"type": _MODES[choice]} if isinstance(choice, str) else {"type": "tool", "name": choice["function"]["name"]}


def _message(message: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """The role of a message, and its blocks."""
    content = message["content"]
    if message["role"] == "tool":
        result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content}
        return "user", [result]
    texts = [{"type": "text", "text": content}] if content else []
    calls = [
        {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": _input(call["function"])}
        for call in message.get("tool_calls", ())
    ]
    return message["role"], [*texts, *calls]


def _input(function: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call. The API takes objects only, and a model may have written something else."""
    try:
        value = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _merged(messages: Iterator[tuple[str, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """The messages. Roles alternate, so results and what the user says next are one message."""
    made: list[dict[str, Any]] = []
    for role, blocks in messages:
        if made and made[-1]["role"] == role:
            made[-1]["content"] += blocks
        else:
            made.append({"role": role, "content": blocks})
    return made
