"""Text and reasoning in contents that are not plain strings, and in the fields of providers.  Pure; never raises.

A content, streamed or not, may be a list of parts (Mistral's reasoning models, and models behind Databricks):

- `{"type": "text", "text": "…"}`
- `{"type": "thinking", "thinking": […]}` or `{"type": "reasoning", "summary": […]}`, a list of parts with a `text`.
  Anthropic's `thinking` is a string.

In one stream, some chunks may have a list and others a string.
Source: https://docs.mistral.ai/capabilities/reasoning

Most servers put reasoning into a field of its own instead, beside the content: see `REASONING_FIELDS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otel_llm.protocol.fields import field, items_of, text_of

# Of a delta or a message. If it has several of them, they say the same.
REASONING_FIELDS = (
    "reasoning_content",  # DeepSeek, SGLang, llama.cpp; some gateways send an object with a `text`
    "reasoning",  # vLLM, Groq, Cerebras, OpenRouter
    "reasoning_text",  # Copilot
    "reasoning_details",  # a list: MiniMax, and OpenRouter beside `reasoning`
)


def content_text(content: Any) -> str | None:
    """The text of a content that is a string or a number, None if it is empty or anything else.

    Cloudflare sends a number if the text is all digits.
    """
    kind = type(content)
    if kind is not int and kind is not float:
        return text_of(content)
    try:
        return str(content)
    except ValueError:
        # More digits than Python converts.
        return None


def part_texts(parts: Any) -> Iterator[str]:
    """The texts in a list of parts."""
    for part in items_of(parts):
        text = text_of(field(part, "text"))
        if text is not None:
            yield text


def text_of_content(content: Any) -> str:
    """The text of a content, whether it is a string or a list of parts; empty if it has none."""
    return content_text(content) or "\n".join(part_texts(content))


def part_reasoning(part: Any) -> str:
    """The reasoning in one part of a content, empty if it has none."""
    return _text_or_parts(field(part, "thinking")) or _text_or_parts(field(part, "summary"))


def is_media(part: Any) -> bool:
    """Whether a part of a content is an image, speech or a file."""
    kind = text_of(field(part, "type")) or ""
    return any(word in kind for word in ("image", "audio", "video", "file"))


def _text_or_parts(value: Any) -> str:
    return text_of(value) or "".join(part_texts(value))


def reasoning_text(value: Any) -> str:
    """The text in one of `REASONING_FIELDS`: a string, an object with a `text`, or a list of such or of parts."""
    text = text_of(value) or text_of(field(value, "text"))
    return text or "".join(text_of(field(part, "text")) or part_reasoning(part) for part in items_of(value))
