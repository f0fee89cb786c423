"""A request for the SDKs whose tools and messages are as in OpenAI's."""

from __future__ import annotations

from typing import Any

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add_task",
        "description": "add a task",
        "parameters": {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}},
    },
}
MESSAGES = [{"role": "user", "content": "add a task"}]
REQUEST: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "tools": [TOOL]}
