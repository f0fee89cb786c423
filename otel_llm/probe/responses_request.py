"""A request of the battery in the words of the Responses API.  Pure.

Shapes: OpenAI's API reference, "Create a model response". The conversation is sent with each request, and the server is
asked to store none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SAME = ("model", "temperature", "stream", "parallel_tool_calls")
_LEAST = 16  # tokens, fewer are refused


def responses_body(chat: Mapping[str, Any]) -> dict[str, Any]:
    """The body that asks the same. What the API has nothing for is left out, such as `seed`."""
    made = {name: chat[name] for name in _SAME if name in chat}
    made["store"] = False
    made["input"] = [item for message in chat["messages"] for item in _items(message)]
    if "max_tokens" in chat:
        made["max_output_tokens"] = max(_LEAST, chat["max_tokens"])
    if "tools" in chat:
        made["tools"] = [{"type": "function", **tool["function"], "strict": False} for tool in chat["tools"]]
    choice = chat.get("tool_choice")
    if choice is not None:
        named = {"type": "function", "name": choice["function"]["name"]} if isinstance(choice, Mapping) else None
        made["tool_choice"] = named or choice
    if "reasoning_effort" in chat:
        made["reasoning"] = {"effort": chat["reasoning_effort"]}
    return made


def _items(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    content = message["content"]
    if message["role"] == "tool":
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": content}
        return
    if content:
        yield {"role": message["role"], "content": content}
    for call in message.get("tool_calls", ()):
        yield {"type": "function_call", "call_id": call["id"], **call["function"]}
