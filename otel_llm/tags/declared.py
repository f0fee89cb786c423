"""The tools that somebody declares, in any of the forms in which people have them.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_llm.protocol.request import Tool, read_tool


def declared_tools(tools: Any) -> Mapping[str, Tool] | None:
    """Tools by name: from `tools` of a request, from functions, names, or such a mapping. None where none are known."""
    if tools is None:
        return None
    if isinstance(tools, Mapping):
        return {str(name): tool if isinstance(tool, Tool) else Tool(str(name)) for name, tool in tools.items()}
    found: dict[str, Tool] = {}
    for entry in tools:
        tool: Tool | None
        if isinstance(entry, Tool):
            tool = entry
        elif isinstance(entry, str):
            tool = Tool(entry)
        elif callable(entry):
            tool = Tool(name_of(entry))
        else:
            tool = read_tool(entry)
        if tool is not None:
            found[tool.name] = tool
    return found


def name_of(function: Any) -> str:
    """The name that a function is called by."""
    return str(getattr(function, "__name__", None) or type(function).__name__)
