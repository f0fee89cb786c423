"""The tools of the demo's agent, as a chat completion declares them."""

from __future__ import annotations

from typing import Any, Final

TOOLS: Final[Any] = [
    {
        "type": "function",
        "function": {
            "name": "add_task",
            "description": "Put a task on the list.",
            "parameters": {
                "type": "object",
                "properties": {"title": {"type": "string", "enum": ["buy milk", "write code"]}},
                "required": ["title"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "list_tasks",
            "description": "Read the list of tasks.",
            "parameters": {"type": "object", "properties": {}},
        },
    },
]
