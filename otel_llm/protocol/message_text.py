"""What a message says and thinks where it is no plain string.  Pure; nothing here raises.

An answer's content is a list of parts where models of Mistral or behind Databricks reason, streamed too:
`{"type": "text", "text": …}`, and for thoughts `{"type": "thinking", "thinking": [parts with a text]}` or
`{"type": "reasoning", "summary": [parts with a text]}`, of which a string may be the other half of the stream.
(https://docs.mistral.ai/capabilities/reasoning)

Most servers have the thoughts in a field of their own, of the delta or the message: `REASONING_FIELDS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otel_llm.protocol.fields import field, items_of, text_of

# Where there are several they say the same.
REASONING_FIELDS = (
    "reasoning_content",  # DeepSeek, SGLang, llama.cpp; of some gateways an object with a `text`
    "reasoning",  # vLLM, Groq, Cerebras, OpenRouter
    "reasoning_text",  # Copilot
    "reasoning_details",  # a list: MiniMax, and OpenRouter beside `reasoning`
)


def content_text(content: Any) -> str | None:
    """What a content says that is text: a string that is not empty, or a number, which Cloudflare makes of digits."""
    kind = type(content)
    if kind is not int and kind is not float:
        return text_of(content)
    try:
        return str(content)
    except ValueError:
        # More digits than Python writes.
        return None


def part_texts(parts: Any) -> Iterator[str]:
    """The texts of a list of parts."""
    for part in items_of(parts):
        text = text_of(field(part, "text"))
        if text is not None:
            yield text


def part_reasoning(part: Any) -> str:
    """What a part thinks: in pieces, as most write it, or at once, as Anthropic does. Empty for another part."""
    return _thought(field(part, "thinking")) or _thought(field(part, "summary"))


def _thought(value: Any) -> str:
    return text_of(value) or "".join(part_texts(value))


def reasoning_text(value: Any) -> str:
    """The text of one of `REASONING_FIELDS`: a string, an object with a text, or a list of them."""
    text = text_of(value) or text_of(field(value, "text"))
    return text or "".join(text_of(field(part, "text")) or part_reasoning(part) for part in items_of(value))
