"""The arguments of an Anthropic request as those of a chat completion.  Pure.

Everything behind this (requests, conversations, content, parameters) then reads one API. Shapes: Anthropic's API
reference, "Create a Message", and OpenAI's, "Create chat completion".

Blocks of content that are neither calls nor results stay as they are; `telemetry.genai_parts` knows both APIs' kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from otel_llm.protocol.anthropic_blocks import CALL, is_of_server
from otel_llm.protocol.fields import field, given, is_a, items_of, text_of
from otel_llm.protocol.request import with_extra_body

# Arguments that both APIs have, and those whose names differ.
_SAME = ("model", "stream", "temperature", "top_p", "top_k", "max_tokens", "metadata", "user")
_RENAMED = {"stop_sequences": "stop", "system": "instructions", "output_format": "response_format"}
# Tools of Anthropic's whose calls the application answers, by the beginning of their type.
_FOR_APPLICATIONS = ("bash_", "computer_", "memory_", "text_editor_", "custom")
_MODES = {"any": "required", "auto": "auto", "none": "none"}


def chat_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `messages.create` as those of `chat.completions.create`.

    Arguments that have no counterpart are left out. An iterator is passed on unread.
    """
    kwargs = with_extra_body(kwargs)
    made = {name: kwargs[name] for name in _SAME if name in kwargs}
    for name, renamed in _RENAMED.items():
        if (value := given(kwargs.get(name))) is not None:
            made[renamed] = value
    output = given(kwargs.get("output_config"))
    if output is not None:
        if (format_ := field(output, "format")) is not None:
            made["response_format"] = format_
        if (effort := field(output, "effort")) is not None:
            made["reasoning_effort"] = effort
    if (previous := field(given(kwargs.get("thread")), "previous_message_id")) is not None:
        # A conversation that the server holds: only the messages behind that message are sent.
        made["previous_response_id"] = previous
    tools = given(kwargs.get("tools"))
    if tools is not None:
        made["tools"] = [_tool(entry) for entry in tools] if is_a(tools, (list, tuple)) else tools
    if items_of(given(kwargs.get("mcp_servers"))) and is_a(made.get("tools", []), list):
        made["tools"] = [*made.get("tools", ()), {"type": "mcp"}]
    choice = given(kwargs.get("tool_choice"))
    if choice is not None:
        made["tool_choice"] = _tool_choice(choice)
        if field(choice, "disable_parallel_tool_use") is True:
            made["parallel_tool_calls"] = False
    messages = given(kwargs.get("messages"))
    if messages is not None:
        made["messages"] = list(_messages(messages)) if is_a(messages, (list, tuple)) else messages
    return made


def _tool(entry: Any) -> Any:
    """A tool's declaration. One that the server runs keeps its type, and has no name."""
    kind, name = text_of(field(entry, "type")), text_of(field(entry, "name"))
    if kind is not None and not kind.startswith(_FOR_APPLICATIONS):
        return {"type": kind}
    function = {"name": name, "description": field(entry, "description"), "parameters": field(entry, "input_schema")}
    return {"type": "function", "function": function}


def _tool_choice(choice: Any) -> Any:
    kind = text_of(field(choice, "type"))
    if kind == "tool":
        return {"type": "function", "function": {"name": field(choice, "name")}}
    return _MODES.get(kind or "", kind)


def _messages(messages: Iterable[Any]) -> Iterator[Any]:
    for message in messages:
        content = field(message, "content")
        blocks = items_of(content)
        if not blocks:
            yield message
            continue
        role = field(message, "role")
        calls = [_call(block) for block in blocks if field(block, "type") == CALL]
        results = [_result(block) for block in blocks if field(block, "type") == "tool_result"]
        yield from results
        rest = [block for block in blocks if not _is_told_elsewhere(block)]
        if rest or calls or not results:
            made = {"role": role, "content": rest}
            if calls:
                made["tool_calls"] = calls
            yield made


def _is_told_elsewhere(block: Any) -> bool:
    kind = text_of(field(block, "type")) or ""
    return kind in {CALL, "tool_result"} or is_of_server(kind)


def _call(block: Any) -> dict[str, Any]:
    function = {"name": field(block, "name"), "arguments": field(block, "input")}
    return {"id": field(block, "id"), "type": "function", "function": function}


def _result(block: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": field(block, "tool_use_id"), "content": field(block, "content")}
