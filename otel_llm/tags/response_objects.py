"""Makes events and output items of the Responses API, as objects of an SDK or as JSON.  Pure.

Events and their fields: the OpenAI API reference, "Responses: streaming events".
"""

from __future__ import annotations

import copy
from typing import Any

from otel_llm.protocol.fields import field, index_of, items_of
from otel_llm.tags.json_objects import JsonObject, as_objects
from otel_llm.tags.sdk_classes import class_of_item, class_of_type


class EventMaker:
    """Makes events from their fields. `annotation`: what the SDK's stream parses events into, None for JSON."""

    def __init__(self, annotation: Any = None) -> None:
        self.annotation = annotation

    def make(self, kind: str, **fields: Any) -> Any:
        """An event. Raises LookupError if the SDK has none of that kind."""
        fields = {"type": kind, **fields}
        if self.annotation is None:
            return as_objects(fields)
        # Unlike the constructor, this takes whatever a server may send in the fields.
        return class_of_type(self.annotation, kind).construct(**fields)


def as_json(thing: Any) -> dict[str, Any]:
    """The fields of an object that came from the server."""
    if isinstance(thing, JsonObject):
        return copy.deepcopy(thing)
    fields: dict[str, Any] = thing.to_dict()
    return fields


def items_for(response: Any, items: list[dict[str, Any]]) -> list[Any]:
    """Output items for the `output` of a response, from their fields."""
    if isinstance(response, JsonObject):
        return [as_objects(item) for item in items]
    return [class_of_item(type(response), "output", item["type"]).construct(**item) for item in items]


def function_call(item_id: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    """The fields of an output item that calls a function."""
    return {
        "type": "function_call",
        "id": item_id,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def reasoning_item(item_id: str, text: str, status: str) -> dict[str, Any]:
    """The fields of an output item with thoughts."""
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"type": "reasoning", "id": item_id, "summary": [], "content": content, "status": status}


def fitted_annotations(annotations: Any, original: str, text: str) -> list[Any]:
    """The annotations of a text that are still in it after it was rewritten, at their new places.

    An annotation without a place in the text stays.
    """
    kept = []
    for annotation in items_of(annotations):
        start, end = index_of(field(annotation, "start_index")), index_of(field(annotation, "end_index"))
        if start is None or end is None:
            kept.append(annotation)
            continue
        said = original[start:end]
        # Rewriting mostly makes a text shorter.
        place = text.find(said, max(0, start - max(0, len(original) - len(text))))
        if said and place >= 0:
            kept.append({**annotation, "start_index": place, "end_index": place + len(said)})
    return kept
