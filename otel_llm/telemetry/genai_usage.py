"""Token counts of a response as attributes of the GenAI semantic conventions, for util-genai to record."""

from __future__ import annotations

from typing import Any

from opentelemetry.util.genai.invocation import InferenceInvocation

from otel_llm.protocol.fields import field


def response_usage(invocation: InferenceInvocation, usage: Any) -> None:
    """Set the token counts from the `usage` of a chat completion or, with its other names, of a response."""
    if usage is None:
        return
    try:
        input_tokens, output_tokens = usage.prompt_tokens, usage.completion_tokens
        input_details, output_details = usage.prompt_tokens_details, usage.completion_tokens_details
    except Exception:  # noqa: BLE001  of the Responses API, a mapping, or a mock
        names = ("prompt_tokens", "completion_tokens")
        if field(usage, names[0]) is None:
            names = ("input_tokens", "output_tokens")
        input_tokens, output_tokens = field(usage, names[0]), field(usage, names[1])
        input_details, output_details = field(usage, f"{names[0]}_details"), field(usage, f"{names[1]}_details")
    invocation.input_tokens = _count(input_tokens)
    invocation.output_tokens = _count(output_tokens)
    if input_details is not None:
        invocation.cache_read_input_tokens = _count(field(input_details, "cached_tokens"))
        invocation.cache_write_input_tokens = _count(field(input_details, "cache_write_tokens"))
        invocation.audio_input_tokens = _count(field(input_details, "audio_tokens"))
    if output_details is not None:
        invocation.thinking_tokens = _count(field(output_details, "reasoning_tokens"))
        invocation.audio_output_tokens = _count(field(output_details, "audio_tokens"))
    # Some servers send details next to the totals. In an SDK's object they are extra fields; those are read directly,
    # because pydantic is slow to report a missing field.
    extra = field(usage, "__pydantic_extra__")
    if extra is None:
        extra = usage
    elif not extra:
        return
    if invocation.cache_read_input_tokens is None:
        hits = _count(field(extra, "prompt_cache_hit_tokens"))
        invocation.cache_read_input_tokens = _count(field(extra, "cached_tokens")) if hits is None else hits
    if invocation.thinking_tokens is None:
        invocation.thinking_tokens = _count(field(extra, "reasoning_tokens"))


def _count(value: Any) -> int | None:
    # An integer beyond 64 bits would fail the whole export.
    return value if type(value) is int and 0 <= value < 2**63 else None
