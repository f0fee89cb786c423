"""Requests and responses in the terms of the GenAI semantic conventions, for util-genai to write down.

Messages and tool definitions are content: they are only made where the user opted in
(`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`, or a completion hook). Their shapes: "GenAI messages Python
models" of the conventions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opentelemetry.util.genai.invocation import InferenceInvocation
from opentelemetry.util.genai.types import (
    FunctionToolDefinition,
    GenericToolDefinition,
    InputMessage,
    MessagePart,
    OutputMessage,
    ReasoningPart,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
    ToolDefinition,
    UriPart,
)
from opentelemetry.util.genai.utils import image_from_url, object_to_any_value

from otel_llm.fields import field, given, items_of, text_of
from otel_llm.recording import Choice, Recording, ToolCall
from otel_llm.unicode_text import exportable

_OUTPUT_TYPES = {"json_object": "json", "json_schema": "json", "text": "text"}


def request_content(invocation: InferenceInvocation, kwargs: Mapping[str, Any], *, with_messages: bool) -> None:
    """Set what the conventions say of a request from the keyword arguments of `create`."""

    for name, value in kwargs.items():
        describe = _REQUEST_FIELDS.get(name)
        if describe is not None and value is not None and (value := given(value)) is not None:
            describe(invocation, value)
    if with_messages:
        invocation.input_messages = list(_input_messages(kwargs))
        invocation.tool_definitions = list(_tool_definitions(kwargs)) or None


def _number(attribute: str) -> Callable[[InferenceInvocation, Any], None]:
    def describe(invocation: InferenceInvocation, value: Any) -> None:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            setattr(invocation, attribute, value)

    return describe


def _most_tokens(invocation: InferenceInvocation, value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool):
        invocation.max_tokens = value


def _most_tokens_once(invocation: InferenceInvocation, value: Any) -> None:
    # The older name of it, for a request that does not say the newer one.
    if invocation.max_tokens is None:
        _most_tokens(invocation, value)


def _choices(invocation: InferenceInvocation, value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and value != 1:
        invocation.request_choice_count = value


def _stop(invocation: InferenceInvocation, value: Any) -> None:
    stops = [value] if isinstance(value, str) else items_of(value)
    invocation.stop_sequences = [exportable(text) for text in stops if isinstance(text, str)] or None


def _response_format(invocation: InferenceInvocation, value: Any) -> None:
    # A class of the caller's: `parse()` asks for JSON of its shape.
    invocation.output_type = "json" if isinstance(value, type) else _OUTPUT_TYPES.get(str(field(value, "type")))


def _reasoning_effort(invocation: InferenceInvocation, value: Any) -> None:
    if isinstance(value, str):
        invocation.reasoning_level = exportable(value)


def _reasoning(invocation: InferenceInvocation, value: Any) -> None:
    _reasoning_effort(invocation, field(value, "effort"))


def _text_options(invocation: InferenceInvocation, value: Any) -> None:
    text_format = field(value, "format")
    if text_format is not None:
        _response_format(invocation, text_format)


def _previous_response(invocation: InferenceInvocation, value: Any) -> None:
    if isinstance(value, str):
        invocation.previous_response_id = exportable(value)


def _conversation(invocation: InferenceInvocation, value: Any) -> None:
    conversation = value if isinstance(value, str) else text_of(field(value, "id"))
    if conversation is not None:
        invocation.conversation_id = exportable(conversation)


def _service_tier(invocation: InferenceInvocation, value: Any) -> None:
    if isinstance(value, str) and value != "auto":
        invocation.attributes["openai.request.service_tier"] = exportable(value)


_REQUEST_FIELDS: dict[str, Callable[[InferenceInvocation, Any], None]] = {
    "temperature": _number("temperature"),
    "top_p": _number("top_p"),
    "frequency_penalty": _number("frequency_penalty"),
    "presence_penalty": _number("presence_penalty"),
    "seed": _number("seed"),
    "max_completion_tokens": _most_tokens,
    "max_tokens": _most_tokens_once,
    "n": _choices,
    "stop": _stop,
    "response_format": _response_format,
    "reasoning_effort": _reasoning_effort,
    "service_tier": _service_tier,
    # Those of the Responses API that have other names there.
    "max_output_tokens": _most_tokens,
    "reasoning": _reasoning,
    "text": _text_options,
    "text_format": _response_format,
    "previous_response_id": _previous_response,
    "conversation": _conversation,
}


def response_usage(invocation: InferenceInvocation, usage: Any) -> None:
    """Set the token counts from a `usage` object of a chat completion or, under its other names, of a response."""
    if usage is None:
        return

    try:
        taken, made = usage.prompt_tokens, usage.completion_tokens
        taken_details, made_details = usage.prompt_tokens_details, usage.completion_tokens_details
    except Exception:  # noqa: BLE001  that of a response, a mapping, a mock
        names = ("prompt_tokens", "completion_tokens")
        if field(usage, names[0]) is None:
            names = ("input_tokens", "output_tokens")
        taken, made = field(usage, names[0]), field(usage, names[1])
        taken_details, made_details = field(usage, f"{names[0]}_details"), field(usage, f"{names[1]}_details")
    invocation.input_tokens = _count(taken)
    invocation.output_tokens = _count(made)
    if taken_details is not None:
        invocation.cache_read_input_tokens = _count(field(taken_details, "cached_tokens"))
        invocation.audio_input_tokens = _count(field(taken_details, "audio_tokens"))
    if made_details is not None:
        invocation.thinking_tokens = _count(field(made_details, "reasoning_tokens"))
        invocation.audio_output_tokens = _count(field(made_details, "audio_tokens"))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def output_messages(recording: Recording) -> list[OutputMessage]:
    """What the model answered, a message a choice."""
    return [
        OutputMessage("assistant", list(_output_parts(choice)), exportable(choice.finish_reason or "") or None)
        for choice in recording.choices
    ]


def _output_parts(choice: Choice) -> Iterator[MessagePart]:
    if choice.reasoning_parts:
        yield ReasoningPart(exportable("".join(choice.reasoning_parts)))
    if choice.text_parts:
        yield TextPart(exportable("".join(choice.text_parts)))
    for call in choice.calls:
        yield _requested(call)


def _requested(call: ToolCall) -> ToolCallRequestPart:
    name, call_id = exportable(call.name or ""), None if call.id is None else exportable(call.id)
    return ToolCallRequestPart(_arguments(call.arguments), name, call_id)


def _arguments(text: Any) -> Any:
    """Arguments as the value they are, or as text where they are none."""
    if not isinstance(text, str):
        return object_to_any_value(text)
    text = exportable(text)
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return text
    return value


def _input_messages(kwargs: Mapping[str, Any]) -> Iterator[InputMessage]:
    for message in items_of(given(kwargs.get("messages"))):
        yield _input_message(message)
    for role, name in (("system", "instructions"), ("user", "input")):
        text = text_of(given(kwargs.get(name)))
        if text is not None:
            yield InputMessage(role, [TextPart(exportable(text))])
    for item in items_of(given(kwargs.get("input"))):
        message = _input_item(item)
        if message is not None:
            yield message


def _input_item(item: Any) -> InputMessage | None:
    """An item of a response's input, None where it is none that a message can say."""
    kind = text_of(field(item, "type"))
    call_id = text_of(field(item, "call_id"))
    shown_id = None if call_id is None else exportable(call_id)
    if kind in {"function_call", "custom_tool_call"}:
        arguments = field(item, "arguments" if kind == "function_call" else "input")
        name = exportable(str(field(item, "name") or ""))
        return InputMessage("assistant", [ToolCallRequestPart(_arguments(arguments), name, shown_id)])
    if kind in {"function_call_output", "custom_tool_call_output"}:
        output = field(item, "output")
        text = output if isinstance(output, str) else "".join(_texts(output))
        return InputMessage("tool", [ToolCallResponsePart(exportable(text), shown_id)])
    return None if kind not in {None, "message"} else _input_message(item)


def _input_message(message: Any) -> InputMessage:
    role = exportable(str(field(message, "role") or ""))
    content = field(message, "content")
    if role == "tool":
        call_id = text_of(field(message, "tool_call_id"))
        text = content if isinstance(content, str) else "".join(_texts(content))
        answer = ToolCallResponsePart(exportable(text), None if call_id is None else exportable(call_id))
        return InputMessage(role, [answer])
    parts: list[MessagePart] = list(_content_parts(content))
    for call in items_of(field(message, "tool_calls")):
        body = field(call, "function") or field(call, "custom")
        arguments = field(body, "arguments")
        if arguments is None:
            arguments = field(body, "input")
        call_id = text_of(field(call, "id"))
        tool = exportable(str(field(body, "name") or ""))
        shown_id = None if call_id is None else exportable(call_id)
        parts.append(ToolCallRequestPart(_arguments(arguments), tool, shown_id))
    author = text_of(field(message, "name"))
    return InputMessage(role, parts, None if author is None else exportable(author))


def _content_parts(content: Any) -> Iterator[MessagePart]:
    if isinstance(content, str):
        if content:
            yield TextPart(exportable(content))
        return
    for part in items_of(content):
        kind = field(part, "type")
        if kind in {"image_url", "input_image"}:
            image_url = field(part, "image_url")
            url = image_url if isinstance(image_url, str) else field(image_url, "url")
            image = image_from_url(url) if isinstance(url, str) and url else None
            # An image in the message itself is megabytes; the address of one is what a trace has room for.
            if isinstance(image, UriPart):
                yield image
        else:
            text = field(part, "refusal") if kind == "refusal" else field(part, "text")
            if isinstance(text, str):
                yield TextPart(exportable(text))


def _texts(content: Any) -> Iterator[str]:
    for part in _content_parts(content):
        if isinstance(part, TextPart):
            yield part.content


def _tool_definitions(kwargs: Mapping[str, Any]) -> Iterator[ToolDefinition]:
    for name in ("tools", "functions"):
        for entry in items_of(given(kwargs.get(name))):
            function = field(entry, "function")
            body = entry if function is None else function
            title = text_of(field(body, "name")) or text_of(field(field(entry, "custom"), "name"))
            kind = text_of(field(entry, "type")) or "function"
            if title is not None and kind == "function":
                description = text_of(field(body, "description"))
                parameters = object_to_any_value(field(body, "parameters"))
                shown = None if description is None else exportable(description)
                yield FunctionToolDefinition(exportable(title), shown, parameters)
            else:
                yield GenericToolDefinition(exportable(title or kind), exportable(kind))
