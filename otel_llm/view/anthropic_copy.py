"""A request to Anthropic's API as a curl command, to be copied.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from otel_llm.telemetry import semconv
from otel_llm.view.curl import curl_command, server_of

_PARAMETERS = {
    semconv.GEN_AI_REQUEST_TEMPERATURE: "temperature",
    semconv.GEN_AI_REQUEST_TOP_K: "top_k",
    semconv.GEN_AI_REQUEST_TOP_P: "top_p",
    semconv.GEN_AI_REQUEST_STOP_SEQUENCES: "stop_sequences",
}
_MOST_TOKENS = 1024
_VERSION = "2023-06-01"
# Their requests are signed, and have other paths.
_ELSEWHERE = frozenset({"aws.bedrock", "gcp.vertex_ai"})


def anthropic_curl(document: Mapping[str, Any]) -> str:
    """The request as a command for a POSIX shell, with a placeholder in capitals for what was not captured.

    A request to Bedrock or Vertex AI becomes the same request to Anthropic's own API.
    """
    attributes = document["attributes"]
    body: dict[str, Any] = {
        "model": document["model"],
        "max_tokens": attributes.get(semconv.GEN_AI_REQUEST_MAX_TOKENS, _MOST_TOKENS),
    }
    captured = document["messages"] or {}
    if isinstance(captured.get("system"), list) and captured["system"]:
        body["system"] = "".join(_texts(captured["system"]))
    body["messages"] = [{"role": "user", "content": "THE MESSAGES WERE NOT CAPTURED"}]
    if isinstance(captured.get("input"), list):
        body["messages"] = list(_messages(captured["input"]))
    if document["declared_tools"]:
        body["tools"] = [_tool(tool) for tool in document["declared_tools"]]
    body |= {key: attributes[name] for name, key in _PARAMETERS.items() if name in attributes}
    if document["stream"]:
        body["stream"] = True
    is_elsewhere = attributes.get(semconv.GEN_AI_PROVIDER_NAME) in _ELSEWHERE
    server = (None if is_elsewhere else server_of(attributes)) or "https://api.anthropic.com"
    headers = [
        '-H "x-api-key: $ANTHROPIC_API_KEY"',
        f"-H 'anthropic-version: {_VERSION}'",
        "-H 'content-type: application/json'",
    ]
    return curl_command(f"{server}/v1/messages", headers, body)


def _messages(messages: list[Any]) -> Iterator[dict[str, Any]]:
    for message in messages:
        if not isinstance(message, dict):
            continue
        blocks = list(_blocks(message.get("parts")))
        if blocks:
            # Results have a role of their own in the telemetry.
            yield {"role": "assistant" if message.get("role") == "assistant" else "user", "content": blocks}


def _blocks(parts: Any) -> Iterator[dict[str, Any]]:
    for part in parts if isinstance(parts, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            yield {"type": "text", "text": str(part.get("content", ""))}
        elif kind == "tool_call":
            arguments = part.get("arguments")
            yield {"type": "tool_use", "id": part.get("id"), "name": part.get("name"), "input": _input(arguments)}
        elif kind == "tool_call_response":
            result = part.get("response", part.get("result", ""))
            text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
            yield {"type": "tool_result", "tool_use_id": part.get("id"), "content": text}


def _input(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments if isinstance(arguments, dict) else {}
    try:
        value = json.loads(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _texts(parts: list[Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, dict) and part.get("type") == "text":
            yield str(part.get("content", ""))


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict) or tool.get("type", "function") != "function":
        return tool
    function = tool["function"] if isinstance(tool.get("function"), dict) else tool
    made = {name: function[name] for name in ("name", "description") if function.get(name) is not None}
    return {**made, "input_schema": function.get("parameters") or {"type": "object"}}
