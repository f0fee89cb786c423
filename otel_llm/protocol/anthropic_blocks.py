"""The kinds of content blocks of Anthropic's messages.  Pure.

Source: Anthropic's API reference, "Create a Message", and the tool pages of its documentation.
"""

from __future__ import annotations

CALL = "tool_use"
"""A call that the application answers."""


def is_of_server(kind: str) -> bool:
    """Whether a block is a call that the server ran itself, or the result of one."""
    if kind in {"server_tool_use", "mcp_tool_use"}:
        return True
    # `web_search_tool_result`, `mcp_tool_result` and the like.
    return kind.endswith("_tool_result")
