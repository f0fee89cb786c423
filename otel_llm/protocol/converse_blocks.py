"""The content blocks of Bedrock's Converse API: each is a mapping with one key, which is its kind.  Pure.

Source: the Amazon Bedrock API reference, "ContentBlock", "ToolUseBlock" and "ToolResultBlock".
"""

from __future__ import annotations

from typing import Any, Final

from otel_llm.protocol.fields import field, items_of, text_of

CALL: Final = "toolUse"
"""A call that the application answers, unless `is_of_server`."""
RESULT: Final = "toolResult"
MEDIA: Final = ("image", "video", "audio", "document")
"""Blocks with the bytes of a file, or with the place where it is."""


def is_of_server(call: Any) -> bool:
    """Whether the server ran this call by itself."""
    return text_of(field(call, "type")) == "server_tool_use"


def text_in(block: Any) -> str | None:
    """The text that a block says to the model or to the user, None if it has none."""
    text = text_of(field(block, "text")) or text_of(field(field(field(block, "guardContent"), "text"), "text"))
    if text is not None:
        return text
    for kind in ("citationsContent", "searchResult"):
        texts = [text_of(field(part, "text")) for part in items_of(field(field(block, kind), "content"))]
        if any(texts):
            return "".join(filter(None, texts))
    return None


def thought_in(block: Any) -> str | None:
    """The model's thoughts in a block, None if it has none that can be read."""
    return text_of(field(field(field(block, "reasoningContent"), "reasoningText"), "text"))
