"""Messages and tool definitions in the shapes of the GenAI semantic conventions, for util-genai to record.

They are content, so they are built only if the user opted in (`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`, or
a completion hook). Source of the shapes: "GenAI messages Python models" of the conventions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.util.genai.invocation import FetchResponseInvocation, InferenceInvocation
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
from otel_llm.protocol.fields import field, given, is_a, is_empty, items_of, text_of
from otel_llm.protocol.implied_ids import real_id
from otel_llm.protocol.item_kinds import arguments_of, is_call, name_of, result_of, runs_on_server, tools_in
from otel_llm.protocol.message_text import REASONING_FIELDS, part_texts, reasoning_text
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.genai_parts import Blobs, content_parts
from otel_llm.telemetry.plain_values import plain_arguments, plain_value
from otel_llm.transparency.faults import attempt

# What every mark of thoughts begins with.
_MARK_FIRST = re.compile(r"[<\[\u25c1]")


def request_content(invocation: InferenceInvocation, kwargs: Mapping[str, Any]) -> None:
    """Set the messages and tool definitions of a request from the keyword arguments of `create`."""
    invocation.input_messages = list(_input_messages(kwargs))
    instructions = given(kwargs.get("instructions"))
    if not is_empty(instructions):
        invocation.system_instruction = list(content_parts(instructions, Blobs()))
    invocation.tool_definitions = list(_tool_definitions(kwargs)) or None


def echoed_content(invocation: FetchResponseInvocation, response: Any) -> None:
    """Set the instructions and tool definitions of the request that a response repeats."""
    instructions = text_of(field(response, "instructions"))
    if instructions is not None:
        invocation.system_instruction = list(content_parts(instructions, Blobs()))
    invocation.tool_definitions = list(_tool_definitions({"tools": field(response, "tools")})) or None


def output_messages(recording: Recording) -> list[OutputMessage]:
    """The model's answer, one message per choice."""
    return [
        OutputMessage(
            "assistant", list(_output_parts(recording, choice)), exportable(choice.finish_reason or "") or None
        )
        for choice in recording.choices
    ]


def _output_parts(recording: Recording, choice: Choice) -> Iterator[MessagePart]:
    if recording.compacted:
        yield CompactionPart(_text(recording.compaction_id))
    if reasoning := choice.reasoning.whole:
        yield ReasoningPart(exportable(reasoning))
    if text := choice.text.whole:
        yield from [ReasoningPart(exportable(text.strip()))] if choice.text_is_thoughts else _said(text)
    for call in choice.calls:
        yield _call(call.name, call.arguments, call.id, is_free_text=call.kind == "custom")


def _said(text: str) -> Iterator[MessagePart]:
    """A text by its parts: the thoughts that are marked in it, and the rest."""
    if _MARK_FIRST.search(text) is None:
        yield TextPart(exportable(text))
        return
    from otel_llm.tags.thoughts import read_layout  # rarely needed

    place = 0
    for thought in read_layout(text).thoughts:
        if before := text[place : thought.start].strip():
            yield TextPart(exportable(before))
        if inner := thought.inner.strip():
            yield ReasoningPart(exportable(inner))
        place = thought.end
    if rest := text[place:].strip() if place else text:
        yield TextPart(exportable(rest))


def _call(name: Any, arguments: Any, call_id: Any, *, is_free_text: bool = False) -> ToolCallRequestPart:
    """`is_free_text`: the input of a custom tool is text, even if it happens to be JSON."""
    text = text_of(arguments) if is_free_text else None
    return ToolCallRequestPart(
        plain_arguments(arguments) if text is None else exportable(text),
        exportable(text_of(name) or ""),
        _text(real_id(call_id)),
    )


def _text(text: Any) -> str | None:
    text = text_of(text)
    return None if text is None else exportable(text)


def _input_messages(kwargs: Mapping[str, Any]) -> Iterator[InputMessage]:
    blobs = Blobs()
    # A message that raises when it is read is skipped; the others are kept.
    given_messages = items_of(given(kwargs.get("messages")))
    messages = [attempt("a message", _input_message, message, blobs) for message in given_messages]
    given_input = given(kwargs.get("input"))
    text = text_of(given_input)
    if text is not None:
        messages.append(InputMessage("user", [TextPart(exportable(text))]))
    messages += [attempt("an item", _input_item, item, blobs) for item in items_of(given_input)]
    # Messages with no remaining parts are omitted.
    return (message for message in messages if message is not None and message.parts)


def _input_item(item: Any, blobs: Blobs) -> InputMessage:
    """An input item of the Responses API as a message, without parts if it is of another kind."""
    kind = text_of(field(item, "type")) or "message"
    if kind == "message":
        return _input_message(item, blobs)
    if is_call(kind) and not runs_on_server(item, kind):
        is_free_text = kind == "custom_tool_call"
        call = _call(name_of(item, kind), arguments_of(item, kind), field(item, "call_id"), is_free_text=is_free_text)
        return InputMessage("assistant", [call])
    if kind.endswith("_call_output"):
        call_id = result_of(item, kind) or field(item, "call_id")
        return InputMessage("tool", [_result(field(item, "output"), call_id, blobs)])
    if kind == "reasoning":
        thoughts = (*part_texts(field(item, "summary")), *part_texts(field(item, "content")))
        return InputMessage("assistant", [ReasoningPart(exportable(text)) for text in thoughts])
    return InputMessage("assistant", [CompactionPart(_text(field(item, "id")))] if kind == "compaction" else [])


def _input_message(message: Any, blobs: Blobs) -> InputMessage:
    role = _text(field(message, "role")) or ""
    content = field(message, "content")
    author = _text(field(message, "name"))
    if role in {"tool", "function"}:
        return InputMessage(role, [_result(content, field(message, "tool_call_id"), blobs)], author)
    parts: list[MessagePart] = []
    thought = next(filter(None, (reasoning_text(field(message, name)) for name in REASONING_FIELDS)), None)
    if thought is not None:
        parts.append(ReasoningPart(exportable(thought)))
    parts += content_parts(content, blobs)
    audio = field(message, "audio")
    # The server keeps the assistant's audio; a message that is sent back whole also has the transcript.
    for text in (text_of(field(message, "refusal")), text_of(field(audio, "transcript"))):
        if text is not None:
            parts.append(TextPart(exportable(text)))
    spoken = _text(field(audio, "id"))
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


def _result(content: Any, call_id: Any, blobs: Blobs) -> ToolCallResponsePart:
    """A tool's result: its text, or parts if it has images or files too, or any other value unchanged."""
    whole = content if is_a(content, (str, list, tuple)) else [content]
    parts = list(content_parts(whole, blobs))
    if all(isinstance(part, TextPart) for part in parts):
        text = "".join(part.content for part in parts if isinstance(part, TextPart))
        response = text if text or content is None else plain_value(content)
    else:
        response = parts
    return ToolCallResponsePart(response, _text(real_id(call_id)))


def _tool_definitions(kwargs: Mapping[str, Any]) -> Iterator[ToolDefinition]:
    given_items = items_of(given(kwargs.get("input")))
    declared = (
        *(items_of(given(kwargs.get(name))) for name in ("tools", "functions")),
        *(tools_in(item, field(item, "type")) for item in given_items),
    )
    for entries in declared:
        for entry in entries:
            function = field(entry, "function")
            body = entry if function is None else function
            title = text_of(field(body, "name")) or text_of(field(field(entry, "custom"), "name"))
            kind = text_of(field(entry, "type")) or "function"
            if title is not None and kind == "function":
                parameters = plain_value(field(body, "parameters"))
                yield FunctionToolDefinition(exportable(title), _text(field(body, "description")), parameters)
            else:
                yield GenericToolDefinition(exportable(title or kind), exportable(kind))
