"""Tools that a server of chat completions ran by itself, and tells beside the content.  Pure; never raises.

Groq's compound systems list them in the `executed_tools` of a message or a delta, each with its `index`. A stream tells
one twice: when it starts, and with its output.
Source: https://console.groq.com/docs/compound
"""

from __future__ import annotations

from typing import Any

from otel_llm.protocol.choice import Choice
from otel_llm.protocol.fields import field, index_of, items_of

EXECUTED_TOOLS = "executed_tools"


def count_executed_tools(choice: Choice, tools: Any) -> None:
    """Count the tools of one message or delta as items that the server ran."""
    for place, tool in enumerate(items_of(tools)):
        index = index_of(field(tool, "index"))
        choice.server_items = max(choice.server_items, 1 + (place if index is None else index))
