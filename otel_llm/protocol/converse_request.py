"""The arguments of a request to Bedrock's Converse API as those of a chat completion.  Pure.

Everything behind this (requests, conversations, content, parameters) then reads one API. Shapes: the Amazon Bedrock API
reference, "Converse" and "ConverseStream", and OpenAI's, "Create chat completion".

`additionalModelRequestFields` are a model's own. Of these, only what is known to mean the same for several models is
read: `top_k`, how the model is to think, and whether it may make several calls at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from mimetypes import types_map
from typing import Any

from otel_llm.protocol.converse_blocks import CALL, MEDIA, RESULT, is_of_server, text_in, thought_in
from otel_llm.protocol.fields import field, is_a, items_of, text_of

_INFERENCE = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p", "stopSequences": "stop"}
_THINKING = ("thinking", "reasoning_config", "reasoning_effort", "reasoningConfig")
# A prompt of Bedrock's prompt management, which may have messages and tools of its own.
_PROMPT = ":prompt/"


def chat_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `converse` as those of `chat.completions.create`.

    `stream` is added by the caller. Arguments that have no counterpart are left out. An iterator is passed on unread.
    """
    model = kwargs.get("modelId")
    made: dict[str, Any] = {"model": model, "stream": kwargs.get("stream", False)}
    if _PROMPT in (text_of(model) or ""):
        made["prompt"] = {"id": model, "variables": kwargs.get("promptVariables")}
    inference = kwargs.get("inferenceConfig")
    for name, renamed in _INFERENCE.items() if inference is not None else ():
        if (value := field(inference, name)) is not None:
            made[renamed] = value
    system = kwargs.get("system")
    if system is not None:
        made["instructions"] = list(_parts(system)) if is_a(system, (list, tuple)) else system
    tools = field(kwargs.get("toolConfig"), "tools")
    if tools is not None:
        made["tools"] = [*filter(None, map(_tool, tools))] if is_a(tools, (list, tuple)) else tools
    if (choice := field(kwargs.get("toolConfig"), "toolChoice")) is not None:
        made["tool_choice"] = _tool_choice(choice)
    _read_format(made, kwargs.get("outputConfig"))
    if (guardrail := field(kwargs.get("guardrailConfig"), "guardrailIdentifier")) is not None:
        made["guardrail"] = guardrail
    if (extra := kwargs.get("additionalModelRequestFields")) is not None:
        _read_extra(made, extra)
    messages = kwargs.get("messages")
    if messages is not None:
        made["messages"] = messages = list(_messages(messages)) if is_a(messages, (list, tuple)) else messages
        if added := _tools_added(kwargs.get("messages"), made.get("tools")):
            made["tools"] = [*made.get("tools", ()), *added]
    return made


def _read_format(made: dict[str, Any], output: Any) -> None:
    format_ = field(output, "textFormat")
    if format_ is not None:
        schema = field(field(format_, "structure"), "jsonSchema")
        made["response_format"] = {"type": field(format_, "type"), "json_schema": schema}
    if (effort := field(output, "effort")) is not None:
        made["reasoning_effort"] = effort


def _read_extra(made: dict[str, Any], extra: Any) -> None:
    # Anthropic's models have the first name; Amazon's have a section of the second.
    top_k = field(extra, "top_k")
    if top_k is None:
        top_k = field(field(extra, "inferenceConfig"), "topK")
    if top_k is not None:
        made["top_k"] = top_k
    thinking = {name: value for name in _THINKING if (value := field(extra, name)) is not None}
    if thinking:
        made["thinking"] = thinking
    if field(field(extra, "tool_choice"), "disable_parallel_tool_use") is True:
        made["parallel_tool_calls"] = False


def _tool(entry: Any) -> dict[str, Any] | None:
    """A tool's declaration, None for a mark of the cache. One that the server runs has no name."""
    spec = field(entry, "toolSpec")
    if spec is not None:
        parameters = field(field(spec, "inputSchema"), "json")
        function = {
            "name": field(spec, "name"),
            "description": field(spec, "description"),
            "parameters": parameters,
        }
        return {"type": "function", "function": function}
    name = text_of(field(field(entry, "systemTool"), "name"))
    return None if name is None else {"type": name}


def _tools_added(messages: Any, tools: Any) -> list[dict[str, Any]]:
    """Tools that a message adds to those of the request, and that the request does not declare."""
    if tools is not None and not is_a(tools, list):
        return []
    declared = {text_of(field(field(entry, "function"), "name")) for entry in tools or ()}
    added: dict[str, dict[str, Any]] = {}
    for message in items_of(messages):
        if text_of(field(message, "role")) != "system":
            continue
        for block in items_of(field(message, "content")):
            name = text_of(field(field(field(block, "toolAddition"), "tool"), "name"))
            if name is not None and name not in declared:
                added[name] = {"type": "function", "function": {"name": name}}
    return list(added.values())


def _tool_choice(choice: Any) -> Any:
    if (tool := field(choice, "tool")) is not None:
        return {"type": "function", "function": {"name": field(tool, "name")}}
    return "required" if field(choice, "any") is not None else "auto"


def _messages(messages: Iterable[Any]) -> Iterator[Any]:
    for message in messages:
        role, blocks = field(message, "role"), items_of(field(message, "content"))
        calls, results, rest = [], [], []
        for block in blocks:
            if (call := field(block, CALL)) is not None:
                if not is_of_server(call):
                    calls.append(_call(call))
            elif (result := field(block, RESULT)) is not None:
                # The model's own messages tell what the server ran.
                if text_of(role) != "assistant":
                    results.append(_result(result))
            else:
                rest.append(block)
        yield from results
        if rest or calls or not results:
            made = {"role": role, "content": list(_parts(rest))}
            if calls:
                made["tool_calls"] = calls
            yield made


def _call(call: Any) -> dict[str, Any]:
    function = {"name": field(call, "name"), "arguments": field(call, "input")}
    return {"id": field(call, "toolUseId"), "type": "function", "function": function}


def _result(result: Any) -> dict[str, Any]:
    content = field(result, "content")
    parts = list(_parts(content)) if is_a(content, (list, tuple)) else content
    return {"role": "tool", "tool_call_id": field(result, "toolUseId"), "content": parts}


def _parts(blocks: Iterable[Any]) -> Iterator[Any]:
    """Blocks of content as parts. Those that say nothing to the model, such as marks of the cache, are left out."""
    for block in blocks:
        text = text_in(block)
        if text is not None:
            yield {"type": "text", "text": text}
            continue
        thought = thought_in(block)
        if thought is not None:
            yield {"type": "thinking", "thinking": thought}
            continue
        if (value := field(block, "json")) is not None:
            yield {"type": "json", "json": value}
            continue
        guarded = field(block, "guardContent")
        source = block if guarded is None else guarded
        for kind in MEDIA:
            if (media := field(source, kind)) is not None:
                yield {"type": kind, "source": _source(media, kind)}


def _source(media: Any, kind: str) -> dict[str, Any]:
    """Where the content of a file is, in the fields of Anthropic's `source`."""
    source, format_ = field(media, "source"), text_of(field(media, "format"))
    media_type = None if format_ is None else types_map.get(f".{format_}", f"{kind}/{format_}")
    if (data := field(source, "bytes")) is not None:
        return {"type": "bytes", "media_type": media_type, "data": data}
    if (address := text_of(field(field(source, "s3Location"), "uri"))) is not None:
        return {"type": "url", "media_type": media_type, "url": address}
    inner = (text_of(field(part, "text")) for part in items_of(field(source, "content")))
    texts = [text_of(field(source, "text")), *inner]
    return {"type": "text", "media_type": "text/plain", "data": "\n".join(filter(None, texts))}
