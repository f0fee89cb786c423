"""Declared tools in any form in which users pass them.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_llm.protocol.request import Tool, read_tool

# Of gpt-oss and Kimi, and of Gemini and Gemma.
_NAMESPACES = ("functions.", "default_api.")


def declared_tools(tools: Any) -> Mapping[str, Tool] | None:
    """Tools by name, from the `tools` of a request, from functions, from names, or from a mapping by name.

    None if `tools` is None, which means that the tools are not known.
    """
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


def tool_named(tools: Mapping[str, Tool] | None, name: str) -> str:
    """The tool that a model calls by `name`: models that know OpenAI's templates put their namespace before it."""
    if tools is not None and name in tools:
        return name
    for namespace in _NAMESPACES:
        bare = name.removeprefix(namespace)
        if bare != name and bare and (bare in tools if tools is not None else namespace == _NAMESPACES[0]):
            return bare
    return name


def name_of(function: Any) -> str:
    """The tool name of a function: its own, or that of its class."""
    return str(getattr(function, "__name__", None) or type(function).__name__)
