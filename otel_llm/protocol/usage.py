"""The usage that a response reports.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from otel_llm.protocol.fields import field, index_of, is_a, items_of, undeclared_field

# Of chat completions, and of the Responses API.
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")


def token_counts(usage: Any) -> Iterator[float]:
    """The numbers of tokens that a usage holds, none if it has nulls in their place."""
    for name in () if usage is None else _COUNTS:
        count = undeclared_field(usage, name)
        if is_a(count, (int, float)):
            yield count


def reasoning_tokens(usage: Any) -> int:
    """How many of the tokens were thoughts, which need not be shown; 0 if that is not told."""
    for name in ("completion_tokens_details", "output_tokens_details"):
        count = index_of(undeclared_field(undeclared_field(usage, name), "reasoning_tokens"))
        if count:
            return count
    return 0


def says_something(usage: Any) -> bool:
    """Whether a usage is more than nulls and zeros."""
    # First the usual form, since some servers send it with every chunk.
    with suppress(Exception):
        if usage.prompt_tokens > 0:
            return True
    return any(count > 0 for count in token_counts(usage))


def misplaced_usage(chunk: Any) -> Any:
    """The usage in `x_groq` (Groq) or in the choice (Moonshot) of the chunk with the finish reason."""
    usage = field(undeclared_field(chunk, "x_groq"), "usage")
    choices = items_of(field(chunk, "choices"))
    return undeclared_field(choices[-1], "usage") if usage is None and choices else usage
