"""The text of a content that may be a list of parts (see `message_text.py`), and a content with another text.  Pure."""

from __future__ import annotations

from typing import Any

from otel_llm.protocol.message_text import content_text


def text_of_parts(content: Any) -> str | None:
    """The text of a content, or None if it has none. It may be a list of parts (see `message_text.py`)."""
    if isinstance(content, list):
        texts = [part["text"] for part in content if _is_text(part)]
        return "".join(texts) if texts else None
    return content if type(content) is str else content_text(content)


def with_text(content: Any, text: str) -> Any:
    """A content with another text. In a list of parts, the first one that has a text gets all of it."""
    if not isinstance(content, list):
        return text
    for part in content:
        if _is_text(part):
            part["text"], text = text, ""
    return [*content, {"type": "text", "text": text}] if text else content


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
