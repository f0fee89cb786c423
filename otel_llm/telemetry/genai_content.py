"""Requests and responses in the terms of the GenAI semantic conventions, for util-genai to write down.

Messages and tool definitions are content: they are only made where the user opted in
(`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`, or a completion hook). Their shapes: "GenAI messages Python
models" of the conventions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opentelemetry.util.genai.invocation import InferenceInvocation
from opentelemetry.util.genai.types import (
    CompactionPart,
    FilePart,
    FunctionToolDefinition,
    GenericToolDefinition,
    InputMessage,
    MessagePart,
    Modality,
    OutputMessage,
    ReasoningPart,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
    ToolDefinition,
)

from otel_llm.protocol.choice import Choice
from otel_llm.protocol.fields import field, given, is_a, items_of, text_of
from otel_llm.protocol.message_text import REASONING_FIELDS, texts_of, thoughts_in
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.genai_parts import Blobs, content_parts
from otel_llm.telemetry.plain_values import plain_arguments, plain_value
from otel_llm.telemetry.semconv import (
    OPENAI_REQUEST_SERVICE_TIER,
)
from otel_llm.transparency.faults import attempt

_OUTPUT_TYPES = {"json_object": "json", "json_schema": "json", "text": "text"}
# Items of a response's input that are calls, and where they have what is passed. Those that a server makes and answers
# by itself (searches, MCP, code) are not among them.
_CALL_ITEMS = {
    "function_call": ("arguments",),
    "custom_tool_call": ("input",),
    "computer_call": ("action", "actions"),
    "local_shell_call": ("action",),
    "shell_call": ("action",),
    "apply_patch_call": ("operation",),
}


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
        invocation.attributes[OPENAI_REQUEST_SERVICE_TIER] = exportable(value)


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
        invocation.cache_write_input_tokens = _count(field(taken_details, "cache_write_tokens"))
        invocation.audio_input_tokens = _count(field(taken_details, "audio_tokens"))
    if made_details is not None:
        invocation.thinking_tokens = _count(field(made_details, "reasoning_tokens"))
        invocation.audio_output_tokens = _count(field(made_details, "audio_tokens"))
    # Some have the details beside the sums. An SDK's object is slow to say that it has no such field.
    beside = field(usage, "__pydantic_extra__")
    if beside is None:
        beside = usage
    elif not beside:
        return
    if invocation.cache_read_input_tokens is None:
        hits = _count(field(beside, "prompt_cache_hit_tokens"))
        invocation.cache_read_input_tokens = _count(field(beside, "cached_tokens")) if hits is None else hits
    if invocation.thinking_tokens is None:
        invocation.thinking_tokens = _count(field(beside, "reasoning_tokens"))


def _count(value: Any) -> int | None:
    # What no 64 bits hold would cost the exporter all that goes out with it.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


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
    return _call(call.name, call.arguments, call.id, is_free_text=call.kind == "custom")


def _call(name: Any, arguments: Any, call_id: Any, *, is_free_text: bool = False) -> ToolCallRequestPart:
    """`is_free_text`: what is passed to a custom tool is text, also where it would be JSON."""
    text = text_of(arguments) if is_free_text else None
    return ToolCallRequestPart(
        plain_arguments(arguments) if text is None else exportable(text),
        exportable(text_of(name) or ""),
        _shown(call_id),
    )


def _shown(text: Any) -> str | None:
    text = text_of(text)
    return None if text is None else exportable(text)


def _input_messages(kwargs: Mapping[str, Any]) -> Iterator[InputMessage]:
    blobs = Blobs()
    # One that raises when it is looked at costs the others nothing.
    given_messages = items_of(given(kwargs.get("messages")))
    messages = [attempt("a message", _input_message, message, blobs) for message in given_messages]
    for role, name in (("system", "instructions"), ("user", "input")):
        text = text_of(given(kwargs.get(name)))
        if text is not None:
            messages.append(InputMessage(role, [TextPart(exportable(text))]))
    items = items_of(given(kwargs.get("input")))
    messages += [attempt("an item", _input_item, item, blobs) for item in items]
    # What has nothing that a part can say is no message to the conventions.
    return (message for message in messages if message is not None and message.parts)


def _input_item(item: Any, blobs: Blobs) -> InputMessage:
    """An item of a response's input, without parts where it is none that a message can say."""
    kind = text_of(field(item, "type")) or "message"
    if kind == "message":
        return _input_message(item, blobs)
    if kind in _CALL_ITEMS:
        given_in = (field(item, name) for name in _CALL_ITEMS[kind])
        arguments = next((value for value in given_in if value is not None), None)
        name = text_of(field(item, "name")) or kind.removesuffix("_call")
        call = _call(name, arguments, field(item, "call_id"), is_free_text=kind == "custom_tool_call")
        return InputMessage("assistant", [call])
    if kind.endswith("_call_output"):
        return InputMessage("tool", [_answer(field(item, "output"), field(item, "call_id"), blobs)])
    if kind == "reasoning":
        thoughts = (*texts_of(field(item, "summary")), *texts_of(field(item, "content")))
        return InputMessage("assistant", [ReasoningPart(exportable(text)) for text in thoughts])
    return InputMessage("assistant", [CompactionPart(_shown(field(item, "id")))] if kind == "compaction" else [])


def _input_message(message: Any, blobs: Blobs) -> InputMessage:
    role = _shown(field(message, "role")) or ""
    content = field(message, "content")
    author = _shown(field(message, "name"))
    if role in {"tool", "function"}:
        return InputMessage(role, [_answer(content, field(message, "tool_call_id"), blobs)], author)
    parts: list[MessagePart] = []
    thought = next(filter(None, (thoughts_in(field(message, name)) for name in REASONING_FIELDS)), None)
    if thought is not None:
        parts.append(ReasoningPart(exportable(thought)))
    parts += content_parts(content, blobs)
    audio = field(message, "audio")
    # What the assistant said aloud is kept by the server; a message that is handed back whole has its words, too.
    for text in (text_of(field(message, "refusal")), text_of(field(audio, "transcript"))):
        if text is not None:
            parts.append(TextPart(exportable(text)))
    spoken = _shown(field(audio, "id"))
    if spoken is not None:
        parts.append(FilePart(None, Modality.AUDIO, spoken))
    parts += _calls_of(message)
    return InputMessage(role, parts, author)


def _calls_of(message: Any) -> Iterator[ToolCallRequestPart]:
    for call in items_of(field(message, "tool_calls")):
        custom = field(call, "custom")
        body = field(call, "function") if custom is None else custom
        arguments = field(body, "arguments" if custom is None else "input")
        yield _call(field(body, "name"), arguments, field(call, "id"), is_free_text=custom is not None)
    legacy = field(message, "function_call")
    if legacy is not None:
        yield _call(field(legacy, "name"), field(legacy, "arguments"), None)


def _answer(content: Any, call_id: Any, blobs: Blobs) -> ToolCallResponsePart:
    """A tool's result: its text; parts where there is more to it; else the value it is."""
    whole = content if is_a(content, (str, list, tuple)) else [content]
    parts = list(content_parts(whole, blobs))
    if all(isinstance(part, TextPart) for part in parts):
        text = "".join(part.content for part in parts if isinstance(part, TextPart))
        response = text if text or content is None else plain_value(content)
    else:
        response = parts
    return ToolCallResponsePart(response, _shown(call_id))


def _tool_definitions(kwargs: Mapping[str, Any]) -> Iterator[ToolDefinition]:
    for name in ("tools", "functions"):
        for entry in items_of(given(kwargs.get(name))):
            function = field(entry, "function")
            body = entry if function is None else function
            title = text_of(field(body, "name")) or text_of(field(field(entry, "custom"), "name"))
            kind = text_of(field(entry, "type")) or "function"
            if title is not None and kind == "function":
                description = text_of(field(body, "description"))
                parameters = plain_value(field(body, "parameters"))
                shown = None if description is None else exportable(description)
                yield FunctionToolDefinition(exportable(title), shown, parameters)
            else:
                yield GenericToolDefinition(exportable(title or kind), exportable(kind))
