"""Whether a request holds a text: in its messages, its instructions or its tools.  Pure; never raises."""

from __future__ import annotations

from typing import Any

from otel_llm.protocol.fields import is_a
from otel_llm.protocol.request import ChatRequest

# Messages, parts and fields that are looked at.
_MOST_VALUES = 100_000


def may_hold(request: ChatRequest, text: str) -> bool:
    """Whether the request holds `text`, or may: its messages are an iterator, or too many to be searched."""
    if request.conversation.source is None:
        return True
    pending: list[Any] = [request.conversation.source, *request.rest]
    for _ in range(_MOST_VALUES):
        if not pending:
            return False
        value = pending.pop()
        if is_a(value, str):
            if text in value:
                return True
        elif is_a(value, dict):
            pending.extend(value.values())
        elif is_a(value, (list, tuple)):
            pending.extend(value)
        else:
            pending.extend(_fields_of(value))
    return True


def _fields_of(thing: Any) -> list[Any]:
    """The fields of an object of an SDK. Classes, which a format may be, hold no text that is sent as it is."""
    if thing is None or is_a(thing, (type, int, float)):
        return []
    try:
        return [*vars(thing).values(), *(getattr(thing, "__pydantic_extra__", None) or {}).values()]
    except Exception:  # noqa: BLE001  an object without fields, or one that raises
        return []
