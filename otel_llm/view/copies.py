"""A request as a curl command and as a test case, to be copied.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from otel_llm.telemetry import semconv
from otel_llm.view.anthropic_copy import anthropic_curl
from otel_llm.view.curl import curl_command, server_of

_PARAMETERS = {
    semconv.GEN_AI_REQUEST_TEMPERATURE: "temperature",
    semconv.GEN_AI_REQUEST_TOP_K: "top_k",
    semconv.GEN_AI_REQUEST_TOP_P: "top_p",
    semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY: "frequency_penalty",
    semconv.GEN_AI_REQUEST_PRESENCE_PENALTY: "presence_penalty",
    semconv.GEN_AI_REQUEST_SEED: "seed",
    semconv.GEN_AI_REQUEST_MAX_TOKENS: "max_completion_tokens",
    semconv.GEN_AI_REQUEST_CHOICE_COUNT: "n",
    semconv.GEN_AI_REQUEST_STOP_SEQUENCES: "stop",
}
_PARAMETERS_OF_RESPONSES = {
    semconv.GEN_AI_REQUEST_MAX_TOKENS: "max_output_tokens",
    semconv.GEN_AI_REQUEST_PREVIOUS_RESPONSE_ID: "previous_response_id",
}
_MOST_CHUNKS = 2000


def curl(document: Mapping[str, Any]) -> str:
    """The request as a command for a POSIX shell, with a placeholder in capitals for what was not captured."""
    attributes = document["attributes"]
    if attributes.get(semconv.OTEL_LLM_API) == "messages":
        return anthropic_curl(document)
    is_responses = attributes.get(semconv.OPENAI_API_TYPE) == "responses"
    messages = _messages(document["messages"])
    body: dict[str, Any] = {"model": document["model"]}
    if is_responses:
        body["input"] = [item for message in messages for item in _items(message)]
    else:
        body["messages"] = messages
    if document["declared_tools"]:
        tools = [_tool(tool) for tool in document["declared_tools"]]
        body["tools"] = [_flat(tool) for tool in tools] if is_responses else tools
    parameters = _PARAMETERS | _PARAMETERS_OF_RESPONSES if is_responses else _PARAMETERS
    body |= {key: attributes[name] for name, key in parameters.items() if name in attributes}
    if document["stream"]:
        body["stream"] = True
    url = f"{server_of(attributes, '/v1') or '$OPENAI_BASE_URL'}/{'responses' if is_responses else 'chat/completions'}"
    headers = ['-H "Authorization: Bearer $OPENAI_API_KEY"', "-H 'Content-Type: application/json'"]
    return curl_command(url, headers, body)


def _messages(messages: Mapping[str, Any] | None) -> list[Any]:
    captured = (messages or {}).get("input")
    if not isinstance(captured, list):
        return [{"role": "user", "content": "THE MESSAGES WERE NOT CAPTURED"}]
    system = (messages or {}).get("system")
    head = [{"role": "system", "content": _text(system)}] if isinstance(system, list) and system else []
    return [*head, *(one for message in captured if isinstance(message, dict) for one in _message(message))]


def _message(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    captured = message.get("parts")
    parts = [part for part in captured if isinstance(part, dict)] if isinstance(captured, list) else []
    for part in parts:
        if part.get("type") == "tool_call_response":
            response = part.get("response", part.get("result", ""))
            content = response if isinstance(response, str) else json.dumps(response)
            yield {"role": "tool", "tool_call_id": part.get("id"), "content": content}
    calls = [_call(part) for part in parts if part.get("type") == "tool_call"]
    text = _text(parts)
    if calls:
        yield {"role": message.get("role"), "content": text or None, "tool_calls": calls}
    elif text or message.get("role") != "tool":
        yield {"role": message.get("role"), "content": text}


def _call(part: Mapping[str, Any]) -> dict[str, Any]:
    arguments = part.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": part.get("id"), "type": "function", "function": {"name": part.get("name"), "arguments": text}}


def _text(parts: Sequence[Any]) -> str:
    return "".join(
        str(part.get("content", "")) for part in parts if isinstance(part, dict) and part.get("type") == "text"
    )


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict) or "function" in tool:
        return tool
    if tool.get("type", "function") != "function":
        return tool
    function = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": "function", "function": function}


def _flat(tool: Any) -> Any:
    """A tool as the Responses API declares it."""
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        return {"type": "function", **tool["function"]}
    return tool


def _items(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A message as items of the Responses API's input."""
    if "tool_call_id" in message:
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}
        return
    if message["content"] is not None:
        yield {"role": message["role"], "content": message["content"]}
    for call in message.get("tool_calls", ()):
        yield {"type": "function_call", "call_id": call["id"], **call["function"]}


def test_case(document: Mapping[str, Any]) -> str:
    """A pytest test with the chunks of the request's tool calls, for code that reads them."""
    chunks, is_whole = _chunks(document)
    called = [
        [lane["name"], lane["arguments"] if not lane["arguments_cut"] else None]
        for lane in document["lanes"]
        if lane["kind"] == "tool_call"
    ]
    how = "as they streamed" if is_whole else "as far as they were recorded (some text was cut or folded)"
    lines = ",\n".join(f"    {_literal(chunk)}" for chunk in chunks)
    return f'''"""The tool calls of request {document["id"]}, {how}."""

CHUNKS = [
{lines},
]
EXPECTED = {_literal(called)}


def tool_calls(chunks):
    """Replace this by the code under test: chunks in, [name, arguments] of each call out."""
    calls = []
    for chunk in chunks:
        for choice in chunk["choices"]:
            for delta in choice["delta"].get("tool_calls", ()):
                if delta.get("id") is not None or not calls:
                    calls.append([None, ""])
                calls[-1][0] = delta["function"].get("name") or calls[-1][0]
                calls[-1][1] += delta["function"].get("arguments") or ""
    return calls


def test_tool_calls():
    assert tool_calls(CHUNKS) == EXPECTED
'''


def _chunks(document: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """Chunks with the contents of the deltas, and whether they are complete."""
    lanes = document["lanes"]
    begun: set[int] = set()
    lengths: dict[int, int] = {}
    is_whole = len(document["deltas"]) <= _MOST_CHUNKS
    chunks = []
    for _, number, text, length, folded in document["deltas"][:_MOST_CHUNKS]:
        lane = lanes[number]
        function: dict[str, Any] = {"arguments": text or ""}
        delta: dict[str, Any] = {"index": lane["index"], "function": function}
        if number not in begun:
            begun.add(number)
            delta |= {"id": lane["call_id"], "type": "function"}
            function["name"] = lane["name"]
        lengths[number] = lengths.get(number, 0) + len(text or "")
        is_whole = is_whole and folded == 1 and lengths[number] >= length
        chunks.append(_chunk(lane["choice"], {"tool_calls": [delta]}))
    chunks += [_chunk(finish["choice"], {}, finish["reason"]) for finish in document["finish_reasons"]]
    return chunks, is_whole


def _chunk(choice: int, delta: dict[str, Any], finish_reason: Any = None) -> dict[str, Any]:
    return {"choices": [{"index": choice, "delta": delta, "finish_reason": finish_reason}]}


def _literal(value: Any) -> str:
    # Python's own spelling keeps whatever a model wrote inside a literal.
    return ascii(value)
