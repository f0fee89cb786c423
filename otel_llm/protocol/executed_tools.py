"""Tools that a server of chat completions ran by itself, and tells beside the content.  Pure; never raises.

OpenRouter, and gateways to Anthropic's models, only count them, in the `server_tool_use` of the usage.

Groq's compound systems list them in the `executed_tools` of a message or a delta, each with its `index`. A stream tells
one twice: when it starts, and with its output.
Sources: https://console.groq.com/docs/compound; https://openrouter.ai/docs/guides/features/server-tools
"""

from __future__ import annotations

from typing import Any

from otel_llm.protocol.choice import Choice
from otel_llm.protocol.fields import field, index_of, items_of, undeclared_field

EXECUTED_TOOLS = "executed_tools"
# Of the usage. A search may be among the calls, so they are not added up.
_COUNTS = ("tool_calls_executed", "web_search_requests", "web_fetch_requests")


def count_executed_tools(choice: Choice, tools: Any) -> None:
    """Count the tools of one message or delta as items that the server ran."""
    for place, tool in enumerate(items_of(tools)):
        index = index_of(field(tool, "index"))
        choice.server_items = max(choice.server_items, 1 + (place if index is None else index))


def executed_in_usage(usage: Any) -> int:
    """How many tools the server ran, as far as a usage says it."""
    use = undeclared_field(usage, "server_tool_use")
    return 0 if use is None else max(index_of(field(use, name)) or 0 for name in _COUNTS)
