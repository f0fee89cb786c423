"""JSON objects with attributes, so that a stage rewrites a parsed body like the objects of an SDK.  Pure."""

from __future__ import annotations

import json
from typing import Any


class JsonObject(dict[str, Any]):
    """A JSON object whose fields are attributes too. Names that begin with two underscores are Python's."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self:
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def parse_objects(text: str | bytes) -> Any:
    """The JSON value in `text`, its objects as `JsonObject`. Raises ValueError for anything but JSON."""
    return json.loads(text, object_hook=JsonObject)


def as_objects(value: Any) -> Any:
    """A copy of a JSON value, its objects as `JsonObject`."""
    if isinstance(value, dict):
        return JsonObject({name: as_objects(field) for name, field in value.items()})
    return [as_objects(one) for one in value] if isinstance(value, list) else value
