"""The text of a content that may be a list of parts (see `message_text.py`), and a content with another text.  Pure."""

from __future__ import annotations

from typing import Any

from otel_llm.protocol.message_text import content_text


def text_of_parts(content: Any) -> str | None:
    """The text of a content, or None if it has none. It may be a list of parts (see `message_text.py`)."""
    if isinstance(content, list):
        texts = [text for part in content if (text := _text_of(part)) is not None]
        return "".join(texts) if texts else None
    return content if type(content) is str else content_text(content)


def with_text(content: Any, text: str) -> Any:
    """A content with another text. In a list of parts, the first one that has a text gets all of it."""
    if not isinstance(content, list):
        return text
    for part in content:
        if _text_of(part) is not None:
            if isinstance(part, dict):
                part["text"] = text
            else:
                part.text = text
            text = ""
    return [*content, {"type": "text", "text": text}] if text else content


def _text_of(part: Any) -> str | None:
    """The text of a part of the kind `text`: a mapping, or a model of an SDK."""
    if isinstance(part, dict):
        text = part.get("text")
    else:
        text = getattr(part, "text", None) if getattr(part, "type", None) == "text" else None
    return text if isinstance(text, str) else None
