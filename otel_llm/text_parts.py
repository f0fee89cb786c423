"""Texts and thoughts in a list of parts, as a message's content may be one.  Pure; nothing here raises.

Answers are such lists at Mistral, where its models reason, streamed too: `{"type": "text", "text": …}` and
`{"type": "thinking", "thinking": [parts with a text]}`, of which a string may be the other half of the stream.
(https://docs.mistral.ai/capabilities/reasoning)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otel_llm.fields import field, items_of, text_of


def texts_of(parts: Any) -> Iterator[str]:
    """The texts of a list of parts."""
    for part in items_of(parts):
        text = text_of(field(part, "text"))
        if text is not None:
            yield text


def thought_of(part: Any) -> str:
    """What a part thinks: in pieces, as Mistral writes it, or at once, as Anthropic does. Empty for another part."""
    thought = field(part, "thinking")
    return text_of(thought) or "".join(texts_of(thought))
