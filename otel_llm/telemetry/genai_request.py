"""The parameters of a request as attributes of the GenAI semantic conventions, for util-genai to record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.util.genai.invocation import InferenceInvocation

from otel_llm.protocol.fields import field, given, items_of, text_of
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.semconv import AWS_BEDROCK_GUARDRAIL_ID, OPENAI_REQUEST_SERVICE_TIER

_OUTPUT_TYPES = {"json_object": "json", "json_schema": "json", "text": "text"}


def request_parameters(invocation: InferenceInvocation, kwargs: Mapping[str, Any]) -> None:
    """Set the parameters of a request from the keyword arguments of `create`."""
    for name, value in kwargs.items():
        describe = _PARAMETERS.get(name)
        if describe is not None and value is not None and (value := given(value)) is not None:
            describe(invocation, value)


def _number(attribute: str) -> Callable[[InferenceInvocation, Any], None]:
    def describe(invocation: InferenceInvocation, value: Any) -> None:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            setattr(invocation, attribute, value)

    return describe


def _max_tokens(invocation: InferenceInvocation, value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool):
        invocation.max_tokens = value


def _max_tokens_by_old_name(invocation: InferenceInvocation, value: Any) -> None:
    # The older name, unless the request has the newer one too.
    if invocation.max_tokens is None:
        _max_tokens(invocation, value)


def _choices(invocation: InferenceInvocation, value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and value != 1:
        invocation.request_choice_count = value


def _stop(invocation: InferenceInvocation, value: Any) -> None:
    stops = [value] if isinstance(value, str) else items_of(value)
    invocation.stop_sequences = [exportable(text) for text in stops if isinstance(text, str)] or None


def _response_format(invocation: InferenceInvocation, value: Any) -> None:
    # A class is what `parse()` takes: the answer is JSON of its shape.
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


def _input(invocation: InferenceInvocation, value: Any) -> None:
    if any(text_of(field(item, "type")) == "compaction" for item in items_of(value)):
        invocation.conversation_compacted = True


def _service_tier(invocation: InferenceInvocation, value: Any) -> None:
    if isinstance(value, str) and value != "auto":
        invocation.attributes[OPENAI_REQUEST_SERVICE_TIER] = exportable(value)


def _guardrail(invocation: InferenceInvocation, value: Any) -> None:
    if isinstance(value, str):
        invocation.attributes[AWS_BEDROCK_GUARDRAIL_ID] = exportable(value)


_PARAMETERS: dict[str, Callable[[InferenceInvocation, Any], None]] = {
    "temperature": _number("temperature"),
    "top_p": _number("top_p"),
    "top_k": _number("top_k"),
    "frequency_penalty": _number("frequency_penalty"),
    "presence_penalty": _number("presence_penalty"),
    "seed": _number("seed"),
    "max_completion_tokens": _max_tokens,
    "max_tokens": _max_tokens_by_old_name,
    "n": _choices,
    "stop": _stop,
    "response_format": _response_format,
    "reasoning_effort": _reasoning_effort,
    "service_tier": _service_tier,
    # Of Bedrock, which has no name for it in OpenAI's APIs.
    "guardrail": _guardrail,
    # Names of the Responses API.
    "input": _input,
    "max_output_tokens": _max_tokens,
    "reasoning": _reasoning,
    "text": _text_options,
    "text_format": _response_format,
    "previous_response_id": _previous_response,
    "conversation": _conversation,
}
