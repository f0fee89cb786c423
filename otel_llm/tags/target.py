"""What calls are rewritten to: custom tags, or real tool calls of the API.  Pure."""

from __future__ import annotations

from typing import Any, Literal

from otel_llm.tags.custom_tags import NAMED_TAGS, ToolCallTags, as_name, is_bare_word, read_tags
from otel_llm.tags.rewriter import ToolCallTagRewriter

# A word of which so much is that of a name, in two of six letters or so, is taken for a slip.
_ALIKE = 0.66
_LONGEST_NAME = 20
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
        return "openai" if as_name(form) == "openai" else ToolCallTagRewriter(read_tags(form))
    raise TypeError(
        f"tool-call tags must be a string, ToolCallTags or a ToolCallTagRewriter, not {type(form).__name__}"
    )


def doubt_about(form: Any) -> str | None:
    """A sentence about a word that is probably a misspelt name, None if there is no doubt. It is a usable target."""
    word = form.strip() if isinstance(form, str) else ""
    known = ["openai", *NAMED_TAGS]
    if not is_bare_word(word) or as_name(word) in known:
        return None
    from difflib import get_close_matches

    near = get_close_matches(as_name(word)[:_LONGEST_NAME], known, n=1, cutoff=_ALIKE)
    if not near:
        return None
    return f'"{word}" is no known target; taken as the tag {read_tags(word).opening}; did you mean "{near[0]}"?'


def described(target: Target) -> str:
    """The target for telemetry: `openai`, or both tags."""
    if isinstance(target, str):
        return target
    tags = target.target_tags
    return f"{tags.opening.strip()}...{tags.closing.strip()}"
