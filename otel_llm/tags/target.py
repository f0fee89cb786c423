"""What calls are rewritten to: custom tags, or real tool calls of the API.  Pure."""

from __future__ import annotations

from typing import Any, Literal

from otel_llm.tags.custom_tags import ToolCallTags, read_tags
from otel_llm.tags.rewriter import ToolCallTagRewriter

Target = ToolCallTagRewriter | Literal["openai"]


def read_target(form: Any) -> Target | None:
    """The target in any form in which users give it, or None for none.

    Raises ValueError for tags that cannot be used, and TypeError for an object of another type.
    """
    if form is None or (isinstance(form, str) and not form.strip()):
        return None
    if isinstance(form, ToolCallTagRewriter):
        return form
    if isinstance(form, ToolCallTags):
        return ToolCallTagRewriter(form)
    if isinstance(form, str):
        return "openai" if form.strip() == "openai" else ToolCallTagRewriter(read_tags(form))
    raise TypeError(
        f"tool-call tags must be a string, ToolCallTags or a ToolCallTagRewriter, not {type(form).__name__}"
    )


def described(target: Target) -> str:
    """The target for telemetry: `openai`, or both tags."""
    if isinstance(target, str):
        return target
    tags = target.target_tags
    return f"{tags.opening.strip()}...{tags.closing.strip()}"
